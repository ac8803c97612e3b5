"""Files and folders that appear complete or not at all: written beside their final path, then moved there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sitegen.errors import SourceError

CHUNK_BYTES = 1 << 20
# Errors from reading a .npz file that is absent, truncated or damaged
UNREADABLE = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile)
# The first bytes of a file that Git LFS has not replaced by its content
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
# Errors of a write to a full disk. Python's OSError names a file only if opening it failed, not if writing did.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The operating system's words, which libraries written in other languages put into their own errors
FULL_DISK = os.strerror(errno.ENOSPC)


@contextmanager
def written_in(path: Path) -> Iterator[None]:
    """Turn any error of a full disk in the block into an OSError that names the path.

    raises  OSError with `path` as its file name if the disk is full, even if a library has wrapped that error
    """
    try:
        yield
    except Exception as error:
        require_room(error, path)
        raise


def require_room(error: Exception, path: Path) -> None:
    """Raise OSError with `path` as its file name if an error from writing there was caused by a full disk."""
    full = _find_full_disk_error(error)
    if full is not None:
        full.filename = full.filename or str(path)
        raise full from None


def _find_full_disk_error(error: BaseException) -> OSError | None:
    """Find the error of a full disk that is the error itself, one of its causes, or quoted in its text."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return cause
        if not isinstance(cause, OSError) and FULL_DISK in str(cause):
            return OSError(errno.ENOSPC, FULL_DISK)
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, which replaces `path` if the block succeeds and is deleted otherwise.

    The process id in its name keeps several processes that write the same file apart.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with written_in(path.parent):
            yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, resume: bool = False) -> Iterator[Path]:
    """Give a folder to fill, which replaces `path` if the block succeeds and is deleted if it fails.

    A folder cannot be replaced in one step, so the former one is moved aside, the new one is moved to `path`, and the
    former one is deleted. If the run ends in between, `restore_former` undoes the first step.

    resume  start with the files that an interrupted run has left, and keep them if this run is interrupted
    """
    partial, former = _beside(path)
    restore_former(path)
    shutil.rmtree(former, ignore_errors=True)
    if partial.is_symlink():
        # Only the link: the folder to which it leads is not ours to delete
        partial.unlink()
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with written_in(path.parent):
            yield partial
        if path.exists():
            path.rename(former)
        partial.rename(path)
    except BaseException as error:
        if not (resume and isinstance(error, KeyboardInterrupt)):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        restore_former(path)
        shutil.rmtree(former, ignore_errors=True)


def restore_former(path: Path) -> None:
    """Move the former folder back if a run ended between moving it aside and moving the new one in."""
    if former_waits(path):
        # Another process of the same sweep may have moved it back in the meantime
        with contextlib.suppress(FileNotFoundError):
            _beside(path)[1].rename(path)


def former_waits(path: Path) -> bool:
    """Check whether there is a former folder to be moved back."""
    return _beside(path)[1].exists() and not path.exists()


def _beside(path: Path) -> tuple[Path, Path]:
    """Get (the path at which a folder is filled, the path to which the former one is moved aside)."""
    return path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.former")


def require_content(path: Path) -> Path:
    """Return the path unless the file is only a Git LFS pointer.

    raises  SourceError if it is a pointer, as a clone without Git LFS leaves it; OSError if it cannot be opened
    """
    with path.open("rb") as file:
        require_no_pointer(file.read(len(LFS_POINTER)), path)
    return path


def require_no_pointer(content: bytes, path: Path) -> None:
    """Raise SourceError if the first bytes of a file are those of a Git LFS pointer."""
    if content.startswith(LFS_POINTER):
        raise SourceError(
            f"{path} is a Git LFS pointer, not the file itself: run git lfs pull in its repository"
        )


def sha256(path: Path) -> str:
    """Compute the file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_sizes(folder: Path) -> dict[str, int]:
    """Get the size in bytes of every file below a folder, by its path in the folder, in order.

    A missing folder has none. Links to files count as files; links to folders are not followed.
    """
    sizes: dict[str, int] = {}
    prefix = len(os.path.join(folder, ""))
    for parent, _, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            # A broken link is no file
            with contextlib.suppress(FileNotFoundError):
                sizes[path[prefix:]] = os.stat(path).st_size
    return dict(sorted(sizes.items()))
