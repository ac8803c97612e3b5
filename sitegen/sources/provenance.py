"""Provenance of a source: its name, its revision and the hashes of its files, as the manifest records them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sitegen.files import require_content, sha256


@dataclass(frozen=True)
class SourceFile:
    """One file that was read: its name within the source, and its SHA-256."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Origin of a source.

    name      of the repository, or of the file or folder without its path
    revision  commit of a repository; None for files on this machine
    files     that were read
    """

    name: str
    revision: str | None
    files: tuple[SourceFile, ...]


def local_provenance(name: str, paths: list[Path]) -> Provenance:
    """Provenance of files on this machine, by their names without folders.

    raises  SourceError if one is a Git LFS pointer
    """
    files = (SourceFile(path.name, sha256(require_content(path))) for path in paths)
    return Provenance(name, None, tuple(files))
