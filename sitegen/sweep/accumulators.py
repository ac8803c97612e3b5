"""The statistics of a sweep, each an accumulator: `update` with a batch, `merge` with another part, `arrays` to save.

State depends on the number of features and of kept contexts, never on the number of tokens. Whatever is not a sum of
floats is the same in any order and any split; the sums are in float64 and merged shard by shard in order.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.best_lists import NO_RANK, BestLists, Entries
from sitegen.sweep.windows import mix

N_CELLS = 64  # of the grid below a feature's maximum, at least half of them in use; even, so that neighbours join
NO_SCALE = -1000  # exponent of a feature that has not fired

ENTRY_FIELDS = ("slot", "rank", "token_index", "activation", "text_key")

Arrays = dict[str, np.ndarray]


class Accumulator(Protocol):
    """One statistic of every feature."""

    def update(self, batch: ActiveBatch) -> None:
        """Takes in the firings of a batch."""

    def merge(self, other: Self) -> None:
        """Takes in what another part of the rows gave."""

    def expect(self, total: Self) -> None:
        """Makes this empty state one of rows that will be merged into `total`: what that beats need not be kept."""

    def arrays(self) -> Arrays:
        """The state, as arrays to save."""

    def restore(self, arrays: Arrays) -> None:
        """Sets the state from saved arrays."""


class Counts:
    """How often each feature fires, how strongly in sum, and its maxima on text and on special tokens.

    n_active            [n_features] int64: all positions, special tokens included
    n_active_special    [n_features] int64: of those, special tokens
    activation_sum      [n_features] float64: all positions
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

    def expect(self, total: Counts) -> None:
        """Nothing: sums and maxima are as large as they are."""

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
    """That no firing was missed: how far off the searching product ever was, as a share of the bound it relied on."""

    def __init__(self) -> None:
        self.n_examined = 0
        self.largest_error = 0.0

    def update(self, batch: ActiveBatch) -> None:
        self.n_examined += batch.n_examined
        self.largest_error = max(self.largest_error, batch.largest_error)

    def merge(self, other: ErrorBoundCheck) -> None:
        self.n_examined += other.n_examined
        self.largest_error = max(self.largest_error, other.largest_error)

    def expect(self, total: ErrorBoundCheck) -> None:
        """Nothing: every entry examined counts."""

    def arrays(self) -> Arrays:
        return {
            "n_examined": np.array(self.n_examined, np.int64),
            "largest_error": np.array(self.largest_error, np.float64),
        }

    def restore(self, arrays: Arrays) -> None:
        self.n_examined = int(arrays["n_examined"])
        self.largest_error = float(arrays["largest_error"])


class ActivationScale:
    """For each feature the power of two just above its largest activation, and cells of equal width below it.

    A grid of `n` cells on (0, 2^e] becomes the one on (0, 2^(e+1)] by joining neighbours, exactly: so a maximum that
    is not known beforehand costs nothing but a fold each time it doubles.
    """

    def __init__(self, n_features: int) -> None:
        self.exponent = np.full(n_features, NO_SCALE, np.int64)

    def growth(self, feature: np.ndarray, activation: np.ndarray) -> np.ndarray:
        """[n_features] by how many doublings these activations raise the scale; the scale is raised."""
        top = np.zeros(len(self.exponent), np.float32)
        _raise_to_maximum(top, feature, activation)
        wanted = np.where(top > 0, np.frexp(top)[1], self.exponent).astype(np.int64)
        return self.raise_to(wanted)

    def raise_to(self, exponent: np.ndarray) -> np.ndarray:
        """[n_features] by how many doublings a scale in use rises to reach at least `exponent`."""
        steps = np.where(self.exponent > NO_SCALE, np.maximum(exponent - self.exponent, 0), 0)
        self.exponent = np.maximum(exponent, self.exponent)
        return steps

    def slots(self, feature: np.ndarray, activation: np.ndarray) -> np.ndarray:
        """[n] int64 feature x 64 + cell of each activation; cell c holds (c, c + 1] widths."""
        cells_a_unit = np.ldexp(float(N_CELLS), -self.exponent)
        scaled = np.ceil(activation * cells_a_unit[feature])  # exact: a power of two in float64
        slots: np.ndarray = feature * N_CELLS + (scaled.astype(np.int64) - 1)
        return slots


class ActivationHistogram:
    """Exact counts of activations on tokens that may be a peak, on the grid of `ActivationScale`.

    counts  [n_features, 64] int64
    """

    def __init__(self, n_features: int) -> None:
        self.scale = ActivationScale(n_features)
        self.counts = np.zeros((n_features, N_CELLS), np.int64)

    def update(self, batch: ActiveBatch) -> None:
        peaks = batch.peaks
        self._fold(self.scale.growth(peaks.feature, peaks.activation))
        slots = self.scale.slots(peaks.feature, peaks.activation)
        self.counts += np.bincount(slots, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: ActivationHistogram) -> None:
        other._fold(other.scale.raise_to(self.scale.exponent))
        self._fold(self.scale.raise_to(other.scale.exponent))
        self.counts += other.counts

    def expect(self, total: ActivationHistogram) -> None:
        """Nothing: every firing is counted."""

    def arrays(self) -> Arrays:
        narrow = np.min_scalar_type(int(self.counts.max(initial=0)))  # a few bytes a cell on disk
        return {"exponent": self.scale.exponent, "counts": self.counts.astype(narrow)}

    def restore(self, arrays: Arrays) -> None:
        self.scale.exponent = arrays["exponent"]
        self.counts = arrays["counts"].astype(np.int64)

    def _fold(self, steps: np.ndarray) -> None:
        rising = np.flatnonzero(steps > 0)
        self.counts[rising] = _folded(self.counts[rising], steps[rising], np.add, 0)


class TopContexts:
    """The largest activations of each feature, one for each distinct surrounding text; ties by row, then position."""

    def __init__(self, n_features: int, n_top: int) -> None:
        self.lists = BestLists(n_features, n_top)

    def update(self, batch: ActiveBatch) -> None:
        peaks = batch.peaks
        # Positive floats order as their bits do; inverted, the largest comes first
        rank = ~peaks.activation.view(np.uint32)
        self.lists.add(
            Entries(peaks.feature, rank, peaks.token_index, peaks.activation, peaks.text_key)
        )

    def merge(self, other: TopContexts) -> None:
        self.lists.add(other.lists.entries())

    def expect(self, total: TopContexts) -> None:
        self.lists.bound = total.lists.bound.copy()

    def arrays(self) -> Arrays:
        return _list_arrays(self.lists)

    def restore(self, arrays: Arrays) -> None:
        _restore_lists(self.lists, arrays)


class IntervalSamples:
    """Samples of firings at every strength, chosen by a hash of feature and text, never by arrival.

    The maximum, and so the intervals, are known only at the end: samples are kept in finer cells of `ActivationScale`,
    from which any slice of (0, maximum] can be filled. Where cells are joined, the first few by hash of both remain.
    """

    def __init__(self, feature_ids: np.ndarray, n_per_cell: int) -> None:
        self._salt = mix(
            feature_ids.astype(np.uint64) + np.uint64(1)
        )  # the same, however many are swept beside it
        self.scale = ActivationScale(len(feature_ids))
        self.lists = BestLists(len(feature_ids) * N_CELLS, n_per_cell)

    def update(self, batch: ActiveBatch) -> None:
        peaks = batch.peaks
        self._fold(self.scale.growth(peaks.feature, peaks.activation))
        slot = self.scale.slots(peaks.feature, peaks.activation)
        hashed = mix(peaks.text_key ^ self._salt[peaks.feature]) >> np.uint64(32)
        rank = np.minimum(hashed.astype(np.uint32), NO_RANK - np.uint32(1))
        self.lists.add(Entries(slot, rank, peaks.token_index, peaks.activation, peaks.text_key))

    def merge(self, other: IntervalSamples) -> None:
        self._fold(self.scale.raise_to(other.scale.exponent))
        self._add_again(other.lists.entries())

    def expect(self, total: IntervalSamples) -> None:
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
            held = self.lists.entries(slots)
            # What is beaten in one of two cells is beaten in both together
            bound = self.lists.bound[slots].reshape(-1, N_CELLS)
            bound = _folded(bound, steps[rising], np.minimum, NO_RANK)
            self.lists.clear(slots, bound.reshape(-1))
            self._add_again(held)

    def _add_again(self, entries: Entries) -> None:
        """Adds entries of the same features that stood in another grid's cells."""
        feature = entries.slot // N_CELLS
        self.lists.add(entries.in_slots(self.scale.slots(feature, entries.activation)))


def _folded(
    cells: np.ndarray, steps: np.ndarray, join: np.ufunc, empty: int | np.uint32
) -> np.ndarray:
    """[n, 64] cells of grids that doubled `steps` [n] times: each with its neighbour, the upper half empty."""
    folded = cells.copy()
    for step in range(min(int(steps.max(initial=0)), N_CELLS.bit_length() - 1)):
        rising = steps > step
        pairs = join.reduce(folded[rising].reshape(-1, N_CELLS // 2, 2), axis=2)
        folded[rising] = np.concatenate([pairs, np.full_like(pairs, empty)], axis=1)
    return folded


def _raise_to_maximum(maximum: np.ndarray, feature: np.ndarray, activation: np.ndarray) -> None:
    """Raises `maximum[feature]` to the largest activation of each feature; `feature` is sorted."""
    if len(feature):
        starts = np.flatnonzero(np.r_[True, feature[1:] != feature[:-1]])
        present = feature[starts]
        maximum[present] = np.maximum(maximum[present], np.maximum.reduceat(activation, starts))


def _list_arrays(lists: BestLists) -> Arrays:
    """What stands in the lists, without the empty places."""
    held = lists.entries()
    return {field: getattr(held, field) for field in ENTRY_FIELDS}


def _restore_lists(lists: BestLists, arrays: Arrays) -> None:
    lists.replace_all(Entries(**{field: arrays[field] for field in ENTRY_FIELDS}))
