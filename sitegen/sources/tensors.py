"""Files of named tensors, read so that nothing in them is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sitegen.errors import SourceError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a plain state dict, on the CPU whatever device they were saved from.

    raises  SourceError if the file is damaged or holds anything but tensors
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(f"{path.name} is no file of plain tensors: {reason}") from None
    if not isinstance(weights, dict) or not all(
        isinstance(weight, Tensor) for weight in weights.values()
    ):
        raise SourceError(f"{path.name} is no plain dictionary of tensors")
    return weights
