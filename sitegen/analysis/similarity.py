"""Similarity of features by their activations over the sample: to each other, to neurons, to the second autoencoder.

Most pairs of features are active together on no token. Sparse products give the pairs that are, and only these are
compared: time and memory depend on the active tokens, not on the number of all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.sample import NeuronSums, SampleActivations
from sitegen.maths.geometry import Matches, with_mutual
from sitegen.sweep.best_lists import index_in_group

# Multiplications of a sparse product that are made at once; a product has at most as many entries
PRODUCTS_AT_ONCE = 2**22
# Rows that are compared with all features, where no sparse product decides
ROWS_AT_ONCE = 256
# Pairs that are active together on fewer tokens are left out: so few may be chance
MIN_COACTIVE = 3

# ([n_features] mean, [n_features] standard deviation) of activations
Moments = tuple[np.ndarray, np.ndarray]
# Is called with numbers of features as they are done
Advance = Callable[[int], None]


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


def coactive_features(
    activations: SampleActivations, chosen: np.ndarray, k: int, advance: Advance = lambda n: None
) -> Coactivation:
    """Find the features that are active on the same tokens of the sample as each chosen feature.

    Of equal Jaccard indices the smaller feature comes first.

    chosen  [n_chosen] int64: features, rising; all features of the autoencoder are candidates
    source  definitions.md, "jaccard"
    """
    n_active = activations.n_active
    is_active = activations.is_active()
    by_token = is_active.T.tocsr()
    is_active = is_active[chosen]
    k = min(k, activations.n_features - 1)
    parts = []
    for block in _blocks(is_active @ np.diff(by_token.indptr)):
        row, other, n_both = _entries(is_active[block] @ by_token, MIN_COACTIVE)
        # No feature is listed beside itself
        kept = other != chosen[block][row]
        row, other, n_both = (array[kept] for array in (row, other, n_both))
        feature = chosen[block][row]
        # Tokens on which either is active: those of one, plus those of the other, less those of both
        jaccard = n_both / (n_active[feature] + n_active[other] - n_both)
        best = _best_in_rows(row, other, jaccard, (len(chosen[block]), k))
        count = n_both.astype(np.int64)
        parts.append((_taken(other, best, -1), _taken(jaccard, best, 0), _taken(count, best, 0)))
        advance(len(best))
    return Coactivation(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def share_contexts(
    table: ContextTable,
    n_features: int,
    seq_len: int,
    k: int,
    advance: Advance = lambda n: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find ([n_features, k] int64 features, -1 past the last; [n_features, k] int64 counts), largest count first.

    A feature shares a top context with every feature that has the peak of a top context inside its window. The counts
    come from sparse products: windows x peaks gives which features peak in which window, and its rows are summed for
    the feature that owns the windows. Of equal counts the smaller feature comes first.

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
    # The contexts of a feature follow each other
    first_context = np.searchsorted(feature, np.arange(n_features + 1))
    owners = csr_array((np.ones(n), np.arange(n), first_context), (n_features, n))
    k = min(k, n_features - 1)
    parts = []
    for block in _blocks(owners @ (windows @ np.diff(peaks.indptr))):
        contexts = slice(first_context[block.start], first_context[block.stop])
        peaks_in = windows[contexts] @ peaks  # [n_contexts, n_features]
        # A context counts once for a feature, however many of its peaks are inside
        peaks_in.data[:] = 1
        row, other, count = _entries(owners[block][:, contexts] @ peaks_in)
        kept = other != row + block.start
        row, other, count = (array[kept] for array in (row, other, count))
        best = _best_in_rows(row, other, count, (block.stop - block.start, k))
        parts.append((_taken(other, best, -1), _taken(count.astype(np.int64), best, 0)))
        advance(len(best))
    index, count = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return index, count


def correlation_matches(
    one: SampleActivations, other: SampleActivations, advance: Advance = lambda n: None
) -> tuple[Matches, Matches]:
    """Find the best matches of `one`'s features in `other` and the reverse, by the correlation of their activations.

    A feature that is inactive on the whole sample has no match. Of equal correlations the smaller feature is the match.

    source  definitions.md, "activation correlation"
    """
    index, value = _most_correlated(one, other, advance)
    back, back_value = _most_correlated(other, one, advance)
    return with_mutual(index, value, back), with_mutual(back, back_value, index)


def _most_correlated(
    one: SampleActivations, other: SampleActivations, advance: Advance
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find ([n] int64 feature of `other`, [n] float32 correlation) for each feature of `one`; -1 and -inf if none.

    No activation is below 0, so two features that are active together on no token have a correlation below 0. A
    correlation above 0 can only be found among features that are active together, and these are compared first. A
    feature for which there is none is compared with all of `other`; hardly any active feature needs it.
    """
    moments, others = _moments(one), _moments(other)
    by_token = other.matrix.T.tocsr()
    index = np.full(one.n_features, -1)
    value = np.full(one.n_features, -np.inf, np.float32)
    for block in _blocks(one.is_active() @ np.diff(by_token.indptr)):
        row, column, product = _entries(one.matrix[block] @ by_token)
        found = _correlation(
            product / one.n_tokens, _at(moments, row + block.start), _at(others, column)
        ).astype(np.float32)
        kept = found > 0
        row, column, found = row[kept], column[kept], found[kept]
        best = _best_in_rows(row, column, found, (block.stop - block.start, 1))[:, 0]
        index[block], value[block] = _taken(column, best, -1), _taken(found, best, -np.inf)
        advance(len(best))
    undecided = np.flatnonzero((index < 0) & (moments[1] > 0))
    for part in np.split(undecided, range(ROWS_AT_ONCE, len(undecided), ROWS_AT_ONCE)):
        products = (one.matrix[part] @ by_token).toarray() / one.n_tokens
        mean, spread = _at(moments, part)
        index[part], value[part] = _largest_of_all(
            _correlation(products, (mean[:, None], spread[:, None]), others)
        )
    return torch.from_numpy(index), torch.from_numpy(value)


def _largest_of_all(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find ([n] column, [n] float32 value) of the largest number in each row; -1 and -inf where all are NaN."""
    found = np.nan_to_num(correlation, nan=-np.inf).astype(np.float32)
    largest = found.max(1)
    return np.where(largest > -np.inf, found.argmax(1), -1), largest


def neuron_correlations(
    activations: SampleActivations,
    neurons: NeuronSums,
    chosen: np.ndarray,
    k: int,
    advance: Advance = lambda n: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find ([n_chosen, k] int64 neurons, [n_chosen, k] float64 correlations) of each chosen feature, largest first.

    The correlations of a feature that is inactive on the whole sample are NaN.

    source  definitions.md, "neuron correlation"
    """
    n_tokens = activations.n_tokens
    moments = _moments(activations)
    neuron_mean = neurons.total / n_tokens
    variance = neurons.squares / n_tokens - np.square(neuron_mean)
    # Rounding can make the variance of a constant neuron slightly negative
    neuron_spread = np.sqrt(np.maximum(variance, 0))
    k = min(k, len(neuron_mean))
    parts = [(np.empty((0, k), np.int64), np.empty((0, k)))]
    # Some features at a time: the correlations of all with all neurons take hundreds of megabytes, several times over
    for first in range(0, len(chosen), ROWS_AT_ONCE):
        part = chosen[first : first + ROWS_AT_ONCE]
        mean, spread = _at(moments, part)
        correlation = _correlation(
            neurons.products[part] / n_tokens,
            (mean[:, None], spread[:, None]),
            (neuron_mean, neuron_spread),
        )
        ranked = torch.from_numpy(np.nan_to_num(correlation, nan=-np.inf))
        index = torch.topk(ranked, k, dim=1).indices.numpy()
        parts.append((index, np.take_along_axis(correlation, index, 1)))
        advance(len(part))
    index, found = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return index, found


def _moments(activations: SampleActivations) -> Moments:
    """Compute the means and standard deviations of the activations over all tokens of the sample."""
    mean = np.asarray(activations.matrix.sum(axis=1)).ravel() / activations.n_tokens
    squares = np.asarray(activations.matrix.power(2).sum(axis=1)).ravel() / activations.n_tokens
    # Rounding can make the variance of a constant activation slightly negative
    return mean, np.sqrt(np.maximum(squares - np.square(mean), 0))


def _at(moments: Moments, features: np.ndarray) -> Moments:
    return moments[0][features], moments[1][features]


def _correlation(products: np.ndarray, one: Moments, other: Moments) -> np.ndarray:
    """Compute Pearson's correlation from mean products and the moments of each side; the shapes are broadcast.

    returns  NaN where a standard deviation is 0
    """
    (mean, spread), (other_mean, other_spread) = one, other
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = (products - mean * other_mean) / (spread * other_spread)
    return np.where(np.isfinite(found), found, np.nan)


def _blocks(work: np.ndarray) -> Iterator[slice]:
    """Divide rows into consecutive blocks of about PRODUCTS_AT_ONCE multiplications.

    work  [n_rows]: multiplications that each row takes
    """
    number = np.cumsum(work) // PRODUCTS_AT_ONCE
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(work)], strict=True):
        yield slice(start, stop)


def _entries(
    matrix: csr_array, least: float = -np.inf
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the entries of a sparse matrix that are at least `least`: ([n] rows, rising; [n] columns; [n] values)."""
    kept = np.flatnonzero(matrix.data >= least)
    n_before = np.searchsorted(kept, matrix.indptr)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(n_before))
    return row, matrix.indices[kept].astype(np.int64), matrix.data[kept]


def _best_in_rows(
    row: np.ndarray, column: np.ndarray, measure: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Find the entries with the largest measure in each row of a sparse matrix; of equal ones the smaller column's.

    row, column, measure  [n] of each entry
    shape                 (number of rows, number of entries to find in each)
    returns               `shape` int64 indices of entries, largest measure first; -1 past a row's last
    """
    n_rows, k = shape
    # A row's entries are divided into k groups. The largest of each are k entries, so an entry that is smaller than all
    # of these is not among the k largest. This leaves few entries to sort.
    group_maxima = np.full(n_rows * k, -np.inf)
    np.maximum.at(group_maxima, row * k + np.arange(len(row)) % k, measure)
    bound = group_maxima.reshape(shape).min(1, initial=np.inf)
    left = np.flatnonzero(measure >= bound[row])
    order = left[np.lexsort((column[left], -measure[left], row[left]))]
    nth = index_in_group(torch.from_numpy(row[order])).numpy()
    order, nth = order[nth < k], nth[nth < k]
    best = np.full(shape, -1)
    best[row[order], nth] = order
    return best


def _taken(values: np.ndarray, index: np.ndarray, past_last: float) -> np.ndarray:
    """Take values at indices, and `past_last` where an index is -1."""
    found: np.ndarray = np.append(values, past_last)[index]
    return found
