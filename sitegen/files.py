"""Files and folders that appear whole: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; it takes the place of `path` when the block ends well, and vanishes otherwise."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
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


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
