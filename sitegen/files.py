"""Files and folders that appear whole: written beside their place, then moved into it."""

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
# What reading a .npz file raises that is absent, cut off or damaged
UNREADABLE = (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"  # with which such a file begins
# What a write meets that finds no room; it names no file, only opening one does
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_DISK = os.strerror(errno.ENOSPC)  # as libraries that are no Python say it too


@contextmanager
def written_in(place: Path) -> Iterator[None]:
    """Gives an error of a full disk the place that was written to, whatever a library made of that error.

    raises  OSError with that place as its file, where there was no room
    """
    try:
        yield
    except Exception as error:
        require_room(error, place)
        raise


def require_room(error: Exception, place: Path) -> None:
    """That an error met while a place was written to is not one of a full disk.

    raises  OSError with that place as its file, if it is
    """
    full = _no_room(error)
    if full is not None:
        full.filename = full.filename or str(place)
        raise full from None


def _no_room(error: BaseException) -> OSError | None:
    """The error of a full disk that an error is, came from or speaks of."""
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
    """A path to write to; it takes the place of `path` when the block ends well, and vanishes otherwise."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with written_in(path.parent):
            yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, resume: bool = False) -> Iterator[Path]:
    """A folder to fill; it takes the place of `path` when the block ends well, and vanishes if it fails.

    resume  begin with what an interruption left of an earlier filling, and leave it if interrupted again
    """
    partial, former = _beside(path)
    restore_former(path)
    shutil.rmtree(former, ignore_errors=True)
    if partial.is_symlink():
        partial.unlink()  # what it leads to is not ours
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
    """Puts the former folder back where a run ended between moving it away and moving the new one in."""
    if former_waits(path):
        with contextlib.suppress(FileNotFoundError):  # another process of the same sweep was first
            _beside(path)[1].rename(path)


def former_waits(path: Path) -> bool:
    """Whether there is a former folder to be put back."""
    return _beside(path)[1].exists() and not path.exists()


def _beside(path: Path) -> tuple[Path, Path]:
    """(where a folder is being filled, where the former one waits)."""
    return path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.former")


def require_content(path: Path) -> Path:
    """A file that is to be read, known not to be a stand-in for it.

    raises  SourceError if a clone without Git LFS left its pointer there, OSError if it cannot be opened
    """
    with path.open("rb") as file:
        require_no_pointer(file.read(len(LFS_POINTER)), path)
    return path


def require_no_pointer(content: bytes, path: Path) -> None:
    """Likewise of what was read of a file, from its beginning.

    raises  SourceError if it is a pointer
    """
    if content.startswith(LFS_POINTER):
        raise SourceError(
            f"{path} is a Git LFS pointer, not the file itself: run git lfs pull in its repository"
        )


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
