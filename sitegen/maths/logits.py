"""What a feature does to the output: its decoder row, taken on to the logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitExtremes:
    """Largest or smallest logit effects of a block of features, each row in order.

    token_id     [n_features, k] int64
    value        [n_features, k] float32
    probability  [n_features, k] float32: the softmax over the whole vocabulary
    """

    token_id: Tensor
    value: Tensor
    probability: Tensor


@torch.no_grad()
def logit_effects(W_dec: Tensor, W_out: Tensor | None, W_U: Tensor) -> Tensor:
    """[n_features, d_vocab] float32: what one unit of each feature adds to each token's logit.

    W_dec   [n_features, d_hook]
    W_out   [d_hook, d_model], or None where the hook point is in the residual stream itself
    W_U     [d_model, d_vocab]
    source  definitions.md, "logit effect": W_dec W_out W_U
    """
    return written_by(W_dec, W_out) @ W_U


@torch.no_grad()
def written_by(W_dec: Tensor, W_out: Tensor | None) -> Tensor:
    """[n_features, d_model] float32: what one unit of each feature adds to the residual stream; likewise."""
    return W_dec if W_out is None else W_dec @ W_out


@torch.no_grad()
def logit_extremes(effects: Tensor, k: int, largest: bool) -> LogitExtremes:
    """The `k` largest (or smallest) effects of each row, ties by the smaller token id.

    effects  [n_features, d_vocab] float32
    """
    k = min(k, effects.shape[1])
    signed = effects if largest else -effects
    bound = torch.topk(signed, k, dim=1).values[:, -1:]
    # Of ties at the bound the smallest ids belong in: a stable sort over what reaches it decides, where topk would not.
    n_reaching = int((signed >= bound).sum(1).max())
    if n_reaching > k:
        order = torch.sort(signed, dim=1, descending=True, stable=True).indices[:, :k]
    else:
        ids = torch.sort(torch.topk(signed, k, dim=1).indices, dim=1).values
        by_value = torch.sort(signed.gather(1, ids), dim=1, descending=True, stable=True).indices
        order = ids.gather(1, by_value)
    value = effects.gather(1, order)
    probability = torch.exp(value - torch.logsumexp(effects, dim=1, keepdim=True))
    return LogitExtremes(order, value, probability)


@torch.no_grad()
def logit_histograms(effects: Tensor, n_bins: int) -> tuple[Tensor, Tensor]:
    """(edges [n_features, n_bins + 1] float32, counts [n_features, n_bins] int64), equal bins from least to largest.

    A bin holds its lower edge, the last one its upper edge too.
    """
    low = effects.min(1, keepdim=True).values
    high = effects.max(1, keepdim=True).values
    steps = torch.arange(n_bins + 1, dtype=torch.float64, device=effects.device) / n_bins
    edges = (low + (high - low).double() * steps).float()
    edges[:, -1:] = high
    bins = torch.searchsorted(edges, effects, right=True).sub_(1).clamp_(0, n_bins - 1)
    counts = torch.zeros(len(effects), n_bins, dtype=torch.int64, device=effects.device)
    counts.scatter_add_(1, bins, torch.ones_like(bins))
    return edges, counts
