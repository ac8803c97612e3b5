"""Git in a temporary repository: the user's repository is not touched, and the user's settings change no byte.

Local commands run without the user's settings. Commands over the network need them, for logins and proxies.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sitegen.errors import UsageError
from sitegen.files import FULL_DISK

# Name and address of the author where git knows none
NO_IDENTITY = ("sae-sitegen", "sae-sitegen@localhost")
# Environment variables that point to another repository or parts of it. Git sets them for its hooks, so they would be
# in effect if this program were run by one.
REPOSITORY_VARIABLES = (
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
# No conversion of line ends, filters (LFS) or keywords: files are committed byte for byte, whatever the user has set
ATTRIBUTES = "* -text -filter -ident -working-tree-encoding\n"
# A push or fetch needs the user's settings (proxies, logins), but must not start the user's hooks or maintenance
QUIET = ("-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "maintenance.auto=false")


@dataclass(frozen=True)
class Git:
    """A repository in a temporary folder, whose working tree is the site."""

    repository: Path
    site: Path

    def init(self) -> None:
        """Create the empty repository.

        raises  UsageError if git is not installed
        """
        self.run_local("init", "--quiet", "--template=")
        (self.repository / "info").mkdir(exist_ok=True)
        (self.repository / "info/attributes").write_text(ATTRIBUTES)

    def run_local(
        self, *arguments: str, stdin: str = "", identity: dict[str, str] | None = None
    ) -> str:
        """Run a command that needs no network, without the user's settings, and return its output.

        stdin     standard input of the command
        identity  environment variables with the author and committer
        raises    UsageError with the line in which git gives the reason
        """
        environment = {
            name: value
            for name, value in self._environment().items()
            if not name.startswith("GIT_CONFIG")
        }
        no_settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return _run(arguments, {**environment, **no_settings, **(identity or {})}, self.site, stdin)

    def run_over_network(self, *arguments: str) -> str:
        """Run a command that connects to a remote, with the user's settings, and return its output.

        raises  UsageError with the line in which git gives the reason
        """
        try:
            return _run(arguments, self._environment(), self.site, options=QUIET)
        except UsageError as error:
            raise UsageError(f"{error}: correct this, then run the same command again") from None

    def commit(self, tree: str, parents: list[str], message: str) -> str:
        """Make an unsigned commit by the author in the user's settings, or else by this program; return its hash.

        raises  UsageError with the line in which git gives the reason
        """
        parts = [part for parent in parents for part in ("-p", parent)]
        arguments = ("commit-tree", tree, *parts, "-m", message)
        return self.run_local(*arguments, identity=_identity()).strip()

    def require_branch(self, name: str) -> None:
        """Raise UsageError unless git allows the name for a branch."""
        try:
            self.run_local("check-ref-format", f"refs/heads/{name}")
        except UsageError as error:
            if "not installed" in str(error):
                raise
            raise UsageError(
                f"--branch {name!r} is not a name that git allows for a branch: give another"
            ) from None

    def _environment(self) -> dict[str, str]:
        folders = {"GIT_DIR": str(self.repository), "GIT_WORK_TREE": str(self.site)}
        return {**_outer_environment(), **folders}


def url_of(remote: str) -> str:
    """Get a remote's URL: a folder or URL as it is given, or a name that the user's repository has for a remote.

    raises  UsageError if that repository has no remote of this name
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
    """Get the user's environment without variables that point to a repository, and with git's messages in English.

    Some messages are recognised by their text. Git must not ask for a password, since nobody might answer.
    """
    kept = {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _identity() -> dict[str, str]:
    """Get author and committer as environment variables: from the environment, the user's settings, or this program."""
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
    """Read a setting of git that applies in the current folder; empty if there is none."""
    try:
        return _run(("config", "--get", key), _outer_environment(), Path.cwd()).strip()
    except UsageError:
        return ""


def _run(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    folder: Path,
    stdin: str = "",
    options: tuple[str, ...] = (),
) -> str:
    """Run git and return its output.

    raises  UsageError with the line in which git gives the reason, OSError if the disk of temporary files is full
    """
    try:
        done = subprocess.run(
            ["git", *options, *arguments],
            env=environment,
            cwd=folder,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            # The name of a file may be any bytes
            errors="surrogateescape",
            check=True,
        )
    except FileNotFoundError:
        raise UsageError(
            "git is not installed, but publishing to a branch needs it: install git"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = _find_reason(error.stderr) or f"exit code {error.returncode}"
        # The full disk is the one with the temporary repository, unless the remote complains about its own
        if FULL_DISK in reason and not reason.startswith("remote:"):
            raise OSError(errno.ENOSPC, FULL_DISK, tempfile.gettempdir()) from None
        raise UsageError(f"git {arguments[0]}: {reason}") from None
    return done.stdout


def _find_reason(stderr: str) -> str:
    """Find the line of git's messages that gives the reason: a fatal error, a refused branch, or else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reasons = (line for start in ("fatal: ", "! [") for line in lines if line.startswith(start))
    found = next(reasons, lines[-1] if lines else "")
    return found.encode(errors="replace").decode()
