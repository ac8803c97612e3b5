"""Files of named tensors, read without executing any code in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.files import require_content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors or .npz file or a plain state dict to the CPU, whatever device saved them.

    A number becomes a tensor without axes, a text its UTF-8 bytes [n] uint8, and what is in a dictionary `a` within the
    dictionary is named `a.b`.

    raises  SourceError if the file is damaged, a Git LFS pointer, or holds anything but tensors
    """
    require_content(path)
    try:
        loaded = _load(path)
    except OSError:
        raise
    # On a file of another kind the unpickler can raise errors of almost any class
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise SourceError(
            f"{path.name} cannot be read as a file of plain tensors ({reason}); save a state dict of tensors alone, or "
            "download the file again"
        ) from None
    if not isinstance(loaded, dict):
        raise SourceError(
            f"{path.name} holds no dictionary of tensors; save a state dict, not a single tensor or a list"
        )
    flat = dict(flatten(loaded))
    for name, weight in flat.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise SourceError(
                f"{path.name}: the entry {name!r} is not a named tensor; save a state dict of tensors alone"
            )
        if weight.layout != torch.strided or weight.is_nested or weight.device.type != "cpu":
            raise SourceError(
                f"{path.name}: {name} is sparse, nested or without values; save it as a dense tensor with its values"
            )
    return flat


def flatten(values: dict[Any, Any], prefix: str = "") -> Iterator[tuple[Any, Any]]:
    """Generate the named values of a dictionary and of those within it; numbers and texts as tensors."""
    for name, value in values.items():
        full = f"{prefix}{name}" if isinstance(name, str) else name
        if isinstance(value, dict) and isinstance(name, str):
            yield from flatten(value, f"{full}.")
        elif isinstance(value, str):
            yield full, torch.tensor(list(value.encode()), dtype=torch.uint8)
        elif isinstance(value, bool | int | float):
            yield full, torch.tensor(value)
        else:
            yield full, value


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return torch.load(path, map_location="cpu", weights_only=True)
