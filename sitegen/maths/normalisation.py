"""What some autoencoders do to their input first, and undo in their output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-5  # beside the deviation; source: SAELens


@dataclass(frozen=True)
class Normalised:
    """Activations as an autoencoder takes them: `(input - shift) / scale`.

    x             [n, d_hook] float32
    shift, scale  [n, 1] float32
    """

    x: Tensor
    shift: Tensor
    scale: Tensor

    def undone(self, output: Tensor) -> Tensor:
        """[n, d_hook] what the autoencoder's output stands for in the model."""
        return output * self.scale + self.shift


def normalised(x: Tensor, kind: str) -> Normalised:
    """Activations `x` [n, d_hook] normalised token by token.

    kind    none; layer_norm, to a mean of 0 and a standard deviation (of n - 1) of 1; constant_norm_rescale, to the
            length of the square root of d_hook
    source  SAELens, `normalize_activations`
    """
    if kind == "layer_norm":
        shift = x.mean(1, keepdim=True)
        scale = (x - shift).std(1, keepdim=True)
        return Normalised((x - shift) / (scale + EPSILON), shift, scale)
    zero = x.new_zeros(len(x), 1)
    if kind == "constant_norm_rescale":
        scale = torch.linalg.vector_norm(x, dim=1, keepdim=True) / x.shape[1] ** 0.5
        # A token of no length at all stays what it is
        return Normalised(x / torch.where(scale > 0, scale, 1), zero, scale)
    return Normalised(x, zero, zero + 1)
