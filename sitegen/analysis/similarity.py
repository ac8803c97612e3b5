"""Similarity of features by their activations over the sample: to each other, to neurons, to the second autoencoder.

Functions that compare all pairs take FEATURES_AT_ONCE features at a time, since a dense matrix of all pairs may not
fit in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.sample import NeuronSums, SampleActivations
from sitegen.maths.geometry import Matches, MatchSearch

FEATURES_AT_ONCE = 256
# Pairs that are active together on fewer tokens are left out: so few may be chance
MIN_COACTIVE = 3


@dataclass(frozen=True)
class Coactivation:
    """The features that are active together with each chosen feature, largest Jaccard index first; [n_chosen, k] each.

    index    int64: feature; -1 past the last one
    jaccard  float64: tokens on which both are active, as a share of the tokens on which at least one is
    n_both   int64: tokens on which both are active
    """

    index: np.ndarray
    jaccard: np.ndarray
    n_both: np.ndarray


def coactive_features(activations: SampleActivations, chosen: np.ndarray, k: int) -> Coactivation:
    """Find the features that are active on the same tokens of the sample as each chosen feature.

    chosen  [n_chosen] int64: features, rising; all features of the autoencoder are candidates
    source  definitions.md, "jaccard"
    """
    is_active, n_active = activations.is_active(), activations.n_active
    by_token = is_active.T.tocsr()
    k = min(k, activations.n_features - 1)
    parts = []
    for first in range(0, len(chosen), FEATURES_AT_ONCE):
        block = chosen[first : first + FEATURES_AT_ONCE]
        n_both = (is_active[block] @ by_token).toarray()  # [n_block, n_features]
        # No feature is listed beside itself
        n_both[np.arange(len(block)), block] = 0
        # Tokens on which either is active: those of one, plus those of the other, less those of both
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
    """Find ([n_features, k] int64 features, -1 past the last; [n_features, k] int64 counts), largest count first.

    A feature shares a top context with every feature that has the peak of a top context inside its window. The counts
    come from sparse products: windows x peaks gives which features peak in which window, and its rows are summed for
    the feature that owns the windows.

    source  definitions.md, "n_shared"
    """
    top = np.flatnonzero(table.interval == TOP_GROUP)
    feature, token_index = table.feature[top], table.row[top] * seq_len + table.position[top]
    start = table.row[top] * seq_len + table.start[top]
    length = table.end[top] - table.start[top]
    ends = np.cumsum(length)
    # Token indices inside each window, one window after the other
    inside = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - length - start, length)
    # Columns only for tokens that occur, not for all tokens of the text
    token_indices, column = np.unique(np.concatenate([token_index, inside]), return_inverse=True)
    n, width = len(top), len(token_indices)
    peaks = csr_array((np.ones(n), (column[:n], feature)), (width, n_features))
    windows = csr_array((np.ones(len(inside)), column[n:], np.r_[0, ends]), (n, width))
    owners = csr_array((np.ones(n), (feature, np.arange(n))), (n_features, n))
    k = min(k, n_features - 1)
    parts = []
    for first in range(0, n_features, FEATURES_AT_ONCE):
        block = np.arange(first, min(first + FEATURES_AT_ONCE, n_features))
        low, high = np.searchsorted(feature, [block[0], block[-1] + 1])
        peaks_in = windows[low:high] @ peaks  # [n_contexts, n_features]
        # A context counts once for a feature, however many of its peaks are inside
        peaks_in.data[:] = 1
        shared = (owners[block][:, low:high] @ peaks_in).toarray()  # [n_block, n_features]
        shared[np.arange(len(block)), block] = 0
        # topk breaks ties in no stated order. These sort keys rank by count, then by lower index; as whole numbers in
        # float64 they are exact.
        keys = torch.from_numpy(shared * n_features - np.arange(n_features))
        index = torch.topk(keys, k, dim=1).indices.numpy()
        count = np.take_along_axis(shared, index, 1).astype(np.int64)
        parts.append((np.where(count > 0, index, -1), count))
    index, count = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return index, count


def correlation_matches(
    one: SampleActivations, other: SampleActivations
) -> tuple[Matches, Matches]:
    """Find the best matches of `one`'s features in `other` and the reverse, by the correlation of their activations.

    A feature that is inactive on the whole sample has no match.

    source  definitions.md, "activation correlation"
    """
    mean, spread = _moments(one)
    other_mean, other_spread = _moments(other)
    by_token = other.matrix.T.tocsr()
    search = MatchSearch(one.n_features, other.n_features)
    for first in range(0, one.n_features, FEATURES_AT_ONCE):
        block = slice(first, first + FEATURES_AT_ONCE)
        products = (one.matrix[block] @ by_token).toarray() / one.n_tokens
        correlation = _correlation(
            products, (mean[block], spread[block]), (other_mean, other_spread)
        )
        search.add(first, torch.from_numpy(np.nan_to_num(correlation, nan=-np.inf)).float())
    return search.found()


def neuron_correlations(
    activations: SampleActivations, neurons: NeuronSums, chosen: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find ([n_chosen, k] int64 neurons, [n_chosen, k] float64 correlations) of each chosen feature, largest first.

    The correlations of a feature that is inactive on the whole sample are NaN.

    source  definitions.md, "neuron correlation"
    """
    n_tokens = activations.n_tokens
    mean, spread = _moments(activations)
    neuron_mean = neurons.total / n_tokens
    variance = neurons.squares / n_tokens - np.square(neuron_mean)
    # Rounding can make the variance of a constant neuron slightly negative
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
    """Compute ([n_features] mean, [n_features] standard deviation) of the activations over all tokens of the sample."""
    mean = np.asarray(activations.matrix.sum(axis=1)).ravel() / activations.n_tokens
    squares = np.asarray(activations.matrix.power(2).sum(axis=1)).ravel() / activations.n_tokens
    # Rounding can make the variance of a constant activation slightly negative
    return mean, np.sqrt(np.maximum(squares - np.square(mean), 0))


def _correlation(
    products: np.ndarray, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Compute Pearson's correlation from mean products and (mean, standard deviation) of each side, [n, n_other].

    products  [n, n_other] means of the products of both activations
    returns   NaN where a standard deviation is 0
    """
    (mean, spread), (other_mean, other_spread) = one, other
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = (products - mean[:, None] * other_mean) / (
            spread[:, None] * other_spread
        )
    return np.where(np.isfinite(found), found, np.nan)
