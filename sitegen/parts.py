"""Parts of a computation kept on disk, so that a run that is interrupted loses no more than the part it was in.

A part is a dataclass, or a list of them, with arrays in it. Arrays are members of one .npz file, which has a checksum
of each; all else is MessagePack in one more member. Nothing is unpickled, so a folder from someone else runs no code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import torch
from scipy.sparse import csr_array

from sitegen.files import UNREADABLE, whole_file
from sitegen.progress import TITLES, announce_kept

T = TypeVar("T")


class KeptParts:
    """The parts of one computation, each in a file of a folder, known by a key of all that they are computed from."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def get(self, name: str, kind: Any, compute: Callable[[], T]) -> T:
        """The part of that name as an earlier run kept it, which is told, or as `compute` gives it, which is then kept.

        kind    the part's type, a union or a list too
        raises  OSError where the disk refuses, and what `compute` raises
        """
        path = self._path(name)
        try:
            found: T = _load(path, self._key, kind)
            if name in TITLES:
                announce_kept(name)
        except UNREADABLE:  # msgspec's errors are ValueErrors
            found = compute()
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial:
                _save(partial, self._key, found)
        return found

    def remove(self) -> None:
        """Deletes the files of all parts, of other keys too: what was computed from them stands elsewhere now."""
        for path in self._folder.glob(self._path("*").name):
            path.unlink()

    def _path(self, name: str) -> Path:
        return self._folder / f"part-{name}.npz"


def _save(path: Path, key: str, value: Any) -> None:
    arrays: list[np.ndarray] = []

    def number_of(part: Any) -> Any:
        if isinstance(part, csr_array):
            stored = [number_of(array) for array in (part.data, part.indices, part.indptr)]
            return [*stored, part.shape]
        arrays.append(part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part))
        return len(arrays) - 1

    structure = msgspec.msgpack.encode(value, enc_hook=number_of)
    named = {str(i): array for i, array in enumerate(arrays)}
    with path.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            key=np.array(key),
            structure=np.frombuffer(structure, np.uint8),
            **named,
        )


def _load(path: Path, key: str, kind: Any) -> Any:
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["key"]) != key:
            raise KeyError(key)

        def part_of(wanted: type, number: Any) -> Any:
            if wanted is csr_array:
                data, indices, indptr, shape = number
                return csr_array((saved[str(data)], saved[str(indices)], saved[str(indptr)]), shape)
            array = saved[str(number)]
            return torch.from_numpy(array) if wanted is torch.Tensor else array

        return msgspec.msgpack.decode(saved["structure"].tobytes(), type=kind, dec_hook=part_of)
