"""Normalisation that some autoencoders apply to their input and undo in their output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the standard deviation; source: SAELens
EPSILON = 1e-5


@dataclass(frozen=True)
class Normalised:
    """Activations as an autoencoder encodes them: `(input - shift) / scale`.

    x             [n, d_hook] float32
    shift, scale  [n, 1] float32
    """

    x: Tensor
    shift: Tensor
    scale: Tensor

    def undone(self, output: Tensor) -> Tensor:
        """Convert the autoencoder's output [n, d_hook] back to the scale of the model's activations."""
        return output * self.scale + self.shift


def normalise(x: Tensor, kind: str) -> Normalised:
    """Normalise activations `x` [n, d_hook], each token by itself.

    kind    none; layer_norm, to a mean of 0 and a standard deviation of 1 (with divisor d_hook - 1);
            constant_norm_rescale, to a length of the square root of d_hook
    source  SAELens, `normalize_activations`
    """
    if kind == "layer_norm":
        shift = x.mean(1, keepdim=True)
        scale = (x - shift).std(1, keepdim=True)
        return Normalised((x - shift) / (scale + EPSILON), shift, scale)
    zero = x.new_zeros(len(x), 1)
    if kind == "constant_norm_rescale":
        scale = torch.linalg.vector_norm(x, dim=1, keepdim=True) / x.shape[1] ** 0.5
        # A token of length 0 is left as it is
        return Normalised(x / torch.where(scale > 0, scale, 1), zero, scale)
    return Normalised(x, zero, zero + 1)
