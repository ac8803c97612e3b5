"""Files of named tensors, read without executing any code in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.files import require_content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file or a plain state dict to the CPU, whatever device they were saved from.

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
    for name, weight in loaded.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise SourceError(
                f"{path.name}: the entry {name!r} is not a named tensor; save a state dict of tensors alone"
            )
        if weight.layout != torch.strided or weight.is_nested or weight.device.type != "cpu":
            raise SourceError(
                f"{path.name}: {name} is sparse, nested or without values; save it as a dense tensor with its values"
            )
    return loaded


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
