"""A transformer up to one hook point, as plain matrices: the same computation as static/js/engine.js in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, relu, silu

from sitegen.records import ModelSettings

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": lambda x: gelu(x, approximate="tanh"),
    "relu": relu,
    "silu": silu,
}


@dataclass(frozen=True)
class PlainTransformer:
    """Settings and weights; each matrix is [out, in], and layer norms are folded into what follows them.

    weights  `embedding` [d_vocab, d_model], `positions` [seq_len, d_model]; and, up to the hook point, `.weight` and
             `.bias` of `layers.N.qkv`, `.attention_out`, `.mlp_in` and `.mlp_out`. The rows of `qkv` are all queries,
             then all keys, then all values, each head by head.
    """

    settings: ModelSettings
    weights: dict[str, Tensor]

    @torch.no_grad()
    def activations(self, ids: Tensor) -> Tensor:
        """Compute the activations at the hook point for `ids` [n_rows, seq_len], [n_rows, seq_len, d_hook] float32."""
        settings, weights = self.settings, self.weights
        residual = weights["embedding"][ids] + weights["positions"][: ids.shape[1]]
        for layer in range(settings.n_layers):
            ends = settings.hook if layer == settings.n_layers - 1 else ""
            if ends == "resid_pre":
                break
            written = self._attention(residual, layer)
            if ends == "attn_out":
                return written
            residual = residual + written
            if ends == "resid_mid":
                break
            normed = self._norm(residual)
            if ends == "mlp_norm":
                return normed
            hidden = ACTIVATIONS[settings.activation](
                self._linear(normed, f"layers.{layer}.mlp_in")
            )
            if ends == "mlp_post":
                return hidden
            written = self._linear(hidden, f"layers.{layer}.mlp_out")
            if ends == "mlp_out":
                return written
            residual = residual + written
        return residual

    def _attention(self, residual: Tensor, layer: int) -> Tensor:
        """Compute what a layer's attention adds to the residual stream, [n_rows, seq_len, d_model]."""
        qkv = self._linear(self._norm(residual), f"layers.{layer}.qkv")
        n_rows, seq_len, _ = qkv.shape
        query, key, value = (
            part.view(n_rows, seq_len, self.settings.n_heads, -1).transpose(1, 2)
            for part in qkv.chunk(3, -1)
        )
        scores = query @ key.mT / self.settings.score_scale  # [n_rows, n_heads, seq_len, seq_len]
        later = torch.ones(seq_len, seq_len, dtype=torch.bool, device=scores.device).triu(1)
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ value
        joined = mixed.transpose(1, 2).flatten(2)
        return self._linear(joined, f"layers.{layer}.attention_out")

    def _norm(self, residual: Tensor) -> Tensor:
        # Without gain and bias, which are folded into the next matrix
        return layer_norm(residual, residual.shape[-1:], eps=self.settings.epsilon)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
