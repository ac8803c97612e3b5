"""Files of named tensors, read so that nothing in them is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.files import require_content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a plain state dict, on the CPU whatever device they were saved from.

    raises  SourceError if the file is damaged, a Git LFS pointer, or holds anything but tensors
    """
    require_content(path)
    try:
        loaded = _load(path)
    except OSError:
        raise
    except Exception as error:  # the unpickler raises almost anything over a file that is none
        reason = (" ".join(str(error).split()) or type(error).__name__)[:160]
        raise SourceError(f"{path.name} is no file of plain tensors: {reason}") from None
    if not isinstance(loaded, dict):
        raise SourceError(f"{path.name} is no dictionary of tensors")
    for name, weight in loaded.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise SourceError(
                f"{path.name}: {name!r} is no named tensor, and a state dict holds nothing else"
            )
        if weight.layout != torch.strided or weight.is_nested or weight.device.type != "cpu":
            raise SourceError(
                f"{path.name}: {name} is no plain tensor: save it dense, with its numbers"
            )
    return loaded


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
