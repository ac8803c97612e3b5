"""A site as a static Space of the Hugging Face Hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from sitegen.errors import UsageError
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.publish.foreign_files import MESSAGE, OWN_FILE, files_of_others, kept_clause
from sitegen.sources.hub_errors import hub_errors

FILES_A_FOLDER = 10_000  # more make the Hub refuse a push; source: huggingface/datasets, issue 7956
FILES_A_COMMIT = 1000
CARD = "README.md"  # whose head says that the Space is static; one that is there is kept
THEIRS = (CARD, ".gitattributes", "index.html", "style.css")  # that a new Space may hold already


@dataclass(frozen=True)
class SpacePublication:
    """An upload that is ready to be made."""

    api: HfApi
    space: str
    output: OutputFolder
    title: str
    held: frozenset[str] | None  # files of the Space; None where there is none yet

    def __str__(self) -> str:
        sizes = [path.stat().st_size for path in self.output.site_files()]
        what = f"{len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB"
        there, kept = "which is new", ""
        if self.held is not None:
            there, kept = (
                "in the place of what stands there",
                kept_clause(files_of_others(self.held)),
            )
        return f"{what}, to the static Space {self.space} at {self.api.endpoint}, {there}{kept}"

    def push(self) -> None:
        """Sends the site and takes away what it no longer has; files that are no site's stay.

        The file that tells a site from anything else goes first, so that an upload that broke off can be made again;
        pages that lead to others go last.

        raises  SourceError if the Hub refuses it
        """
        site = self.output.site
        with hub_errors(self.space):
            if self.held is None:
                self.api.create_repo(self.space, repo_type="space", space_sdk="static")
            names = sorted(
                (path.relative_to(site).as_posix() for path in self.output.site_files()),
                key=lambda name: (name != OWN_FILE, "/" not in name, name),
            )
            held = self._files() or frozenset()
            additions = [CommitOperationAdd(name, site / name) for name in names]
            if CARD not in held:
                additions.insert(0, CommitOperationAdd(CARD, _card(self.title)))
            progress = Progress("send", len(additions), "files")
            for first in range(0, len(additions), FILES_A_COMMIT):
                part = additions[first : first + FILES_A_COMMIT]
                self._commit(part)
                progress.advance(len(part))
            progress.finish()
            gone = sorted(held - {*names, *files_of_others(held)})
            if gone:
                self._commit([CommitOperationDelete(name) for name in gone])

    def _files(self) -> frozenset[str] | None:
        return _files(self.api, self.space)

    def _commit(self, operations: list[CommitOperationAdd] | list[CommitOperationDelete]) -> None:
        self.api.create_commit(
            self.space, operations=operations, commit_message=MESSAGE, repo_type="space"
        )


@contextmanager
def space_publication(output: OutputFolder, space: str, title: str) -> Iterator[SpacePublication]:
    """What an upload would send; it can be made while the block lasts.

    space   OWNER/NAME
    raises  OutputError if there is no site, SourceError if the Hub cannot be reached, UsageError if that is no name of
            a Space, the site has more files in a folder than the Hub takes, or the Space holds anything but a site
    """
    output.require_site()
    owner, _, name = space.partition("/")
    if not owner or not name or "/" in name:
        raise UsageError(f"--space {space}: give OWNER/NAME")
    _require_small_folders(output)
    api = HfApi()
    with hub_errors(space):
        held = _files(api, space)
    if held and OWN_FILE not in held and not held <= {*THEIRS}:
        raise UsageError(f"Space {space} holds something else than a site: give another")
    yield SpacePublication(api, space, output, title, held)


def _require_small_folders(output: OutputFolder) -> None:
    """That the Hub will take the last file too, before the first is sent."""
    n_in = Counter(path.parent for path in output.site_files())
    folder, n_files = n_in.most_common(1)[0]
    if n_files > FILES_A_FOLDER:
        raise UsageError(
            f"{folder} holds {n_files:,} files, and the Hub takes {FILES_A_FOLDER:,} in a folder: publish "
            "--to gh-pages, or a sweep of fewer --features"
        )


def _files(api: HfApi, space: str) -> frozenset[str] | None:
    try:
        return frozenset(api.list_repo_files(space, repo_type="space"))
    except RepositoryNotFoundError:
        return None


def _card(title: str) -> bytes:
    """A card whose head the Hub asks for; the title as JSON, which YAML reads."""
    return b"---\ntitle: " + orjson.dumps(title) + b"\nsdk: static\n---\n"
