"""A file or folder that may hold an autoencoder: on this machine, or in a repository of the Hub."""

from __future__ import annotations

import posixpath
import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import yaml
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources import hub
from sitegen.sources.layouts.shapes import read_shapes
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.settings import read_settings
from sitegen.sources.tensors import read_tensors

TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors", ".npz")
VERSION = re.compile(r"\d+\.pt")


class Source(ABC):
    """A folder, and a file in it if a single file was named; every name below is relative to the folder.

    folder       its name: a path within the repository, or a path of this machine
    file         name of the file that was named; empty if it was the folder
    shapes_only  whether tensors are read without their values, which transfers a header in place of gigabytes
    """

    def __init__(self, folder: str, file: str, shapes_only: bool) -> None:
        self.folder, self.file, self.shapes_only = folder, file, shapes_only
        self._paths: dict[str, Path] = {}
        # Each file is looked for and read once, however many layouts ask for it
        self.holds = cache(self._holds)
        self.settings = cache(self._read_settings)
        self.tensors = cache(self._read_tensors)

    @property
    @abstractmethod
    def full_name(self) -> str:
        """Name with everything that may tell about the autoencoder: the repository's, or the absolute path."""

    @abstractmethod
    def enclosing(self) -> list[tuple[Source, str]]:
        """Folders that hold the file, as sources, each with the file's name in it: its own folder and the one above."""

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
    def is_numbered(self) -> bool:
        """Whether it is a version of a repository, which its number names."""
        return False

    @abstractmethod
    def _holds(self, name: str) -> bool: ...

    @abstractmethod
    def _fetch(self, name: str) -> Path: ...

    @property
    def name(self) -> str:
        """Name for messages: of the file, or else of the folder."""
        return self.file or posixpath.basename(self.folder) or self.full_name

    def path(self, name: str) -> Path:
        """Get a file's path on this machine, downloading it if need be.

        raises  SourceError if there is no such file
        """
        if name not in self._paths:
            self._paths[name] = self._fetch(name)
        return self._paths[name]

    def _read_settings(self, name: str) -> dict[str, Any] | None:
        """Read the JSON or YAML object in a settings file; None if there is no such file.

        raises  SourceError if the file holds anything else
        """
        if not self._holds_settings(name):
            return None
        if name.endswith(".json"):
            return read_settings(self.path(name), self.folder)
        try:
            settings = yaml.safe_load(self.path(name).read_text("utf-8"))
        except (ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:160]
            raise SourceError(
                f"{self.folder}/{name} is not valid YAML ({reason}); download or save the file again"
            ) from None
        return cast(dict[str, Any], settings) if isinstance(settings, dict) else {}

    def _holds_settings(self, name: str) -> bool:
        return bool(self.holds(name))

    def _read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read a file of tensors.

        raises  SourceError if there is no such file, or it is damaged or holds anything but tensors
        """
        if not self.shapes_only:
            return read_tensors(self.path(name))
        with self.open(name) as file:
            return read_shapes(file, posixpath.basename(name))


class LocalSource(Source):
    """A folder of this machine, or a file in it."""

    def __init__(self, path: Path, shapes_only: bool = False) -> None:
        is_file = not path.is_dir()
        self._folder = path.parent if is_file else path
        self._name = path.name
        super().__init__(self._folder.name, path.name if is_file else "", shapes_only)

    @property
    def root(self) -> Path:
        """Path of the folder."""
        return self._folder

    @property
    def full_name(self) -> str:
        return self._folder.resolve().as_posix()

    def enclosing(self) -> list[tuple[Source, str]]:
        above = self._folder.resolve().parent
        inside = f"{self._folder.resolve().name}/{self.file}"
        return [
            (LocalSource(self._folder, self.shapes_only), self.file),
            (LocalSource(above, self.shapes_only), inside),
        ]

    def nothing_here(self, known: list[str]) -> str:
        return (
            f"{self.full_name} is not an autoencoder's folder: such a folder holds {', or '.join(known)}; "
            f"`build.py inspect {self.folder}` lists what it holds"
        )

    def provenance(self) -> Provenance:
        return local_provenance(self._name, [self._paths[name] for name in sorted(self._paths)])

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return self._fetch(name).open("rb")

    def _holds(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def _fetch(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise SourceError(f"{path}: no such autoencoder file; correct autoencoder.source")
        return path


class HubSource(Source):
    """A folder of a Hub repository, or a file in it.

    listed  names of all the repository's files, if they are known; otherwise the Hub is asked about each file
    """

    def __init__(
        self,
        repository: str,
        path: str,
        shapes_only: bool = False,
        listed: frozenset[str] | None = None,
    ) -> None:
        self.repository, self._listed = repository, listed
        folder, _, file = path.rpartition("/") if self._is_file(path) else (path, "", "")
        super().__init__(folder, file, shapes_only)

    @property
    def full_name(self) -> str:
        return posixpath.join(self.repository, self.folder)

    @property
    def is_numbered(self) -> bool:
        return VERSION.fullmatch(self.file) is not None

    @property
    def name(self) -> str:
        return self.file or self.folder or self.repository

    def enclosing(self) -> list[tuple[Source, str]]:
        above, _, inside = self.folder.rpartition("/")
        return [
            (self._at(self.folder), self.file),
            (self._at(above), f"{inside}/{self.file}"),
        ]

    def _is_file(self, path: str) -> bool:
        """Tell whether a path in the repository is a file; some folders are named like files of tensors."""
        if not path.endswith(TENSOR_SUFFIXES) or VERSION.fullmatch(path):
            return path.endswith(TENSOR_SUFFIXES)
        if self._listed is not None:
            return path in self._listed
        # Without an answer, the name decides
        return hub.connection.is_off() or hub.has_file(hub.HubFile(self.repository, path))

    def _at(self, folder: str) -> HubSource:
        return HubSource(self.repository, folder, self.shapes_only, self._listed)

    def nothing_here(self, known: list[str]) -> str:
        where = f" in its folder {self.folder}" if self.folder else ""
        if hub.connection.is_off():
            return (
                f"{self.repository}: the cache holds no autoencoder{where}, and downloads are switched off: unset "
                "HF_HUB_OFFLINE, or give local files"
            )
        return (
            f"{self.repository}: the repository has no autoencoder of a known layout{where}: `build.py inspect "
            f"{self.repository}` lists those that it has"
        )

    def provenance(self) -> Provenance:
        paths = {self._in_repository(name): path for name, path in self._paths.items()}
        return hub.cache_provenance(self.repository, dict(sorted(paths.items())))

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return hub.open_remote(hub.HubFile(self.repository, self._in_repository(name)))

    def _holds(self, name: str) -> bool:
        if self._listed is not None:
            return self._in_repository(name) in self._listed
        return hub.has_file(hub.HubFile(self.repository, self._in_repository(name)))

    def _fetch(self, name: str) -> Path:
        return hub.fetch_required(hub.HubFile(self.repository, self._in_repository(name)))

    def _in_repository(self, name: str) -> str:
        """Get a file's path within the repository."""
        return posixpath.normpath(posixpath.join(self.folder, name))
