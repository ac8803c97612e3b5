"""The statistics of a sweep, each an accumulator: `update` with a batch, `merge` with another part, `arrays` to save.

The size of the state depends on the number of features and of kept contexts, never on the number of tokens. Everything
but sums of floats is the same in any order and any split of the rows; sums are float64, and the parts are merged shard
by shard, in order, so that they are reproducible too.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.best_lists import NO_RANK, BestLists, Entries
from sitegen.sweep.windows import mix, shifted_right

# Cells of the grid on (0, 2^e] of each feature. At least half of them are below the maximum; a power of two, so that
# neighbours can be joined again and again.
N_CELLS = 64
# Doublings after which all cells have become one: 2^6 = 64
MOST_STEPS = N_CELLS.bit_length() - 1
# A float64 with exponent e and no further digits has the bits (e + 1023) << 52
FLOAT64_BIAS, FLOAT64_DIGITS = 1023, 52
# Largest bit pattern of a positive float32, as a number
LARGEST_BITS = (1 << 31) - 1
# Exponent of a feature without an activation, below that of any float32
NO_SCALE = -1000

Arrays = dict[str, np.ndarray]


class Accumulator(Protocol):
    """One statistic of every feature, on the device of the batches that it is updated with."""

    def update(self, batch: ActiveBatch) -> None:
        """Add the active tokens of a batch, whose rows come after those of earlier batches. Does not wait."""

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

    _FIELDS = ("n_active", "n_active_special", "activation_sum", "max_activation", "max_special")

    def __init__(self, n_features: int, device: torch.device) -> None:
        self.n_positions = 0
        self.n_active = torch.zeros(n_features, dtype=torch.int64, device=device)
        self.n_active_special = torch.zeros_like(self.n_active)
        self.activation_sum = torch.zeros(n_features, dtype=torch.float64, device=device)
        self.max_activation = torch.zeros(n_features, device=device)
        self.max_special = torch.zeros_like(self.max_activation)

    def update(self, batch: ActiveBatch) -> None:
        self.n_positions += batch.n_positions
        feature, activation = batch.feature, batch.activation
        is_active = activation > 0
        self.n_active.scatter_add_(0, feature, is_active.long())
        self.n_active_special.scatter_add_(0, feature, (is_active & ~batch.may_peak).long())
        self.activation_sum += _sums(feature, activation.double(), len(self.n_active))
        self.max_activation.scatter_reduce_(0, feature, batch.peak_activation, "amax")
        on_special = torch.where(batch.may_peak, 0, activation)
        self.max_special.scatter_reduce_(0, feature, on_special, "amax")

    def merge(self, other: Counts) -> None:
        self.n_positions += other.n_positions
        self.n_active += other.n_active
        self.n_active_special += other.n_active_special
        self.activation_sum += other.activation_sum
        self.max_activation = torch.maximum(self.max_activation, other.max_activation)
        self.max_special = torch.maximum(self.max_special, other.max_special)

    def prune_against(self, total: Counts) -> None:
        """Drop nothing: every active token changes a count."""

    def arrays(self) -> Arrays:
        saved = {name: getattr(self, name).cpu().numpy() for name in self._FIELDS}
        return {"n_positions": np.array(self.n_positions, np.int64), **saved}

    def restore(self, arrays: Arrays) -> None:
        self.n_positions = int(arrays["n_positions"])
        for name in self._FIELDS:
            setattr(self, name, torch.from_numpy(arrays[name]).to(self.n_active.device))


class ErrorBoundCheck:
    """Evidence that no active token was missed: how the search product's error compares with its bound.

    n_examined     number of entries that were recomputed
    largest_error  scalar float64: largest error of the product at those entries, as a share of what its bound allows
    """

    def __init__(self, device: torch.device) -> None:
        self.n_examined = 0
        self.largest_error = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, batch: ActiveBatch) -> None:
        self.n_examined += batch.n_examined
        if batch.largest_error is not None:
            self.largest_error = torch.maximum(self.largest_error, batch.largest_error)

    def merge(self, other: ErrorBoundCheck) -> None:
        self.n_examined += other.n_examined
        self.largest_error = torch.maximum(self.largest_error, other.largest_error)

    def prune_against(self, total: ErrorBoundCheck) -> None:
        """Drop nothing: every examined entry counts."""

    def arrays(self) -> Arrays:
        return {
            "n_examined": np.array(self.n_examined, np.int64),
            "largest_error": self.largest_error.cpu().numpy(),
        }

    def restore(self, arrays: Arrays) -> None:
        self.n_examined = int(arrays["n_examined"])
        error = torch.from_numpy(np.asarray(arrays["largest_error"]))
        self.largest_error = error.to(self.largest_error.device)


class ActivationScale:
    """For each feature the smallest power of two above its largest activation, and cells of equal width below it.

    The grid of `N_CELLS` cells on (0, 2^e] becomes the grid on (0, 2^(e+1)] by joining neighbours, exactly. So the
    maximum need not be known beforehand: each time it doubles, the cells are folded.

    exponent  [n_features] int64: e of each feature
    """

    def __init__(self, n_features: int, device: torch.device) -> None:
        self.exponent = torch.full((n_features,), NO_SCALE, dtype=torch.int64, device=device)

    def growth(self, feature: Tensor, activation: Tensor) -> Tensor:
        """Raise the scale to hold some activations; return by how many doublings, [n_features]."""
        top = torch.zeros(len(self.exponent), device=activation.device)
        top.scatter_reduce_(0, feature, activation, "amax")
        # frexp gives e with 2^(e-1) <= top < 2^e
        wanted = torch.where(top > 0, torch.frexp(top).exponent.long(), NO_SCALE)
        return self.raise_to(wanted)

    def raise_to(self, exponent: Tensor) -> Tensor:
        """Raise the scale to at least `exponent` [n_features]; return by how many doublings a scale in use rose."""
        # A feature without activations has only empty cells, which need no fold
        steps = torch.where(self.exponent > NO_SCALE, (exponent - self.exponent).clamp(min=0), 0)
        self.exponent = torch.maximum(exponent, self.exponent)
        return steps

    def cells(self, feature: Tensor, activation: Tensor) -> Tensor:
        """Compute the cell of each activation, [n] int64; cell c holds activations of (c, c + 1] widths.

        The result is `N_CELLS` for activations above the scale.
        """
        # 2^(6 - e), made from its bits: torch's powers are not exact in every library
        cells_a_unit = ((FLOAT64_BIAS + MOST_STEPS - self.exponent) << FLOAT64_DIGITS).view(
            torch.float64
        )
        # The product is exact, because its factor is a power of two in float64; rounding moves no activation to another
        # cell
        scaled = torch.ceil(activation * cells_a_unit[feature])
        return scaled.clamp(max=N_CELLS + 1).long() - 1


class ActivationHistogram:
    """Exact counts of activations, on tokens that may be a peak, in the cells of `ActivationScale`.

    counts  [n_features, 64] int64
    """

    def __init__(self, n_features: int, device: torch.device) -> None:
        self.scale = ActivationScale(n_features, device)
        self.counts = torch.zeros(n_features, N_CELLS, dtype=torch.int64, device=device)

    def update(self, batch: ActiveBatch) -> None:
        feature, activation = batch.feature, batch.peak_activation
        # The grid is raised first, so that every activation has a cell
        self._fold(self.scale.growth(feature, activation))
        # What is no peak is in cell -1; it adds 0 to another cell
        cell = self.scale.cells(feature, activation)
        slot = feature * N_CELLS + cell.clamp(min=0)
        self.counts.view(-1).scatter_add_(0, slot, batch.is_peak.long())

    def merge(self, other: ActivationHistogram) -> None:
        # Both are folded to the coarser of the two grids
        other._fold(other.scale.raise_to(self.scale.exponent))
        self._fold(self.scale.raise_to(other.scale.exponent))
        self.counts += other.counts

    def prune_against(self, total: ActivationHistogram) -> None:
        """Drop nothing: every activation is counted."""

    def arrays(self) -> Arrays:
        counts = self.counts.cpu().numpy()
        # The narrowest type that holds all counts, so that a cell takes a few bytes on disk at most
        narrow = np.min_scalar_type(int(counts.max(initial=0)))
        return {"exponent": self.scale.exponent.cpu().numpy(), "counts": counts.astype(narrow)}

    def restore(self, arrays: Arrays) -> None:
        device = self.counts.device
        self.scale.exponent = torch.from_numpy(arrays["exponent"]).to(device)
        self.counts = torch.from_numpy(arrays["counts"].astype(np.int64)).to(device)

    def _fold(self, steps: Tensor) -> None:
        if steps.device.type != "cpu":
            self.counts = _folded(self.counts, steps)
            return
        # Few features' scales rise in a batch. Which ones can be asked only where nothing waits for the answer.
        rising = steps.nonzero()[:, 0]
        self.counts[rising] = _folded(self.counts[rising], steps[rising])


class TopContexts:
    """The largest activations of each feature, one for each distinct context; of equal ones the earlier token's."""

    def __init__(self, n_features: int, n_top: int, device: torch.device) -> None:
        self.lists = BestLists(n_features, n_top, device)

    def update(self, batch: ActiveBatch) -> None:
        # Positive floats are ordered as their bits are; inverted, the largest activation has the smallest rank
        rank = LARGEST_BITS - batch.activation.view(torch.int32).long()
        entries = _entries(batch, rank)
        self.lists.add(entries, batch.is_peak, batch.feature)

    def merge(self, other: TopContexts) -> None:
        self.lists.merge(other.lists)

    def prune_against(self, total: TopContexts) -> None:
        self.lists.prune_against(total.lists)

    def arrays(self) -> Arrays:
        return self.lists.entries().arrays()

    def restore(self, arrays: Arrays) -> None:
        self.lists.replace_all(Entries.restored(arrays, self.lists.bound.device))


class IntervalSamples:
    """Samples of active tokens at every strength, chosen by a hash of feature and text, whatever order they come in.

    The maximum, and with it the intervals, are known only at the end. So samples are kept in the finer cells of
    `ActivationScale`, from which every interval of (0, maximum] can be filled. The scale rises when entries are merged:
    then all entries are put in cells of the new grid, and where cells were joined, the first few of both by hash are
    kept.
    """

    def __init__(self, feature_ids: Tensor, n_per_cell: int) -> None:
        """Take the features' numbers [n_features] int64, on the device."""
        n_features, device = len(feature_ids), feature_ids.device
        # From the feature's number rather than its index, so that it does not depend on which others are swept
        self._salt = mix(feature_ids + 1)
        self.scale = ActivationScale(n_features, device)
        self.lists = BestLists(
            n_features * N_CELLS, n_per_cell, device, self._slots, rank_tells_text=True
        )

    def update(self, batch: ActiveBatch) -> None:
        # NO_RANK itself is above all ranks
        hashed = shifted_right(mix(batch.text_key ^ self._salt[batch.feature]), 32)
        entries = _entries(batch, hashed.clamp(max=NO_RANK - 1))
        cell = self.scale.cells(batch.feature, batch.peak_activation)
        # What is above the scale has no cell yet, and waits for the next merge
        slot = torch.where(cell < N_CELLS, batch.feature * N_CELLS + cell, -1)
        self.lists.add(entries, batch.is_peak, slot)

    def merge(self, other: IntervalSamples) -> None:
        self._raise_to(other.scale.exponent)
        self.lists.merge(other.lists)

    def prune_against(self, total: IntervalSamples) -> None:
        self.lists.prune_against(total.lists)
        # A bound belongs to a cell, so this state starts on the total's grid
        self.scale.exponent = total.scale.exponent.clone()

    def arrays(self) -> Arrays:
        # Collecting the entries may raise the scale
        entries = self.lists.entries().arrays()
        return {"exponent": self.scale.exponent.cpu().numpy(), **entries}

    def restore(self, arrays: Arrays) -> None:
        device = self.lists.bound.device
        self.scale.exponent = torch.from_numpy(arrays["exponent"]).to(device)
        self.lists.replace_all(Entries.restored(arrays, device))

    def _slots(self, entries: Entries) -> Tensor:
        """Raise the scale to hold some entries, and compute feature x 64 + cell of each, [n] int64."""
        self._forget_bounds(self.scale.growth(entries.feature, entries.activation))
        cell = self.scale.cells(entries.feature, entries.activation)
        return entries.feature * N_CELLS + cell

    def _raise_to(self, exponent: Tensor) -> None:
        self._forget_bounds(self.scale.raise_to(exponent))

    def _forget_bounds(self, steps: Tensor) -> None:
        """Drop the bounds of features whose scale rose: they belong to cells of the former grid."""
        bound = self.lists.bound.view(-1, N_CELLS)
        self.lists.bound = torch.where(steps[:, None] > 0, NO_RANK, bound).view(-1)


def _folded(cells: Tensor, steps: Tensor) -> Tensor:
    """Fold cells [n, 64] of grids that doubled `steps` [n] times: sums of 2^steps cells, and empty ones after them."""
    # The difference of two sums over all cells below an edge
    below = torch.nn.functional.pad(cells.cumsum(1), (1, 0))
    edges = torch.arange(N_CELLS + 1, device=cells.device) << steps.clamp(max=MOST_STEPS)[:, None]
    return below.gather(1, edges.clamp(max=N_CELLS)).diff(dim=1)


def _entries(batch: ActiveBatch, rank: Tensor) -> Entries:
    """Make entries of all active tokens of a batch, with some ranks [n] int64."""
    return Entries(batch.feature, rank, batch.token_index, batch.activation, batch.text_key)


def _sums(feature: Tensor, values: Tensor, n_features: int) -> Tensor:
    """Sum values [n] float64 by feature, [n_features]; `feature` [n] is sorted. Each sum is in the values' order."""
    # Unlike scatter_add, whose order of summation on CUDA differs from run to run
    starts = torch.searchsorted(feature, torch.arange(n_features + 1, device=feature.device))
    return torch.segment_reduce(values, "sum", offsets=starts, initial=0, unsafe=True)
