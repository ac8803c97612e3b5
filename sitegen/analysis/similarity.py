"""How features fire beside each other, beside neurons and beside another run's features: from the sample's firings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.sample import NeuronSums, SampleActivations
from sitegen.maths.geometry import Matches, MatchSearch

FEATURES_AT_ONCE = 256
MIN_COACTIVE = 3  # joint firings below which nothing is said of two features


@dataclass(frozen=True)
class Coactivation:
    """For each chosen feature those it fires together with, most alike first; arrays [n_chosen, k].

    index    int64; -1 where there are no more
    jaccard  float64: tokens on which both fire, as a share of those on which either does
    n_both   int64: tokens on which both fire
    """

    index: np.ndarray
    jaccard: np.ndarray
    n_both: np.ndarray


def coactive_features(activations: SampleActivations, chosen: np.ndarray, k: int) -> Coactivation:
    """The features that fire most often on the same tokens of the sample.

    chosen  [n_chosen] int64: features, rising, whose companions are sought among all
    source  definitions.md, "jaccard"
    """
    is_active, n_active = activations.is_active(), activations.n_active
    other_way = is_active.T.tocsr()
    k = min(k, activations.n_features - 1)
    parts = []
    for first in range(0, len(chosen), FEATURES_AT_ONCE):
        block = chosen[first : first + FEATURES_AT_ONCE]
        n_both = (is_active[block] @ other_way).toarray()  # [n_block, n_features]
        n_both[np.arange(len(block)), block] = 0
        jaccard = n_both / np.maximum(n_active[block][:, None] + n_active - n_both, 1)
        jaccard[n_both < MIN_COACTIVE] = 0
        index = torch.topk(torch.from_numpy(jaccard), k, dim=1).indices.numpy()
        value = np.take_along_axis(jaccard, index, 1)
        count = np.take_along_axis(n_both, index, 1).astype(np.int64)
        parts.append((np.where(value > 0, index, -1), value, count))
    return Coactivation(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def share_contexts(
    table: ContextTable, n_features: int, seq_len: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """([n_features, k] int64 features, -1 where there are no more; [n_features, k] int64 counts), largest first.

    A top context is shared with every other feature of which a top context peaks within its window.

    source  definitions.md, "n_shared"
    """
    top = np.flatnonzero(table.interval == TOP_GROUP)
    feature, token_index = table.feature[top], table.row[top] * seq_len + table.position[top]
    start = table.row[top] * seq_len + table.start[top]
    length = table.end[top] - table.start[top]
    ends = np.cumsum(length)
    inside = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - length - start, length)
    token_indices, at = np.unique(np.concatenate([token_index, inside]), return_inverse=True)
    n, width = len(top), len(token_indices)
    peaks = csr_array((np.ones(n), (at[:n], feature)), (width, n_features))
    windows = csr_array((np.ones(len(inside)), at[n:], np.r_[0, ends]), (n, width))
    owners = csr_array((np.ones(n), (feature, np.arange(n))), (n_features, n))
    k = min(k, n_features - 1)
    parts = []
    for first in range(0, n_features, FEATURES_AT_ONCE):
        block = np.arange(first, min(first + FEATURES_AT_ONCE, n_features))
        low, high = np.searchsorted(feature, [block[0], block[-1] + 1])
        held = windows[low:high] @ peaks  # [n_contexts, n_features]
        held.data[:] = 1
        shared = (owners[block][:, low:high] @ held).toarray()  # [n_block, n_features]
        shared[np.arange(len(block)), block] = 0
        # Of equal counts the first feature's is the largest number
        numbers = torch.from_numpy(shared * n_features - np.arange(n_features))
        index = torch.topk(numbers, k, dim=1).indices.numpy()
        count = np.take_along_axis(shared, index, 1).astype(np.int64)
        parts.append((np.where(count > 0, index, -1), count))
    index, count = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return index, count


def correlation_matches(
    one: SampleActivations, other: SampleActivations
) -> tuple[Matches, Matches]:
    """Each feature's best match by the correlation of activations over the sample, and the other way round.

    A feature that is silent on the whole sample has none.

    source  definitions.md, "activation correlation"
    """
    mean, spread = _moments(one)
    other_mean, other_spread = _moments(other)
    other_way = other.matrix.T.tocsr()
    search = MatchSearch(one.n_features, other.n_features)
    for first in range(0, one.n_features, FEATURES_AT_ONCE):
        block = slice(first, first + FEATURES_AT_ONCE)
        products = (one.matrix[block] @ other_way).toarray() / one.n_tokens
        correlation = _correlation(
            products, (mean[block], spread[block]), (other_mean, other_spread)
        )
        search.add(first, torch.from_numpy(np.nan_to_num(correlation, nan=-np.inf)).float())
    return search.found()


def neuron_correlations(
    activations: SampleActivations, neurons: NeuronSums, chosen: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """([n_chosen, k] int64 neurons, [n_chosen, k] float64 correlations), largest first; NaN where a feature is silent.

    source  definitions.md, "neuron correlation"
    """
    n_tokens = activations.n_tokens
    mean, spread = _moments(activations)
    neuron_mean = neurons.total / n_tokens
    variance = neurons.squares / n_tokens - np.square(neuron_mean)
    neuron_spread = np.sqrt(np.maximum(variance, 0))
    correlation = _correlation(
        neurons.products[chosen] / n_tokens,
        (mean[chosen], spread[chosen]),
        (neuron_mean, neuron_spread),
    )
    k = min(k, correlation.shape[1])
    ranked = torch.from_numpy(np.nan_to_num(correlation, nan=-np.inf))
    index = torch.topk(ranked, k, dim=1).indices.numpy()
    return index, np.take_along_axis(correlation, index, 1)


def _moments(activations: SampleActivations) -> tuple[np.ndarray, np.ndarray]:
    """([n_features] mean, [n_features] standard deviation) of the activations over all tokens."""
    mean = np.asarray(activations.matrix.sum(axis=1)).ravel() / activations.n_tokens
    squares = np.asarray(activations.matrix.power(2).sum(axis=1)).ravel() / activations.n_tokens
    return mean, np.sqrt(np.maximum(squares - np.square(mean), 0))


def _correlation(
    products: np.ndarray, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """[n, n_other] Pearson's correlation from mean products, means and standard deviations; NaN without a spread."""
    (mean, spread), (other_mean, other_spread) = one, other
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = (products - mean[:, None] * other_mean) / (
            spread[:, None] * other_spread
        )
    return np.where(np.isfinite(found), found, np.nan)
