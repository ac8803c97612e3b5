"""A file or folder that may hold an autoencoder: on this machine, or in a repository of the Hub."""

from __future__ import annotations

import os
import posixpath
import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.files import require_content
from sitegen.sources import hub
from sitegen.sources.layouts.shapes import read_shapes
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.settings import read_settings
from sitegen.sources.tensors import read_tensors

TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors", ".npz")
VERSION = re.compile(r"\d+\.pt")


class NothingHereError(SourceError):
    """A folder that holds no autoencoder of a known layout."""


class Source(ABC):
    """A folder, or one file in it. All file names are relative to the folder.

    folder       its name: a path within the repository, or the last part of a path of this machine
    file         name of the file that was named; empty if it was the folder
    shapes_only  whether tensors are read without their values, which transfers a header in place of gigabytes
    """

    def __init__(self, folder: str, file: str, shapes_only: bool) -> None:
        self.folder, self.file, self.shapes_only = folder, file, shapes_only
        # Each file is looked for and read once, however many layouts ask for it
        self._held: dict[str, bool] = {}
        self._paths: dict[str, Path] = {}
        self._settings: dict[str, dict[str, Any] | None] = {}
        self._tensors: dict[str, dict[str, Tensor]] = {}

    @property
    @abstractmethod
    def full_name(self) -> str:
        """Full name of the folder, whose parts may tell the model, the layer and the k."""

    @abstractmethod
    def enclosing(self) -> list[tuple[Source, str]]:
        """The file's folder and the folder above it, each with the file's path in it."""

    @abstractmethod
    def nothing_here(self, known: list[str]) -> str:
        """Message that the folder holds no autoencoder, with the remedy.

        known  the files of each layout that is a folder
        """

    @abstractmethod
    def provenance(self) -> Provenance:
        """Where the files came from that were read so far."""

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to read parts of it; of a remote file, only those parts are transferred.

        raises  SourceError if there is no such file
        """

    @property
    def is_version(self) -> bool:
        """Whether it is a numbered version of a repository, such as 25.pt."""
        return False

    def in_cache(self) -> Source | None:
        """The same source with only the files that an earlier run has downloaded; None if all are on this machine."""
        return None

    @abstractmethod
    def _find(self, name: str) -> bool: ...

    @abstractmethod
    def _fetch(self, name: str) -> Path: ...

    @property
    def name(self) -> str:
        """Name for messages: of the file, or else of the folder."""
        return self.file or posixpath.basename(self.folder) or self.full_name

    def holds(self, *names: str) -> bool:
        """Tell whether the folder has all files of these names.

        raises  SourceError if the repository cannot be reached
        """
        for name in names:
            if name not in self._held:
                self._held[name] = self._find(name)
            if not self._held[name]:
                return False
        return True

    def path(self, name: str) -> Path:
        """Get a file's path on this machine, downloading it if need be.

        raises  SourceError if there is no such file
        """
        if name not in self._paths:
            self._paths[name] = self._fetch(name)
        return self._paths[name]

    def settings(self, name: str) -> dict[str, Any] | None:
        """Read the object in a JSON or YAML file; None if there is no such file.

        raises  SourceError if the file holds anything else
        """
        if name not in self._settings:
            is_there = self.holds(name)
            self._settings[name] = read_settings(self.path(name), self.folder) if is_there else None
        return self._settings[name]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read a file of tensors.

        raises  SourceError if there is no such file, or it is damaged or holds anything but tensors
        """
        if name not in self._tensors:
            self._tensors[name] = self._read_tensors(name)
        return self._tensors[name]

    def _read_tensors(self, name: str) -> dict[str, Tensor]:
        if not self.shapes_only:
            return read_tensors(self.path(name))
        with self.open(name) as file:
            return read_shapes(file, posixpath.basename(name))


class LocalSource(Source):
    """A folder of this machine, or a file in it."""

    def __init__(self, path: Path, shapes_only: bool = False) -> None:
        # Absolute but not resolved: a symbolic link's own name may tell the model and the layer
        path = Path(os.path.abspath(path))
        is_file = not path.is_dir()
        self.root = path.parent if is_file else path
        super().__init__(self.root.name, path.name if is_file else "", shapes_only)

    @property
    def full_name(self) -> str:
        return self.root.as_posix()

    def enclosing(self) -> list[tuple[Source, str]]:
        inside = f"{self.root.name}/{self.file}"
        return [
            (LocalSource(self.root, self.shapes_only), self.file),
            (LocalSource(self.root.parent, self.shapes_only), inside),
        ]

    def nothing_here(self, known: list[str]) -> str:
        return (
            f"{self.full_name} is not an autoencoder's folder: such a folder holds {', or '.join(known)}; "
            f"`build.py inspect {self.full_name}` lists what it holds"
        )

    def provenance(self) -> Provenance:
        return local_provenance(self.name, [self._paths[name] for name in sorted(self._paths)])

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return require_content(self._fetch(name)).open("rb")

    def _find(self, name: str) -> bool:
        return (self.root / name).is_file()

    def _fetch(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise SourceError(f"{path}: no such autoencoder file; correct autoencoder.source")
        return path


class HubSource(Source):
    """A folder of a Hub repository, or a file in it.

    listed      names of all the repository's files, if they are known; otherwise the Hub is asked about each file
    cache_only  whether only files in the cache count
    """

    def __init__(
        self,
        repository: str,
        path: str,
        shapes_only: bool = False,
        listed: frozenset[str] | None = None,
        cache_only: bool = False,
    ) -> None:
        self.repository, self._listed, self._cache_only = repository, listed, cache_only
        folder, _, file = path.rpartition("/") if self._is_file(path) else (path, "", "")
        super().__init__(folder, file, shapes_only)

    @property
    def full_name(self) -> str:
        return posixpath.join(self.repository, self.folder)

    @property
    def is_version(self) -> bool:
        return not self.folder and VERSION.fullmatch(self.file) is not None

    @property
    def name(self) -> str:
        return self.file or self.folder or self.repository

    def enclosing(self) -> list[tuple[Source, str]]:
        above, _, inside = self.folder.rpartition("/")
        own: tuple[Source, str] = (self._at(self.folder), self.file)
        return [own, (self._at(above), f"{inside}/{self.file}")] if inside else [own]

    def nothing_here(self, known: list[str]) -> str:
        where = f" in its folder {self.folder}" if self.folder else ""
        if hub.connection.is_off():
            return (
                f"{self.repository}: the cache holds no autoencoder{where}, and the Hub is not asked or does not "
                "answer: connect to it, or give local files"
            )
        if self.folder.endswith(TENSOR_SUFFIXES):
            return f"{self.repository} has no file or folder {self.folder}: check its name"
        return (
            f"{self.repository}: the repository has no autoencoder of a known layout{where}: `build.py inspect "
            f"{self.repository}` lists those that it has"
        )

    def provenance(self) -> Provenance:
        paths = {self._in_repository(name): path for name, path in self._paths.items()}
        return hub.cache_provenance(self.repository, dict(sorted(paths.items())))

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return hub.open_remote(hub.HubFile(self.repository, self._in_repository(name)))

    def in_cache(self) -> Source | None:
        if self._listed is not None:
            return None
        path = self._in_repository(self.file) if self.file else self.folder
        return HubSource(self.repository, path, self.shapes_only, cache_only=True)

    def _at(self, folder: str) -> HubSource:
        return HubSource(self.repository, folder, self.shapes_only, self._listed, self._cache_only)

    def _is_file(self, path: str) -> bool:
        """Tell whether a path in the repository is a file; some folders are named like files of tensors."""
        if not path.endswith(TENSOR_SUFFIXES) or VERSION.fullmatch(path):
            return path.endswith(TENSOR_SUFFIXES)
        return self._has(path)

    def _find(self, name: str) -> bool:
        path = self._in_repository(name)
        return not path.startswith("..") and self._has(path)

    def _has(self, path: str) -> bool:
        """Tell whether the repository has a file at a path."""
        if self._listed is not None:
            return path in self._listed
        file = hub.HubFile(self.repository, path)
        return hub.is_cached(file) if self._cache_only else hub.has_file(file)

    def _fetch(self, name: str) -> Path:
        return hub.fetch_required(hub.HubFile(self.repository, self._in_repository(name)))

    def _in_repository(self, name: str) -> str:
        """Get a file's path within the repository."""
        return posixpath.normpath(posixpath.join(self.folder, name))
