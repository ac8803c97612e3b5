"""A site as a branch of a git repository, from which GitHub Pages and other hosts serve it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sitegen.errors import UsageError
from sitegen.output import OutputFolder
from sitegen.publish.foreign_files import MESSAGE, OWN_FILE, files_of_others, kept_clause
from sitegen.publish.git import Git, url_of

DEPTH = "2"  # of what is fetched: the branch's last commit, and the one that it was built on


@dataclass(frozen=True)
class Tip:
    """The last commit of the branch, as it was read."""

    commit: str
    parents: list[str]  # those of the next publication
    kept: dict[str, str]  # files that are no site's: name to its line of the tree


@dataclass(frozen=True)
class Publication:
    """A push that is ready to be made."""

    git: Git
    remote: str
    branch: str
    n_files: int
    n_bytes: int
    tip: Tip | None  # of a site that was published there before

    def __str__(self) -> str:
        what = f"{self.n_files:,} files, {self.n_bytes / 1e6:,.1f} MB"
        there, kept = "which is new", ""
        if self.tip is not None:
            there = "in the place of the site that stands there"
            kept = kept_clause(sorted(self.tip.kept))
        return f"{what}, to branch {self.branch} of {self.remote}, {there}{kept}"

    def push(self) -> None:
        """Makes the site, and the files that others put beside it, the last commit of the branch.

        A commit of others is built on; one of this program gives way, so that the branch does not grow, unless the
        remote takes no such push. Nothing is pushed over a commit that was not read.

        raises  UsageError if the remote refuses it, or its branch has changed since it was read
        """
        tree = self._tree()
        if self.tip is None:
            self._send(tree, [])
            return
        try:
            self._send(tree, self.tip.parents)
        except UsageError as error:
            if "[remote rejected]" not in str(error) or self.tip.parents == [self.tip.commit]:
                raise
            self._send(tree, [self.tip.commit])

    def _send(self, tree: str, parents: list[str]) -> None:
        """Pushes a commit, if the branch is as it was read."""
        commit = self.git.commit(tree, parents, MESSAGE)
        ref, expected = f"refs/heads/{self.branch}", self.tip.commit if self.tip else ""
        options = ("--quiet", "--no-signed", "--recurse-submodules=no")
        lease = f"--force-with-lease={ref}:{expected}"
        try:
            self.git.over_network("push", *options, lease, self.remote, f"{commit}:{ref}")
        except UsageError as error:
            if "stale info" not in str(error):
                raise
            raise UsageError(
                f"branch {self.branch} of {self.remote}: somebody pushed to it meanwhile, so nothing was sent: "
                "run the same command again"
            ) from None

    def _tree(self) -> str:
        """The name of the tree that is to be pushed."""
        # Ignored files too; others' come after, so that none of their attributes changes a byte
        self.git.here("add", "--all", "--force", ".")
        if self.tip is not None:
            lines = "".join(f"{line}\0" for line in self.tip.kept.values())
            self.git.here("update-index", "-z", "--index-info", given=lines)
        return self.git.here("write-tree").strip()


@contextmanager
def publication(output: OutputFolder, remote: str, branch: str) -> Iterator[Publication]:
    """What a push would send; it can be made while the block lasts.

    remote  a URL or a folder; or the name of a remote of the repository that the command is given in
    raises  OutputError if there is no site, UsageError if git is not there, the remote cannot be reached, or its
            branch holds anything but a site
    """
    output.require_site()
    with TemporaryDirectory() as folder:
        git = Git(Path(folder) / "git", output.site.resolve())
        git.require_branch(branch)
        url = url_of(remote)
        git.init()
        tip = _tip(git, url, branch)
        if tip is not None and not git.here("ls-tree", "--name-only", tip.commit, OWN_FILE):
            raise UsageError(
                f"branch {branch} of {remote} holds something else than a site: give another with --branch"
            )
        sizes = [path.stat().st_size for path in output.site_files()]
        yield Publication(git, url, branch, len(sizes), sum(sizes), tip)


def _tip(git: Git, url: str, branch: str) -> Tip | None:
    """The branch's last commit; None where there is no such branch."""
    ref = f"refs/heads/{branch}"
    if not git.over_network("ls-remote", "--heads", url, ref):
        return None
    options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--depth", DEPTH)
    git.over_network("fetch", *options, url, ref)
    commit = git.here("rev-parse", "FETCH_HEAD").strip()
    message = git.here("log", "-1", "--format=%B", commit).strip()
    parents = git.here("log", "-1", "--format=%P", commit).split()
    lines = git.here("ls-tree", "-r", "-z", commit).split("\0")
    entries = {line.partition("\t")[2]: line for line in lines if line}
    others = (name for name in files_of_others(entries) if not (git.site / name).is_file())
    kept = {name: entries[name] for name in others}
    return Tip(commit, parents if message == MESSAGE else [commit], kept)
