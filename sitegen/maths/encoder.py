"""Feature activations of the autoencoder, laid out so that a flat scan finds them in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# bfloat16 keeps 8 bits: each factor of a product is off by at most 2^-9 of itself, the product of two by a little
# more than 2^-8, and a sum of d_hook of them by that share of the sum of their magnitudes, which the norms bound.
# The result is rounded once more. 2^-7 covers all of it.
BF16_ERROR = 2.0**-7
RECHECKED_BYTES = 64 << 20  # of gathered columns at a time


@dataclass(frozen=True)
class Firings:
    """Activations above 0 of a batch, ordered by feature, then by token.

    feature     [n] int64: index of the feature among those swept
    token       [n] int64: index of the token in the flattened batch
    activation  [n] float32, all above 0
    """

    feature: np.ndarray
    token: np.ndarray
    activation: np.ndarray


class Encoder:
    """The encoder's product over a batch, in one buffer that is used again and again.

    The product is made feature by token, `[d_hidden, n_tokens]`: its positive entries, read in memory order, are
    sorted by feature and within a feature by row and position, which every statistic wants.
    """

    def __init__(self, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor, precision: str) -> None:
        """Takes [d_hook, d_hidden], [d_hidden], [d_hook] float32 on one device; precision fp32 or bf16."""
        self._weight = W_enc.T.contiguous()  # [d_hidden, d_hook]
        self._bias = b_enc[:, None]
        self._b_dec = b_dec
        self._buffer: Tensor | None = None
        self._weight_bf16 = self._weight.bfloat16() if precision == "bf16" else None
        self._weight_norm = self._weight.norm(dim=1, keepdim=True)

    @torch.no_grad()
    def firings(self, x: Tensor) -> Firings:
        """The activations above 0 for hook-point activations `x` [n_tokens, d_hook] float32.

        formula  ReLU((x - b_dec) W_enc + b_enc)
        source   definitions.md, "activation"
        """
        centred = x - self._b_dec
        if self._weight_bf16 is None:
            buffer = self._buffer_like(len(x), x.dtype, x.device)
            torch.addmm(self._bias, self._weight, centred.T, out=buffer)
            return self._positive(buffer)
        return self._recheck(centred)

    def _recheck(self, centred: Tensor) -> Firings:
        """The bfloat16 product finds whatever may be above 0; each such entry is made again in float32."""
        assert self._weight_bf16 is not None
        buffer = self._buffer_like(len(centred), torch.bfloat16, centred.device)
        torch.mm(self._weight_bf16, centred.bfloat16().T, out=buffer)
        margin = (
            BF16_ERROR * self._weight_norm * centred.norm(dim=1)[None, :]
        )  # [d_hidden, n_tokens]
        feature, token = torch.nonzero(buffer.float() + self._bias + margin > 0, as_tuple=True)
        activation = torch.empty(len(feature), dtype=torch.float32, device=centred.device)
        at_once = max(1, RECHECKED_BYTES // (centred.shape[1] * centred.element_size()))
        for start in range(0, len(feature), at_once):
            part = slice(start, start + at_once)
            products = self._weight[feature[part]] * centred[token[part]]
            activation[part] = products.sum(1) + self._bias[feature[part], 0]
        kept = activation > 0
        return Firings(
            feature[kept].cpu().numpy(), token[kept].cpu().numpy(), activation[kept].cpu().numpy()
        )

    def _positive(self, product: Tensor) -> Firings:
        n_tokens = product.shape[1]
        if product.device.type == "cpu":
            values = product.numpy().reshape(-1)
            at = np.flatnonzero(values > 0)
            activation = values[at]
        else:
            flat = product.reshape(-1)
            found = torch.nonzero(flat > 0).flatten()
            at, activation = found.cpu().numpy(), flat[found].cpu().numpy()
        feature = at // n_tokens
        return Firings(feature, at - feature * n_tokens, activation)

    def _buffer_like(self, n_tokens: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        shape = (len(self._weight), n_tokens)
        if self._buffer is None or self._buffer.shape != shape:
            self._buffer = torch.empty(shape, dtype=dtype, device=device)
        return self._buffer


@torch.no_grad()
def feature_activations(x: Tensor, encoder_columns: Tensor, bias: Tensor, b_dec: Tensor) -> Tensor:
    """[n_contexts, n_tokens] activations of one feature a context, over that context's own tokens.

    x                [n_contexts, n_tokens, d_hook] float32
    encoder_columns  [n_contexts, d_hook]: W_enc's column of each context's feature
    bias             [n_contexts]: b_enc of it
    source           definitions.md, "activation"
    """
    return torch.relu(torch.bmm(x - b_dec, encoder_columns[:, :, None])[:, :, 0] + bias[:, None])
