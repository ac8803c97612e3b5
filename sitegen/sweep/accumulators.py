"""The statistics of a sweep, each an accumulator: `update` with a batch, `merge` with another part, `arrays` to save.

State depends on the number of features and of kept contexts, never on the number of tokens. Whatever is not a sum of
floats is the same in any order and any split; the sums are in float64 and merged shard by shard in order.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from sitegen.sweep.batch import FiringBatch
from sitegen.sweep.best_lists import BestLists, Entries
from sitegen.sweep.windows import mix

N_CELLS = 64  # of the grid below a feature's maximum, at least half of them in use; even, so that neighbours join

ENTRY_FIELDS = ("slot", "rank", "place", "activation", "text_key")

Arrays = dict[str, np.ndarray]


class Accumulator(Protocol):
    """One statistic of every feature."""

    def update(self, batch: FiringBatch) -> None:
        """Takes in the firings of a batch."""

    def merge(self, other: Self) -> None:
        """Takes in what another part of the rows gave."""

    def arrays(self) -> Arrays:
        """The state, as arrays to save."""

    def restore(self, arrays: Arrays) -> None:
        """Sets the state from saved arrays."""


class Counts:
    """How often each feature fires, how strongly in sum, and its maxima on text and on special tokens.

    n_active            [n_features] int64: all positions, BOS included
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

    def update(self, batch: FiringBatch) -> None:
        self.n_positions += batch.n_positions
        special = ~batch.may_peak
        self.n_active += np.bincount(batch.feature, minlength=self.n_features)
        self.n_active_special += np.bincount(batch.feature[special], minlength=self.n_features)
        self.activation_sum += np.bincount(batch.feature, batch.activation, self.n_features)
        _raise_to_maximum(
            self.max_activation, batch.feature[batch.may_peak], batch.activation[batch.may_peak]
        )
        _raise_to_maximum(self.max_special, batch.feature[special], batch.activation[special])

    def merge(self, other: Counts) -> None:
        self.n_positions += other.n_positions
        self.n_active += other.n_active
        self.n_active_special += other.n_active_special
        self.activation_sum += other.activation_sum
        np.maximum(self.max_activation, other.max_activation, out=self.max_activation)
        np.maximum(self.max_special, other.max_special, out=self.max_special)

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


class ActivationScale:
    """For each feature the power of two just above its largest activation, and cells of equal width below it.

    A grid of `n` cells on (0, 2^e] becomes the one on (0, 2^(e+1)] by joining neighbours, exactly: so a maximum that
    is not known beforehand costs nothing but a fold each time it doubles.
    """

    def __init__(self, n_features: int) -> None:
        self.exponent = np.full(n_features, -1000, np.int64)

    def growth(self, feature: np.ndarray, activation: np.ndarray) -> np.ndarray:
        """[n_features] by how many doublings these activations raise the scale; the scale is raised."""
        top = np.zeros(len(self.exponent), np.float32)
        _raise_to_maximum(top, feature, activation)
        wanted = np.where(top > 0, np.frexp(top)[1], self.exponent).astype(np.int64)
        return self.raise_to(wanted)

    def raise_to(self, exponent: np.ndarray) -> np.ndarray:
        """[n_features] by how many doublings the scale rises to reach at least `exponent`."""
        steps = np.maximum(exponent - self.exponent, 0)
        self.exponent = self.exponent + steps
        return steps

    def cells(self, feature: np.ndarray, activation: np.ndarray) -> np.ndarray:
        """[n] int64 cell of each activation; cell c holds (c, c + 1] widths."""
        scaled = np.ldexp(activation.astype(np.float64), -self.exponent[feature])
        cells: np.ndarray = np.ceil(scaled * N_CELLS).astype(np.int64) - 1
        return cells


class ActivationHistogram:
    """Exact counts of activations on tokens that may be a peak, on the grid of `ActivationScale`.

    counts  [n_features, 64] int64
    """

    def __init__(self, n_features: int) -> None:
        self.scale = ActivationScale(n_features)
        self.counts = np.zeros((n_features, N_CELLS), np.int64)

    def update(self, batch: FiringBatch) -> None:
        peaks = batch.peaks()
        self._fold(self.scale.growth(peaks.feature, peaks.activation))
        cells = self.scale.cells(peaks.feature, peaks.activation)
        flat = np.bincount(peaks.feature * N_CELLS + cells, minlength=self.counts.size)
        self.counts += flat.reshape(self.counts.shape)

    def merge(self, other: ActivationHistogram) -> None:
        other._fold(other.scale.raise_to(self.scale.exponent))
        self._fold(self.scale.raise_to(other.scale.exponent))
        self.counts += other.counts

    def arrays(self) -> Arrays:
        return {"exponent": self.scale.exponent, "counts": self.counts}

    def restore(self, arrays: Arrays) -> None:
        self.scale.exponent = arrays["exponent"]
        self.counts = arrays["counts"]

    def _fold(self, steps: np.ndarray) -> None:
        while (rising := np.flatnonzero(steps > 0)).size:
            pairs = self.counts[rising].reshape(len(rising), -1, 2).sum(2)
            self.counts[rising] = np.concatenate([pairs, np.zeros_like(pairs)], axis=1)
            steps = np.where(
                self.counts.any(1), steps - 1, 0
            )  # nothing to fold in an empty histogram


class TopContexts:
    """The largest activations of each feature, one for each distinct surrounding text; ties by row, then position."""

    def __init__(self, n_features: int, n_top: int) -> None:
        self.lists = BestLists(n_features, n_top)

    def update(self, batch: FiringBatch) -> None:
        peaks = batch.peaks()
        # Positive floats order as their bits do; inverted, the largest comes first
        rank = (~peaks.activation.view(np.uint32)).astype(np.uint64)
        self.lists.add(Entries(peaks.feature, rank, peaks.place, peaks.activation, peaks.text_key))

    def merge(self, other: TopContexts) -> None:
        self.lists.add(other.lists.entries())

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

    def update(self, batch: FiringBatch) -> None:
        peaks = batch.peaks()
        self._fold(self.scale.growth(peaks.feature, peaks.activation))
        slot = peaks.feature * N_CELLS + self.scale.cells(peaks.feature, peaks.activation)
        rank = mix(peaks.text_key ^ self._salt[peaks.feature])
        self.lists.add(Entries(slot, rank, peaks.place, peaks.activation, peaks.text_key))

    def merge(self, other: IntervalSamples) -> None:
        self._fold(self.scale.raise_to(other.scale.exponent))
        theirs = other.lists.entries()
        feature = theirs.slot // N_CELLS
        cells = self.scale.cells(feature, theirs.activation)
        self.lists.add(theirs.in_slots(feature * N_CELLS + cells))

    def arrays(self) -> Arrays:
        return {"exponent": self.scale.exponent, **_list_arrays(self.lists)}

    def restore(self, arrays: Arrays) -> None:
        self.scale.exponent = arrays["exponent"]
        _restore_lists(self.lists, arrays)

    def _fold(self, steps: np.ndarray) -> None:
        rising = np.flatnonzero(steps > 0)
        slots = (rising[:, None] * N_CELLS + np.arange(N_CELLS)).reshape(-1)
        held = self.lists.entries(slots)
        if len(slots):
            self.lists.clear(slots)
        feature = held.slot // N_CELLS
        cells = self.scale.cells(feature, held.activation)
        self.lists.add(held.in_slots(feature * N_CELLS + cells))


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
