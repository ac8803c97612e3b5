"""The statistics of a sweep, each an accumulator: `update` with a batch, `merge` with another part, `arrays` to save.

The size of the state depends on the number of features and of kept contexts, never on the number of tokens. Everything
but sums of floats is the same in any order and any split of the rows; sums are float64, and the parts are merged shard
by shard, in order, so that they are reproducible too.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.best_lists import NO_RANK, BestLists, Entries
from sitegen.sweep.windows import mix

# Cells of the grid on (0, 2^e] of each feature. At least half of them are below the maximum; a power of two, so that
# neighbours can be joined again and again.
N_CELLS = 64
# Exponent of a feature without an activation, below that of any float32
NO_SCALE = -1000

ENTRY_FIELDS = ("slot", "rank", "token_index", "activation", "text_key")

Arrays = dict[str, np.ndarray]


class Accumulator(Protocol):
    """One statistic of every feature."""

    def update(self, batch: ActiveBatch) -> None:
        """Add the active tokens of a batch."""

    def merge(self, other: Self) -> None:
        """Add the statistic of another part of the rows."""

    def prune_against(self, total: Self) -> None:
        """Make this empty state drop what could not survive merging into `total`."""

    def arrays(self) -> Arrays:
        """Return the state as arrays to save."""

    def restore(self, arrays: Arrays) -> None:
        """Set the state from saved arrays."""


class Counts:
    """Number of active tokens of each feature, sum of its activations, and its maxima on text and on special tokens.

    n_positions         number of tokens read
    n_active            [n_features] int64: active tokens at all positions, special tokens included
    n_active_special    [n_features] int64: those of them that are special tokens
    activation_sum      [n_features] float64: over all positions
    max_activation      [n_features] float32: over tokens that may be a peak
    max_special         [n_features] float32: over special tokens
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.n_positions = 0
        self.n_active = np.zeros(n_features, np.int64)
        self.n_active_special = np.zeros(n_features, np.int64)
        self.activation_sum = np.zeros(n_features, np.float64)
        self.max_activation = np.zeros(n_features, np.float32)
        self.max_special = np.zeros(n_features, np.float32)

    def update(self, batch: ActiveBatch) -> None:
        self.n_positions += batch.n_positions
        peaks, special = batch.peaks, batch.special
        self.n_active += np.bincount(batch.feature, minlength=self.n_features)
        self.n_active_special += np.bincount(special.feature, minlength=self.n_features)
        # bincount adds its weights in float64, in the order of the batch
        self.activation_sum += np.bincount(batch.feature, batch.activation, self.n_features)
        _raise_to_maximum(self.max_activation, peaks.feature, peaks.activation)
        _raise_to_maximum(self.max_special, special.feature, special.activation)

    def merge(self, other: Counts) -> None:
        self.n_positions += other.n_positions
        self.n_active += other.n_active
        self.n_active_special += other.n_active_special
        self.activation_sum += other.activation_sum
        np.maximum(self.max_activation, other.max_activation, out=self.max_activation)
        np.maximum(self.max_special, other.max_special, out=self.max_special)

    def prune_against(self, total: Counts) -> None:
        """Drop nothing: every active token changes a count."""

    def arrays(self) -> Arrays:
        return {
            "n_positions": np.array(self.n_positions, np.int64),
            "n_active": self.n_active,
            "n_active_special": self.n_active_special,
            "activation_sum": self.activation_sum,
            "max_activation": self.max_activation,
            "max_special": self.max_special,
        }

    def restore(self, arrays: Arrays) -> None:
        self.n_positions = int(arrays["n_positions"])
        self.n_active = arrays["n_active"]
        self.n_active_special = arrays["n_active_special"]
        self.activation_sum = arrays["activation_sum"]
        self.max_activation = arrays["max_activation"]
        self.max_special = arrays["max_special"]


class ErrorBoundCheck:
    """Evidence that no active token was missed: how the search product's error compares with its bound.

    n_examined     number of entries that were recomputed
    largest_error  largest error of the product at those entries, as a share of the error that its bound allows
    """

    def __init__(self) -> None:
        self.n_examined = 0
        self.largest_error = 0.0

    def update(self, batch: ActiveBatch) -> None:
        self.n_examined += batch.n_examined
        self.largest_error = max(self.largest_error, batch.largest_error)

    def merge(self, other: ErrorBoundCheck) -> None:
        self.n_examined += other.n_examined
        self.largest_error = max(self.largest_error, other.largest_error)

    def prune_against(self, total: ErrorBoundCheck) -> None:
        """Drop nothing: every examined entry counts."""

    def arrays(self) -> Arrays:
        return {
            "n_examined": np.array(self.n_examined, np.int64),
            "largest_error": np.array(self.largest_error, np.float64),
        }

    def restore(self, arrays: Arrays) -> None:
        self.n_examined = int(arrays["n_examined"])
        self.largest_error = float(arrays["largest_error"])


class ActivationScale:
    """For each feature the smallest power of two above its largest activation, and cells of equal width below it.

    The grid of `N_CELLS` cells on (0, 2^e] becomes the grid on (0, 2^(e+1)] by joining neighbours, exactly. So the
    maximum need not be known beforehand: each time it doubles, the cells are folded.

    exponent  [n_features] int64: e of each feature
    """

    def __init__(self, n_features: int) -> None:
        self.exponent = np.full(n_features, NO_SCALE, np.int64)

    def growth(self, feature: np.ndarray, activation: np.ndarray) -> np.ndarray:
        """Raise the scale to hold some activations, sorted by feature; return by how many doublings, [n_features]."""
        top = np.zeros(len(self.exponent), np.float32)
        _raise_to_maximum(top, feature, activation)
        # frexp gives e with 2^(e-1) <= top < 2^e
        wanted = np.where(top > 0, np.frexp(top)[1], self.exponent).astype(np.int64)
        return self.raise_to(wanted)

    def raise_to(self, exponent: np.ndarray) -> np.ndarray:
        """Raise the scale to at least `exponent` [n_features]; return by how many doublings a scale in use rose."""
        # A feature without activations has only empty cells, which need no fold
        steps = np.where(self.exponent > NO_SCALE, np.maximum(exponent - self.exponent, 0), 0)
        self.exponent = np.maximum(exponent, self.exponent)
        return steps

    def slots(self, feature: np.ndarray, activation: np.ndarray) -> np.ndarray:
        """Compute feature x 64 + cell for each activation, [n] int64; cell c holds activations of (c, c + 1] widths."""
        cells_a_unit = np.ldexp(float(N_CELLS), -self.exponent)
        # The product is exact, because its factor is a power of two in float64; rounding moves no activation to another
        # cell
        scaled = np.ceil(activation * cells_a_unit[feature])
        slots: np.ndarray = feature * N_CELLS + (scaled.astype(np.int64) - 1)
        return slots


class ActivationHistogram:
    """Exact counts of activations, on tokens that may be a peak, in the cells of `ActivationScale`.

    counts  [n_features, 64] int64
    """

    def __init__(self, n_features: int) -> None:
        self.scale = ActivationScale(n_features)
        self.counts = np.zeros((n_features, N_CELLS), np.int64)

    def update(self, batch: ActiveBatch) -> None:
        peaks = batch.peaks
        # The grid is raised first, so that every activation has a cell
        self._fold(self.scale.growth(peaks.feature, peaks.activation))
        slots = self.scale.slots(peaks.feature, peaks.activation)
        self.counts += np.bincount(slots, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: ActivationHistogram) -> None:
        # Both are folded to the coarser of the two grids
        other._fold(other.scale.raise_to(self.scale.exponent))
        self._fold(self.scale.raise_to(other.scale.exponent))
        self.counts += other.counts

    def prune_against(self, total: ActivationHistogram) -> None:
        """Drop nothing: every activation is counted."""

    def arrays(self) -> Arrays:
        # The narrowest type that holds all counts, so that a cell takes a few bytes on disk at most
        narrow = np.min_scalar_type(int(self.counts.max(initial=0)))
        return {"exponent": self.scale.exponent, "counts": self.counts.astype(narrow)}

    def restore(self, arrays: Arrays) -> None:
        self.scale.exponent = arrays["exponent"]
        self.counts = arrays["counts"].astype(np.int64)

    def _fold(self, steps: np.ndarray) -> None:
        rising = np.flatnonzero(steps > 0)
        self.counts[rising] = _folded(self.counts[rising], steps[rising], np.add, 0)


class TopContexts:
    """The largest activations of each feature, one for each distinct context; of equal ones the earlier token's."""

    def __init__(self, n_features: int, n_top: int) -> None:
        self.lists = BestLists(n_features, n_top)

    def update(self, batch: ActiveBatch) -> None:
        peaks = batch.peaks
        # Positive floats are ordered as their bits are; inverted, the largest activation has the smallest rank
        rank = ~peaks.activation.view(np.uint32)
        self.lists.add(
            Entries(peaks.feature, rank, peaks.token_index, peaks.activation, peaks.text_key)
        )

    def merge(self, other: TopContexts) -> None:
        self.lists.add(other.lists.entries())

    def prune_against(self, total: TopContexts) -> None:
        # What ranks above the worst entry of the total's full list could not get into it
        self.lists.bound = total.lists.bound.copy()

    def arrays(self) -> Arrays:
        return _list_arrays(self.lists)

    def restore(self, arrays: Arrays) -> None:
        _restore_lists(self.lists, arrays)


class IntervalSamples:
    """Samples of active tokens at every strength, chosen by a hash of feature and text, whatever order they come in.

    The maximum, and with it the intervals, are known only at the end. So samples are kept in the finer cells of
    `ActivationScale`, from which every interval of (0, maximum] can be filled. Where two cells are joined, the first
    few of both by hash are kept.
    """

    def __init__(self, feature_ids: np.ndarray, n_per_cell: int) -> None:
        # From the feature's number rather than its index, so that it does not depend on which others are swept
        self._salt = mix(feature_ids.astype(np.uint64) + np.uint64(1))
        self.scale = ActivationScale(len(feature_ids))
        self.lists = BestLists(len(feature_ids) * N_CELLS, n_per_cell)

    def update(self, batch: ActiveBatch) -> None:
        peaks = batch.peaks
        self._fold(self.scale.growth(peaks.feature, peaks.activation))
        slot = self.scale.slots(peaks.feature, peaks.activation)
        hashed = mix(peaks.text_key ^ self._salt[peaks.feature]) >> np.uint64(32)
        # NO_RANK itself marks empty elements
        rank = np.minimum(hashed.astype(np.uint32), NO_RANK - np.uint32(1))
        self.lists.add(Entries(slot, rank, peaks.token_index, peaks.activation, peaks.text_key))

    def merge(self, other: IntervalSamples) -> None:
        self._fold(self.scale.raise_to(other.scale.exponent))
        self._add_again(other.lists.entries())

    def prune_against(self, total: IntervalSamples) -> None:
        # A bound belongs to a cell, so this state starts on the total's grid
        self.scale.exponent = total.scale.exponent.copy()
        self.lists.bound = total.lists.bound.copy()

    def arrays(self) -> Arrays:
        return {"exponent": self.scale.exponent, **_list_arrays(self.lists)}

    def restore(self, arrays: Arrays) -> None:
        self.scale.exponent = arrays["exponent"]
        _restore_lists(self.lists, arrays)

    def _fold(self, steps: np.ndarray) -> None:
        rising = np.flatnonzero(steps > 0)
        if rising.size:
            slots = (rising[:, None] * N_CELLS + np.arange(N_CELLS)).reshape(-1)
            # Joined cells hold more entries than a list does, so all are taken out and compete again
            held = self.lists.entries(slots)
            # The list of two joined cells is at least as good as that of either, so the better bound holds
            bound = self.lists.bound[slots].reshape(-1, N_CELLS)
            bound = _folded(bound, steps[rising], np.minimum, NO_RANK)
            self.lists.clear(slots, bound.reshape(-1))
            self._add_again(held)

    def _add_again(self, entries: Entries) -> None:
        """Add entries of the same features that were in the cells of another grid."""
        # The activation itself gives the cell in the new grid, whatever the old one was
        feature = entries.slot // N_CELLS
        self.lists.add(entries.in_slots(self.scale.slots(feature, entries.activation)))


def _folded(
    cells: np.ndarray, steps: np.ndarray, join: np.ufunc, empty: int | np.uint32
) -> np.ndarray:
    """Fold cells [n, 64] of grids that doubled `steps` [n] times: join each with its neighbour, empty the upper half.

    join   how two cells become one
    empty  value of an empty cell
    """
    folded = cells.copy()
    # After 6 doublings all 64 cells have become one, and further doublings change nothing
    for step in range(min(int(steps.max(initial=0)), N_CELLS.bit_length() - 1)):
        rising = steps > step
        pairs = join.reduce(folded[rising].reshape(-1, N_CELLS // 2, 2), axis=2)
        folded[rising] = np.concatenate([pairs, np.full_like(pairs, empty)], axis=1)
    return folded


def _raise_to_maximum(maximum: np.ndarray, feature: np.ndarray, activation: np.ndarray) -> None:
    """Raise `maximum[feature]` to the largest activation of each feature, in place; `feature` is sorted."""
    if len(feature):
        # One maximum for each run of equal features
        starts = np.flatnonzero(np.r_[True, feature[1:] != feature[:-1]])
        present = feature[starts]
        maximum[present] = np.maximum(maximum[present], np.maximum.reduceat(activation, starts))


def _list_arrays(lists: BestLists) -> Arrays:
    """Return the entries of the lists as arrays, without empty elements."""
    held = lists.entries()
    return {field: getattr(held, field) for field in ENTRY_FIELDS}


def _restore_lists(lists: BestLists, arrays: Arrays) -> None:
    lists.replace_all(Entries(**{field: arrays[field] for field in ENTRY_FIELDS}))
