"""A lock that allows only one run at a time in an output folder.

It is a lock of the operating system (flock), which ends with the process that holds it. Its file exists only while a
command writes to the folder, and contains the ids of the processes. A file that a killed process has left behind locks
nothing. Where there are no such locks (on Windows, on some network file systems, in a read-only folder), nothing is
locked, and the user must not start two runs at once.
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
# Errors from a read-only folder, and from file systems without locks
NO_LOCKS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
# File descriptors of the locks that this process holds
_held: set[int] = set()


@contextmanager
def locked(root: Path, shared: bool = False) -> Iterator[None]:
    """Lock a folder against other commands for the duration of the block; the folder is created if it is missing.

    shared  whether to share the lock with others that share it: the job slices of one sweep
    raises  OutputError if another process holds the lock
    """
    made = _make(root)
    descriptor = _lock(root / LOCK_FILE, shared)
    try:
        yield
    finally:
        if descriptor is not None:
            _release(root / LOCK_FILE, descriptor)
        # Folders that were created and are still empty are removed again, the deepest first
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make(root: Path) -> list[Path]:
    """Create a folder and its missing parents; return those that were created, the deepest first."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    return made


def _lock(path: Path, shared: bool) -> int | None:
    """Take the lock, and return the file descriptor that holds it until closed; None where there are no locks."""
    if sys.platform == "win32":
        return None
    # Between opening and locking, the last holder may delete the file. Then the lock is on a file without a path, which
    # another process would not see: so it is taken again, on a new file.
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
            raise _in_use_error(path, descriptor) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in NO_LOCKS:
                return None
            raise
        if _is_at(path, descriptor):
            break
        os.close(descriptor)
    _held.add(descriptor)
    # On a full disk the process id cannot be written, but the lock holds
    with contextlib.suppress(OSError):
        # A killed process may have left its id. A shared lock keeps the ids of the others: the file is open for append.
        if not shared:
            os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _release(path: Path, descriptor: int) -> None:
    """Delete the file unless others share the lock, then release the lock.

    Only a process that gets the exclusive lock, and finds its own file at the path, may delete it.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                path.unlink()
    _held.discard(descriptor)
    os.close(descriptor)


def _in_use_error(path: Path, descriptor: int) -> OutputError:
    """Make the error for a lock that others hold; it names the last process to take it that is still running."""
    process_ids = [int(line) for line in os.pread(descriptor, 1 << 16, 0).split() if line.isdigit()]
    os.close(descriptor)
    others = [one for one in reversed(process_ids) if one != os.getpid()]
    process = next(filter(_is_alive, others), None) or next(iter(others), None)
    who = f"another run (process {process})" if process else "another run"
    return OutputError(
        f"{path.parent}: {who} is writing to this folder: wait until it ends, or give another folder"
    )


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It exists, but belongs to another user
        return True
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Check whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _close_inherited() -> None:
    """Close the locks that a forked worker has inherited.

    A flock lasts until every copy of its descriptor is closed, so a worker could otherwise hold the lock after the
    process that took it has ended.
    """
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_close_inherited)
