"""Names, types and shapes of the tensors in a file, from its header alone."""

from __future__ import annotations

import json
import zipfile
from typing import IO, Any, cast

import numpy as np
import torch
from safetensors.torch import _getdtype
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.hub_errors import HUB_FAULTS
from sitegen.sources.tensors import flatten

# Longest header of a safetensors file that the format allows
LONGEST_HEADER = 100_000_000


def read_shapes(file: IO[bytes], name: str) -> dict[str, Tensor]:
    """Read the tensors of a file without their values: tensors on the device `meta`. Numbers and texts have values.

    file    open for reading; of a remote file, only the parts that are read are transferred
    name    of the file, whose ending tells its format
    raises  SourceError if it is damaged
    """
    try:
        if name.endswith(".safetensors"):
            return _read_safetensors(file)
        if name.endswith(".npz"):
            return _read_npz(file)
        return _read_pickle(file)
    except (OSError, MemoryError, *HUB_FAULTS):
        raise
    # On a file of another kind the unpickler can raise errors of almost any class
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise SourceError(
            f"{name} cannot be read as a file of plain tensors ({reason}); save a state dict of tensors alone, or "
            "download the file again"
        ) from None


def _read_safetensors(file: IO[bytes]) -> dict[str, Tensor]:
    """Read the header: its length in 8 bytes, then JSON with each tensor's type and shape."""
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header would have {length:,} bytes")
    header = json.loads(file.read(length))
    return {
        name: torch.empty(entry["shape"], dtype=_getdtype(entry["dtype"]), device="meta")
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _read_npz(file: IO[bytes]) -> dict[str, Tensor]:
    """Read the header of each array in the archive."""
    found = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            with archive.open(member) as array:
                version = np.lib.format.read_magic(array)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read_header(array)
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            found[member.removesuffix(".npy")] = torch.empty(shape, dtype=kind, device="meta")
    return found


def _read_pickle(file: IO[bytes]) -> dict[str, Tensor]:
    """Read a state dict; torch leaves the values of tensors in the file and gives tensors of undefined content."""
    with torch.serialization.skip_data():
        loaded = torch.load(cast(Any, file), map_location="cpu", weights_only=True)
    # Numbers and texts are read; they become tensors on the CPU, tensors those without values
    return dict(flatten(_without_values(loaded)))


def _without_values(values: dict[Any, Any]) -> dict[Any, Any]:
    return {
        name: _without_values(value)
        if isinstance(value, dict)
        else value.to("meta")
        if isinstance(value, Tensor)
        else value
        for name, value in values.items()
    }
