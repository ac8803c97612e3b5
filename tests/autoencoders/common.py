"""What the scripts of this folder share: the input, random weights, and the files with the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"
D_IN, D_SAE, D_OUT, N_TOKENS, K = 24, 41, 20, 30, 4


@dataclass(frozen=True)
class About:
    """Where a repository's files are, and what the library that reads them says about them.

    repository      id on the Hub
    source          folder or file in it
    model           name of the model
    hook_point      TransformerLens' name of the hook point
    hook_point_out  the same of what a transcoder predicts; empty for an autoencoder
    architecture    name of it in the library
    input_scale     factor that the input is to be multiplied with first, where only SAELens' registry tells it
    """

    repository: str
    source: str
    model: str
    hook_point: str
    hook_point_out: str
    architecture: str
    input_scale: float = 1.0


def make_input() -> Tensor:
    """Activations [N_TOKENS, D_IN], whose mean is not zero."""
    return torch.randn(N_TOKENS, D_IN, generator=torch.Generator().manual_seed(0)) + 0.3


def randomise(weights: Mapping[str, Tensor]) -> None:
    """Set every weight to a random value that no initialisation would give it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in weights.items():
            if not weight.is_floating_point():
                continue
            if name == "threshold":
                weight.copy_(0.2 + torch.rand(weight.shape, generator=generator))
            else:
                weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))


def random_weights(
    shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random weights of these names and shapes."""
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    randomise(weights)
    return {name: weight.to(dtype) for name, weight in weights.items()}


def save_expected(folder: Path, x: Tensor, activations: Tensor, output: Tensor) -> None:
    """Save the results of the library that owns a layout."""
    tensors = {"x": x, "activations": activations, "output": output}
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        folder / "expected.safetensors",
    )


def save_about(folder: Path, about: About) -> None:
    """Save what a reader is to find out about the repository in this folder."""
    write_json(folder / "about.json", asdict(about))


def write_json(path: Path, settings: Mapping[str, Any]) -> None:
    """Write settings, with the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=4) + "\n")


def dense(values: Tensor, indices: Tensor, n_features: int) -> Tensor:
    """Dense activations [n_tokens, n_features] of the k active entries of every token."""
    return torch.zeros(len(values), n_features).scatter(-1, indices, values)
