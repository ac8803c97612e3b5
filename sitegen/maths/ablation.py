"""What the model predicts without a feature, where nothing but the final norm comes after it: exact, and cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PAIRS_AT_ONCE = 64  # so that their logits stay within a processor's caches


@dataclass(frozen=True)
class FinalLayer:
    """From the last residual stream to the logits: `centred(r) / sqrt(mean(centred(r)^2) + epsilon) W_U + b_U`."""

    W_U: Tensor  # [d_model, d_vocab], folded and centred as TransformerLens does by default
    b_U: Tensor  # [d_vocab]
    epsilon: float

    def centred(self, residual: Tensor) -> Tensor:
        """[n, d_model] what the norm takes of the residual stream."""
        return residual - residual.mean(-1, keepdim=True)

    def scale(self, centred: Tensor) -> Tensor:
        """[n, 1] what the norm divides by."""
        return (centred.pow(2).mean(-1, keepdim=True) + self.epsilon).sqrt()

    def logits(self, residual: Tensor) -> Tensor:
        """[n, d_vocab] for residual streams [n, d_model]."""
        centred = self.centred(residual)
        return centred / self.scale(centred) @ self.W_U + self.b_U


@dataclass(frozen=True)
class Ablation:
    """What taking a feature out changes at each of some firings.

    loss_change       [n] float32, nats: by how much the next token's loss rises; NaN where there is no next token
    promoted_id       [n, k] int64: the tokens whose log-probability falls most
    promoted_change   [n, k] float32, nats: log-probability with the feature less that without it, largest first
    suppressed_id, suppressed_change  [n, k]: likewise, smallest first
    """

    loss_change: Tensor
    promoted_id: Tensor
    promoted_change: Tensor
    suppressed_id: Tensor
    suppressed_change: Tensor

    @staticmethod
    def joined(parts: list[Ablation]) -> Ablation:
        """The firings of all parts, in order."""
        names = list(Ablation.__dataclass_fields__)
        return Ablation(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def ablate(
    final: FinalLayer,
    residual: Tensor,
    next_id: Tensor,
    written: Tensor,
    effects: Tensor,
    firings: tuple[Tensor, Tensor, Tensor],
    k: int,
) -> Ablation:
    """Takes one feature out at a time, where it fires.

    residual  [n_tokens, d_model] before the final norm
    next_id   [n_tokens] int64: the token that follows; -1 where none does
    written   [n_features, d_model] what one unit of each feature adds to the residual stream
    effects   [n_features, d_vocab] `written W_U`
    firings   [n] int64 feature, [n] int64 token, [n] float32 activation
    formula   log p(r) - log p(r - activation written), p the softmax of `final.logits`
    source    definitions.md, "ablation"
    """
    centred = final.centred(residual)
    scale = final.scale(centred)  # [n_tokens, 1]
    unscaled = centred @ final.W_U  # [n_tokens, d_vocab]
    logits = unscaled / scale + final.b_U
    normaliser = torch.logsumexp(logits, 1, keepdim=True)
    removed = final.centred(written)
    parts = []
    for feature, token, activation in zip(
        *(torch.split(f, PAIRS_AT_ONCE) for f in firings), strict=True
    ):
        strength = activation[:, None]
        scale_without = final.scale(centred[token] - strength * removed[feature])
        # The logits are linear in the residual stream but for the norm's scale
        change = unscaled[token].mul_(1 / scale[token] - 1 / scale_without)
        change.addcmul_(effects[feature], strength / scale_without)
        without = torch.logsumexp(logits[token].sub_(change), 1, keepdim=True)
        shift = without - normaliser[token]
        up, down = _largest(change, k), _largest(change.neg_(), k)
        follows = next_id[token]
        at_next = -change.gather(1, follows.clamp(min=0)[:, None])
        loss_change = (at_next + shift)[:, 0].masked_fill(follows < 0, math.nan)
        parts.append(Ablation(loss_change, up[0], up[1] + shift, down[0], shift - down[1]))
    return Ablation.joined(parts)


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """([n, k] int64 columns, their values): the largest of each row, largest first.

    The largest k stand in the k groups with the largest maxima: so one pass and two short sorts find them, which takes
    a fraction of `topk`'s time.
    """
    n, width = values.shape
    size = math.isqrt(width)
    n_whole = width // size
    if n_whole <= k or k > size:
        top = torch.topk(values, k, dim=1)
        return top.indices, top.values
    grouped = values[:, : n_whole * size].view(n, n_whole, size)
    group = torch.topk(grouped.amax(2), k, dim=1).indices  # [n, k]
    column = (group[:, :, None] * size + torch.arange(size, device=values.device)).flatten(1)
    rest = torch.arange(n_whole * size, width, device=values.device).expand(n, -1)
    column = torch.cat([column, rest], 1)
    top = torch.topk(values.gather(1, column), k, dim=1)
    return column.gather(1, top.indices), top.values
