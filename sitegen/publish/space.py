"""Publication of a site to a static Space of the Hugging Face Hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from sitegen.errors import UsageError
from sitegen.hub_errors import hub_errors
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.publish.foreign_files import MESSAGE, OWN_FILE, files_of_others, kept_clause
from sitegen.space import FILES_A_FOLDER

FILES_A_COMMIT = 1000
# The Space's card, whose first lines declare the Space as static; an existing card is kept
CARD = "README.md"
# Files that the Hub puts into a new Space
INITIAL_FILES = (CARD, ".gitattributes", "index.html", "style.css")


@dataclass(frozen=True)
class SpacePublication:
    """A prepared upload.

    present  files of the Space; None if there is no such Space yet
    """

    api: HfApi
    space: str
    output: OutputFolder
    title: str
    present: frozenset[str] | None

    def __str__(self) -> str:
        sizes = [path.stat().st_size for path in self.output.site_files()]
        amount = f"{len(sizes):,} files, {sum(sizes) / 1e6:,.1f} MB"
        effect, kept = "which is new", ""
        if self.present is not None:
            effect = "replacing the site that is there now"
            kept = kept_clause(files_of_others(self.present))
        return f"{amount}, to the static Space {self.space} at {self.api.endpoint}, {effect}{kept}"

    def push(self) -> None:
        """Upload the site and delete files that it no longer has; files that do not belong to a site are kept.

        The file by which a site is recognised is sent first, so that an upload that failed can be repeated. Pages at
        the top level, which link to all others, are sent last.

        raises  SourceError if the Hub refuses it
        """
        site = self.output.site
        with hub_errors(self.space):
            if self.present is None:
                self.api.create_repo(self.space, repo_type="space", space_sdk="static")
            names = sorted(
                (path.relative_to(site).as_posix() for path in self.output.site_files()),
                key=lambda name: (name != OWN_FILE, "/" not in name, name),
            )
            # Read again: a new Space has files that the Hub made
            present = self._files() or frozenset()
            additions = [CommitOperationAdd(name, site / name) for name in names]
            if CARD not in present:
                additions.insert(0, CommitOperationAdd(CARD, _card(self.title)))
            progress = Progress("send", len(additions), "files")
            for first in range(0, len(additions), FILES_A_COMMIT):
                part = additions[first : first + FILES_A_COMMIT]
                self._commit(part)
                progress.advance(len(part))
            progress.finish()
            gone = sorted(present - {*names, *files_of_others(present)})
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
    """Prepare an upload, which can be made during the block.

    space   OWNER/NAME
    raises  OutputError if there is no site, SourceError if the Hub cannot be reached, UsageError if `space` is not the
            name of a Space, the site has more files in a folder than the Hub accepts, or the Space contains anything
            other than a site
    """
    output.require_site()
    owner, _, name = space.partition("/")
    if not owner or not name or "/" in name:
        raise UsageError(f"--space {space}: give OWNER/NAME")
    _require_small_folders(output)
    api = HfApi()
    with hub_errors(space):
        present = _files(api, space)
    if present and OWN_FILE not in present and not present <= {*INITIAL_FILES}:
        raise UsageError(
            f"Space {space} contains something other than a site: give another Space with --space"
        )
    yield SpacePublication(api, space, output, title, present)


def _require_small_folders(output: OutputFolder) -> None:
    """Raise UsageError if a folder has more files than the Hub accepts, before the first file is sent."""
    n_in = Counter(path.parent for path in output.site_files())
    folder, n_files = n_in.most_common(1)[0]
    if n_files > FILES_A_FOLDER:
        raise UsageError(
            f"{folder} has {n_files:,} files, but the Hub accepts at most {FILES_A_FOLDER:,} in a folder: publish with "
            "--to gh-pages, or sweep fewer features with --features"
        )


def _files(api: HfApi, space: str) -> frozenset[str] | None:
    """List the files of a Space; None if there is no such Space."""
    try:
        return frozenset(api.list_repo_files(space, repo_type="space"))
    except RepositoryNotFoundError:
        return None


def _card(title: str) -> bytes:
    """Make the card with the YAML lines that the Hub requires; the title is written as JSON, which is valid YAML."""
    return b"---\ntitle: " + orjson.dumps(title) + b"\nsdk: static\n---\n"
