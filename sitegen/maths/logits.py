"""Logit effects: each feature's decoder row, multiplied on to the logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.maths.extremes import find_extremes

# Rows whose effects are counted at once, so that they stay within a processor's caches
ROWS_COUNTED = 16


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
def logit_extremes(
    effects: Tensor, k: int, largest: bool, log_total: Tensor | None = None
) -> LogitExtremes:
    """Find the `k` largest (or smallest) effects of each row; of equal effects those of the smaller token ids.

    effects    [n_features, d_vocab] float32
    log_total  [n_features, 1] `torch.logsumexp` of each row, if it is known already
    """
    k = min(k, effects.shape[1])
    # One more than asked for: only if it equals the last one does a choice between equal effects matter
    outermost = find_extremes(effects, min(k + 1, effects.shape[1]), largest)
    ids = outermost.column[:, :k].sort(1).values
    by_value = torch.sort(effects.gather(1, ids), dim=1, descending=largest, stable=True).indices
    order = ids.gather(1, by_value)
    is_tied = outermost.value[:, -1] == outermost.value[:, k - 1]
    if outermost.value.shape[1] > k and bool(is_tied.any()):
        whole = torch.sort(effects[is_tied], dim=1, descending=largest, stable=True)
        order[is_tied] = whole.indices[:, :k]
    value = effects.gather(1, order)
    if log_total is None:
        log_total = torch.logsumexp(effects, dim=1, keepdim=True)
    return LogitExtremes(order, value, torch.exp(value - log_total))


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
    parts = zip(torch.split(effects, ROWS_COUNTED), torch.split(edges, ROWS_COUNTED), strict=True)
    return edges, torch.cat([_count_in_bins(part, part_edges) for part, part_edges in parts])


def _count_in_bins(effects: Tensor, edges: Tensor) -> Tensor:
    """Count the effects [n, d_vocab] in the bins between rising edges [n, n_bins + 1], [n, n_bins] int64."""
    n, n_bins = len(effects), edges.shape[1] - 1
    low, width = edges[:, :1], edges[:, -1:] - edges[:, :1]
    # By division, which may be off by a bin where rounding matters; then the edges themselves decide. A search of each
    # effect among the edges takes several times as long.
    bins = ((effects - low) * (n_bins / width)).long().clamp_(0, n_bins - 1)
    bins -= (effects < edges.gather(1, bins)).long()
    bins.clamp_(min=0)
    bins += (effects >= edges.gather(1, bins + 1)).long()
    bins.clamp_(max=n_bins - 1)
    is_right = (effects >= edges.gather(1, bins)) & (
        (effects < edges.gather(1, bins + 1)) | (bins == n_bins - 1)
    )
    # Where all edges are nearly equal, division can be off by more
    if not bool(is_right.all()):
        bins = torch.searchsorted(edges, effects, right=True).sub_(1).clamp_(0, n_bins - 1)
    bins += n_bins * torch.arange(n, device=effects.device)[:, None]
    return torch.bincount(bins.flatten(), minlength=n * n_bins).view(n, n_bins)
