"""Where a source came from: its name and the hashes of its files, as the manifest keeps them."""

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
    """A source's name (a repository, or a file's or folder's own name), its revision if it has one, its files."""

    name: str
    revision: str | None
    files: tuple[SourceFile, ...]


def local_provenance(name: str, paths: list[Path]) -> Provenance:
    """Provenance of files on this machine; of each only its own name is kept.

    raises  SourceError if one is a Git LFS pointer
    """
    files = (SourceFile(path.name, sha256(require_content(path))) for path in paths)
    return Provenance(name, None, tuple(files))
