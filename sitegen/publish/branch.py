"""A site as a branch of a git repository, from which GitHub Pages and other hosts serve it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sitegen.errors import UsageError
from sitegen.output import OutputFolder

OWN_FILE = "data/manifest.json"  # that a branch holds if a site was published there before
MESSAGE = "Publish the site"


@dataclass(frozen=True)
class Publication:
    """A push that is ready to be made."""

    git: _Git
    remote: str
    branch: str
    n_files: int
    n_bytes: int
    replaces: bool  # a site that was published there before

    def __str__(self) -> str:
        what = f"{self.n_files:,} files, {self.n_bytes / 1e6:,.1f} MB"
        there = "in the place of the site that stands there" if self.replaces else "which is new"
        return f"{what}, to branch {self.branch} of {self.remote}, {there}"

    def push(self) -> None:
        """Makes the site the one commit of the branch.

        raises  UsageError if the remote refuses it
        """
        self.git.run("add", "--all", "--force", ".")
        self.git.run("commit", "--quiet", "--message", MESSAGE)
        self.git.run("push", "--quiet", "--force", self.remote, f"HEAD:refs/heads/{self.branch}")


@contextmanager
def publication(output: OutputFolder, remote: str, branch: str) -> Iterator[Publication]:
    """What a push would send; it can be made while the block lasts.

    remote  a URL or a folder; or the name of a remote of the repository that the command is given in
    raises  OutputError if there is no site, UsageError if git is not there, the remote cannot be reached, or its
            branch holds anything but a site
    """
    output.require_site()
    with TemporaryDirectory() as folder:
        git = _Git(Path(folder) / "git", output.site.resolve())
        git.require_branch(branch)
        url = git.url_of(remote)
        git.run("init", "--quiet")
        replaces = bool(git.run("ls-remote", "--heads", url, f"refs/heads/{branch}"))
        if replaces:
            git.run("fetch", "--quiet", "--depth", "1", url, f"refs/heads/{branch}")
            if not git.run("ls-tree", "--name-only", "FETCH_HEAD", OWN_FILE):
                raise UsageError(
                    f"branch {branch} of {remote} holds something else than a site: give another with --branch"
                )
        sizes = [path.stat().st_size for path in output.site_files()]
        yield Publication(git, url, branch, len(sizes), sum(sizes), replaces)


@dataclass(frozen=True)
class _Git:
    """Git with a repository of its own and a site for its files, so that nothing of the reader's is touched."""

    repository: Path
    site: Path

    def run(self, *arguments: str) -> str:
        """What a command prints.

        raises  UsageError with the line of what went wrong
        """
        places = {"GIT_DIR": str(self.repository), "GIT_WORK_TREE": str(self.site)}
        return self._run(arguments, {**os.environ, **places}, self.site)

    def require_branch(self, name: str) -> None:
        """That a branch can have that name.

        raises  UsageError
        """
        try:
            self.run("check-ref-format", f"refs/heads/{name}")
        except UsageError:
            raise UsageError(f"--branch {name!r}: git takes no such name, give another") from None

    def url_of(self, remote: str) -> str:
        """A remote's URL: its own words where they are one, else what the repository around calls so."""
        if Path(remote).exists():
            return str(Path(remote).resolve())
        if "/" in remote or ":" in remote:
            return remote
        try:
            return self._run(("remote", "get-url", remote), dict(os.environ), Path.cwd()).strip()
        except UsageError as error:
            raise UsageError(f"{error}: give a URL or a folder with --remote") from None

    def _run(self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> str:
        environment = {**environment, "GIT_TERMINAL_PROMPT": "0"}
        try:
            done = subprocess.run(
                ["git", *arguments],
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            )
        except FileNotFoundError:
            raise UsageError("git is not installed, and publishing to a branch needs it") from None
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
            told = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
            raise UsageError(f"git {arguments[0]}: {told}") from None
        return done.stdout
