"""Parts of a computation kept on disk, so that an interrupted run loses only the part that it was computing.

A part is a dataclass, or a list of them, that contains arrays. Each array is a member of one .npz file, which has a
checksum for every member; everything else is MessagePack in one more member. Nothing is unpickled, so no code is run
from a folder that someone else has written.
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
    """The parts of one computation, each in a file of a folder.

    key  hash of everything from which the parts are computed; a file with another key is computed again
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def get(self, name: str, kind: Any, compute: Callable[[], T]) -> T:
        """Load the part of that name if an earlier run has kept it, or else compute and keep it.

        kind    type of the part; may be a union or a list
        raises  OSError if it cannot be written, and whatever `compute` raises
        """
        path = self._path(name)
        try:
            found: T = _load(path, self._key, kind)
            if name in TITLES:
                announce_kept(name)
        # An absent, damaged or outdated file is computed again. The errors of msgspec are ValueErrors.
        except UNREADABLE:
            found = compute()
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial:
                _save(partial, self._key, found)
        return found

    def remove(self) -> None:
        """Delete the files of all parts, including those of other keys: the finished run has their results."""
        for path in self._folder.glob(self._path("*").name):
            path.unlink()

    def _path(self, name: str) -> Path:
        return self._folder / f"part-{name}.npz"


def _save(path: Path, key: str, value: Any) -> None:
    arrays: list[np.ndarray] = []

    # msgspec calls this for every value that MessagePack does not know. The array goes to `arrays`, and its index into
    # the MessagePack; a sparse matrix becomes three arrays and its shape.
    def store_array(part: Any) -> Any:
        if isinstance(part, csr_array):
            stored = [store_array(array) for array in (part.data, part.indices, part.indptr)]
            return [*stored, part.shape]
        arrays.append(part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part))
        return len(arrays) - 1

    structure = msgspec.msgpack.encode(value, enc_hook=store_array)
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

        # The reverse of `store_array`
        def load_array(wanted: type, stored: Any) -> Any:
            if wanted is csr_array:
                data, indices, indptr, shape = stored
                return csr_array((saved[str(data)], saved[str(indices)], saved[str(indptr)]), shape)
            array = saved[str(stored)]
            return torch.from_numpy(array) if wanted is torch.Tensor else array

        return msgspec.msgpack.decode(saved["structure"].tobytes(), type=kind, dec_hook=load_array)
