"""Publication of a site to a branch of a git repository, from which GitHub Pages and other hosts serve it."""

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

# Commits that are fetched: the last commit of the branch, and its parent
DEPTH = "2"


@dataclass(frozen=True)
class Tip:
    """The last commit of the branch when it was read.

    parents  of the next publication's commit
    kept     files that do not belong to a site, by name: their lines in the commit's tree
    """

    commit: str
    parents: list[str]
    kept: dict[str, str]


@dataclass(frozen=True)
class Publication:
    """A prepared push.

    tip  of the branch if it exists; it has a site that was published before
    """

    git: Git
    remote: str
    branch: str
    n_files: int
    n_bytes: int
    tip: Tip | None

    def __str__(self) -> str:
        amount = f"{self.n_files:,} files, {self.n_bytes / 1e6:,.1f} MB"
        effect, kept = "which is new", ""
        if self.tip is not None:
            effect = "replacing the site that is there now"
            kept = kept_clause(sorted(self.tip.kept))
        return f"{amount}, to branch {self.branch} of {self.remote}, {effect}{kept}"

    def push(self) -> None:
        """Push a commit with the site, and the files that others put beside it, to the branch.

        If the last commit is by others, the new commit follows it. If it is by this program, the new commit replaces
        it, so that the branch does not grow, unless the remote refuses that. No commit is replaced that was not read.

        raises  UsageError if the remote refuses the push, or the branch has changed since it was read
        """
        tree = self._tree()
        if self.tip is None:
            self._send(tree, [])
            return
        try:
            self._send(tree, self.tip.parents)
        except UsageError as error:
            # The remote allows no forced push (such as to a protected branch): the new commit follows the last one
            if "[remote rejected]" not in str(error) or self.tip.parents == [self.tip.commit]:
                raise
            self._send(tree, [self.tip.commit])

    def _send(self, tree: str, parents: list[str]) -> None:
        """Push a commit if the branch has not changed since it was read."""
        commit = self.git.commit(tree, parents, MESSAGE)
        ref, expected = f"refs/heads/{self.branch}", self.tip.commit if self.tip else ""
        options = ("--quiet", "--no-signed", "--recurse-submodules=no")
        lease = f"--force-with-lease={ref}:{expected}"
        try:
            self.git.run_over_network("push", *options, lease, self.remote, f"{commit}:{ref}")
        except UsageError as error:
            if "stale info" not in str(error):
                raise
            raise UsageError(
                f"branch {self.branch} of {self.remote}: somebody has pushed to it in the meantime, so nothing was "
                "sent: run the same command again"
            ) from None

    def _tree(self) -> str:
        """Write the tree of the new commit; return its hash."""
        # `--force` adds ignored files too. The files of others are added after the site, so that a .gitattributes among
        # them cannot change the site's bytes.
        self.git.run_local("add", "--all", "--force", ".")
        if self.tip is not None:
            lines = "".join(f"{line}\0" for line in self.tip.kept.values())
            self.git.run_local("update-index", "-z", "--index-info", stdin=lines)
        return self.git.run_local("write-tree").strip()


@contextmanager
def publication(output: OutputFolder, remote: str, branch: str) -> Iterator[Publication]:
    """Prepare a push, which can be made during the block.

    remote  a URL, a folder, or the name of a remote in the repository of the current folder
    raises  OutputError if there is no site, UsageError if git is not installed, the remote cannot be reached, or its
            branch contains anything other than a site
    """
    output.require_site()
    with TemporaryDirectory() as folder:
        git = Git(Path(folder) / "git", output.site.resolve())
        git.require_branch(branch)
        url = url_of(remote)
        git.init()
        tip = _read_tip(git, url, branch)
        if tip is not None and not git.run_local("ls-tree", "--name-only", tip.commit, OWN_FILE):
            raise UsageError(
                f"branch {branch} of {remote} contains something other than a site: give another branch with --branch"
            )
        sizes = [path.stat().st_size for path in output.site_files()]
        yield Publication(git, url, branch, len(sizes), sum(sizes), tip)


def _read_tip(git: Git, url: str, branch: str) -> Tip | None:
    """Fetch the last commit of the branch; None if there is no such branch."""
    ref = f"refs/heads/{branch}"
    if not git.run_over_network("ls-remote", "--heads", url, ref):
        return None
    options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--depth", DEPTH)
    git.run_over_network("fetch", *options, url, ref)
    commit = git.run_local("rev-parse", "FETCH_HEAD").strip()
    message = git.run_local("log", "-1", "--format=%B", commit).strip()
    parents = git.run_local("log", "-1", "--format=%P", commit).split()
    lines = git.run_local("ls-tree", "-r", "-z", commit).split("\0")
    entries = {line.partition("\t")[2]: line for line in lines if line}
    others = (name for name in files_of_others(entries) if not (git.site / name).is_file())
    kept = {name: entries[name] for name in others}
    # This program's own last commit is replaced (the new commit gets its parents); a commit of others is followed
    return Tip(commit, parents if message == MESSAGE else [commit], kept)
