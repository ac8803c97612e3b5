"""One run at a time in an output folder: a lock of the operating system's, which ends with the process that took it.

The file stands in the folder only while a command writes there, and names the process; one that a killed process left
locks nothing. Where there are no such locks (Windows, some network file systems, a folder that may only be read),
nothing is locked, and two runs at once are the user's to avoid.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sitegen.errors import OutputError

if sys.platform != "win32":
    import fcntl

LOCK_FILE = ".lock"
# A folder that may only be read, and disks without locks
NO_LOCKS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_held: set[int] = set()  # descriptors of this process' locks


@contextmanager
def locked(root: Path, shared: bool = False) -> Iterator[None]:
    """Keeps other commands from writing to a folder while the block lasts; the folder is made if need be.

    shared  with others that share it: the shards of one sweep
    raises  OutputError if another process holds it
    """
    made = _make(root)
    descriptor = _lock(root / LOCK_FILE, shared)
    try:
        yield
    finally:
        if descriptor is not None:
            _release(root / LOCK_FILE, descriptor)
        for folder in made:  # the deepest first; what was written to stays
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make(root: Path) -> list[Path]:
    """Makes a folder and those above it; those that were not there, the deepest first."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    return made


def _lock(path: Path, shared: bool) -> int | None:
    """A descriptor that holds the lock until it is closed; None where there are no locks."""
    if sys.platform == "win32":
        return None
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            raise
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(path, descriptor) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in NO_LOCKS:
                return None
            raise
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # its last holder took the file away meanwhile
    _held.add(descriptor)
    with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
        if not shared:
            os.ftruncate(descriptor, 0)  # of what a killed process left
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _release(path: Path, descriptor: int) -> None:
    """Takes the file away, unless others share it, and then lets go of the lock."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                path.unlink()
    _held.discard(descriptor)
    os.close(descriptor)


def _taken(path: Path, descriptor: int) -> OutputError:
    """What is told of a lock that others hold: the last to take it that is still there."""
    named = [int(line) for line in os.pread(descriptor, 1 << 16, 0).split() if line.isdigit()]
    os.close(descriptor)
    others = [one for one in reversed(named) if one != os.getpid()]
    process = next(filter(_is_alive, others), None) or next(iter(others), None)
    who = f"another run (process {process})" if process else "another run"
    return OutputError(
        f"{path.parent}: {who} is writing there: wait for it, or give another folder"
    )


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that stands at a path."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _forget() -> None:
    """In a worker that was forked: lets it not outlast, with a copy of the lock, the process that took it."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
