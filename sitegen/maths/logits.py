"""Logit effects: each feature's decoder row, multiplied on to the logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitExtremes:
    """Largest or smallest logit effects of a block of features, the outermost first in each row.

    token_id     [n_features, k] int64
    value        [n_features, k] float32
    probability  [n_features, k] float32: of the token in the softmax of all the effects of the feature
    """

    token_id: Tensor
    value: Tensor
    probability: Tensor


@torch.no_grad()
def logit_effects(W_dec: Tensor, W_out: Tensor | None, W_U: Tensor) -> Tensor:
    """Compute what one unit of each feature adds to each token's logit, [n_features, d_vocab] float32.

    W_dec   [n_features, d_hook]
    W_out   [d_hook, d_model], or None where the hook point is in the residual stream itself
    W_U     [d_model, d_vocab]
    source  definitions.md, "logit effect": W_dec W_out W_U
    """
    return written_by(W_dec, W_out) @ W_U


@torch.no_grad()
def written_by(W_dec: Tensor, W_out: Tensor | None) -> Tensor:
    """Compute what one unit of each feature adds to the residual stream, [n_features, d_model] float32.

    W_dec, W_out  as for `logit_effects`
    """
    return W_dec if W_out is None else W_dec @ W_out


@torch.no_grad()
def logit_extremes(effects: Tensor, k: int, largest: bool) -> LogitExtremes:
    """Find the `k` largest (or smallest) effects of each row; of equal effects those of the smaller token ids.

    effects  [n_features, d_vocab] float32
    """
    k = min(k, effects.shape[1])
    signed = effects if largest else -effects
    bound = torch.topk(signed, k, dim=1).values[:, -1:]
    # Of equal effects at the bound, `topk` chooses any. Where there are more than fit, a stable sort of the whole row
    # chooses those of the smallest ids; otherwise it is enough to sort the k that `topk` chose.
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
    """Count effects in bins of equal width, from the smallest to the largest effect of each row.

    A bin includes its lower edge; the last one includes its upper edge too.

    returns  (edges [n_features, n_bins + 1] float32, counts [n_features, n_bins] int64)
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
