"""Git in a repository of its own, so that nothing of the user's is touched and no setting of theirs changes a byte."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sitegen.errors import UsageError
from sitegen.files import FULL_DISK

NO_IDENTITY = ("sae-sitegen", "sae-sitegen@localhost")  # name and address where git knows none
# Variables that name another repository or parts of one, as git sets them for its hooks
PLACES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_TEMPLATE_DIR",
    "GIT_DEFAULT_HASH",
)
# Line ends, filters (LFS) and keywords: files go in byte for byte, whatever attributes the user has
ATTRIBUTES = "* -text -filter -ident -working-tree-encoding\n"
# A push and a fetch need the user's settings (proxies, logins), but none of what these may start
QUIET = ("-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "maintenance.auto=false")


@dataclass(frozen=True)
class Git:
    """A repository in a folder of its own, with a site for its files."""

    repository: Path
    site: Path

    def init(self) -> None:
        """Makes the repository, empty.

        raises  UsageError if git is not there
        """
        self.here("init", "--quiet", "--template=")
        (self.repository / "info").mkdir(exist_ok=True)
        (self.repository / "info/attributes").write_text(ATTRIBUTES)

    def here(self, *arguments: str, given: str = "", who: dict[str, str] | None = None) -> str:
        """What a command prints that needs no network; the user's settings are left out.

        given   what it reads
        who     variables that say who commits
        raises  UsageError with the line of what went wrong
        """
        environment = {
            name: value
            for name, value in self._environment().items()
            if not name.startswith("GIT_CONFIG")
        }
        nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return _run(arguments, {**environment, **nowhere, **(who or {})}, self.site, given)

    def over_network(self, *arguments: str) -> str:
        """What a command prints that may ask a remote, by the user's settings.

        raises  UsageError with the line of what went wrong
        """
        try:
            return _run(arguments, self._environment(), self.site, options=QUIET)
        except UsageError as error:
            raise UsageError(f"{error}: see to that, then run the same command again") from None

    def commit(self, tree: str, parents: list[str], message: str) -> str:
        """The name of a new commit, unsigned, by whom the user's settings name, or by this program.

        raises  UsageError with the line of what went wrong
        """
        parts = [part for parent in parents for part in ("-p", parent)]
        return self.here("commit-tree", tree, *parts, "-m", message, who=_identity()).strip()

    def require_branch(self, name: str) -> None:
        """That a branch can have that name.

        raises  UsageError
        """
        try:
            self.here("check-ref-format", f"refs/heads/{name}")
        except UsageError as error:
            if "not installed" in str(error):
                raise
            raise UsageError(f"--branch {name!r}: git takes no such name, give another") from None

    def _environment(self) -> dict[str, str]:
        places = {"GIT_DIR": str(self.repository), "GIT_WORK_TREE": str(self.site)}
        return {**_outer_environment(), **places}


def url_of(remote: str) -> str:
    """A remote's URL: its own words where they are one, else what the repository around calls so.

    raises  UsageError if that knows no such remote
    """
    if Path(remote).exists():
        return str(Path(remote).resolve())
    if "/" in remote or ":" in remote:
        return remote
    try:
        return _run(("remote", "get-url", remote), _outer_environment(), Path.cwd()).strip()
    except UsageError as error:
        raise UsageError(f"{error}: give a URL or a folder with --remote") from None


def _outer_environment() -> dict[str, str]:
    """The user's, but that git finds its repository by the folder, asks nothing, and speaks English."""
    own = {name: value for name, value in os.environ.items() if name not in PLACES}
    return {**own, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _identity() -> dict[str, str]:
    """Who commits, as variables: whom the environment or the settings around name, else this program."""
    found = {}
    for (field, default), key in zip(
        zip(("NAME", "EMAIL"), NO_IDENTITY, strict=True), ("user.name", "user.email"), strict=True
    ):
        known = _setting(key) or default
        for role in ("AUTHOR", "COMMITTER"):
            variable = f"GIT_{role}_{field}"
            found[variable] = os.environ.get(variable) or known
    return found


def _setting(key: str) -> str:
    """A setting that holds where the command is given; empty if there is none."""
    try:
        return _run(("config", "--get", key), _outer_environment(), Path.cwd()).strip()
    except UsageError:
        return ""


def _run(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    folder: Path,
    given: str = "",
    options: tuple[str, ...] = (),
) -> str:
    try:
        done = subprocess.run(
            ["git", *options, *arguments],
            env=environment,
            cwd=folder,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # a file's name may be any bytes
            check=True,
        )
    except FileNotFoundError:
        raise UsageError("git is not installed, and publishing to a branch needs it") from None
    except subprocess.CalledProcessError as error:
        told = _reason(error.stderr) or f"exit code {error.returncode}"
        if FULL_DISK in told and not told.startswith("remote:"):  # of our own, temporary files
            raise OSError(errno.ENOSPC, FULL_DISK, tempfile.gettempdir()) from None
        raise UsageError(f"git {arguments[0]}: {told}") from None
    return done.stdout


def _reason(stderr: str) -> str:
    """The line of git's many that says why: the fatal one, or that of a refused branch, else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = (line for head in ("fatal: ", "! [") for line in lines if line.startswith(head))
    found = next(telling, lines[-1] if lines else "")
    return found.encode(errors="replace").decode()
