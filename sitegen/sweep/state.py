"""The state of a sweep, and the files in which the states of shards are saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from sitegen.config import ContextConfig
from sitegen.files import UNREADABLE, whole_file
from sitegen.sweep.accumulators import (
    N_CELLS,
    Accumulator,
    ActivationHistogram,
    Counts,
    ErrorBoundCheck,
    IntervalSamples,
    TopContexts,
)
from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.best_lists import ENTRY_BYTES, Entries

# Samples held in a cell for each one that an interval shows, because some turn out to be top contexts as well
CELL_SURPLUS = 2
CPU = torch.device("cpu")


@dataclass(frozen=True)
class SweepResult:
    """The statistics of all features over all rows, in the host's memory.

    n_positions, n_active, n_active_special, activation_sum, max_activation, max_special  as in `Counts`
    histogram        [n_features, 64] int64: activations in each cell
    cell_width       [n_features] float64: width of a feature's cells
    top, samples     entries of the lists of `TopContexts` and of `IntervalSamples`
    n_examined       number of entries that were recomputed
    largest_error    largest error of the search product, as a share of what its bound allows
    """

    n_positions: int
    n_active: np.ndarray
    n_active_special: np.ndarray
    activation_sum: np.ndarray
    max_activation: np.ndarray
    max_special: np.ndarray
    histogram: np.ndarray
    cell_width: np.ndarray
    top: Entries
    samples: Entries
    n_examined: int
    largest_error: float


class SweepState:
    """All statistics of all features swept, over some of the rows, on the device that computes them."""

    def __init__(
        self, feature_ids: list[int], contexts: ContextConfig, device: torch.device = CPU
    ) -> None:
        n_features = len(feature_ids)
        self.error_bound = ErrorBoundCheck(device)
        self.counts = Counts(n_features, device)
        self.histogram = ActivationHistogram(n_features, device)
        self.top = TopContexts(n_features, contexts.n_top, device)
        self.samples = IntervalSamples(
            torch.tensor(feature_ids).to(device), CELL_SURPLUS * contexts.n_per_interval
        )

    @property
    def accumulators(self) -> dict[str, Accumulator]:
        """The accumulators by name."""
        return {
            "error_bound": self.error_bound,
            "counts": self.counts,
            "histogram": self.histogram,
            "top": self.top,
            "samples": self.samples,
        }

    def prune_against(self, total: SweepState) -> None:
        """Make this empty state drop what could not survive merging into `total`."""
        others = total.accumulators
        for name, accumulator in self.accumulators.items():
            accumulator.prune_against(others[name])

    def update(self, batch: ActiveBatch) -> None:
        """Add the active tokens of a batch, whose rows come after those of earlier batches. Does not wait."""
        for accumulator in self.accumulators.values():
            accumulator.update(batch)

    def unsettled(self) -> list[Tensor]:
        """Return the numbers of entries that the host has not read yet, each a tensor of one element."""
        return [*self.top.lists.unsettled(), *self.samples.lists.unsettled()]

    def settle(self, numbers: list[int]) -> None:
        """Drop entries that need not be kept, by the numbers that `unsettled` returned. Does not wait."""
        n_top = len(self.top.lists.unsettled())
        self.top.lists.settle(numbers[:n_top])
        self.samples.lists.settle(numbers[n_top:])

    def merge(self, other: SweepState) -> None:
        """Add the state of other rows. The order of merging affects only the last bits of sums."""
        theirs = other.accumulators
        for name, accumulator in self.accumulators.items():
            accumulator.merge(theirs[name])

    def result(self) -> SweepResult:
        """Collect all statistics in the host's memory."""
        counts = self.counts.arrays()
        del counts["n_positions"]
        top, samples = self.top.lists.entries().to(CPU), self.samples.lists.entries().to(CPU)
        return SweepResult(
            n_positions=self.counts.n_positions,
            **counts,
            histogram=self.histogram.counts.cpu().numpy(),
            cell_width=np.ldexp(1 / N_CELLS, self.histogram.scale.exponent.cpu().numpy()),
            top=top,
            samples=samples,
            n_examined=self.error_bound.n_examined,
            largest_error=float(self.error_bound.largest_error),
        )

    def save(self, path: Path, key: str) -> None:
        """Write the state, whole or not at all, with the key of what it was computed from."""
        with whole_file(path) as partial, partial.open("wb") as file:
            self.write(file, key)

    def write(self, file: BinaryIO, key: str) -> None:
        """Write the state and its key to an open file."""
        arrays = {
            f"{name}.{field}": array
            for name, accumulator in self.accumulators.items()
            for field, array in accumulator.arrays().items()
        }
        np.savez(file, allow_pickle=False, key=np.array(key), **arrays)

    def load(self, path: Path) -> bool:
        """Restore a saved state; return False if it cannot be read whole."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                arrays = {field: saved[field] for field in saved.files}
        except UNREADABLE:
            return False
        for name, accumulator in self.accumulators.items():
            prefix = f"{name}."
            accumulator.restore(
                {f.removeprefix(prefix): a for f, a in arrays.items() if f.startswith(prefix)}
            )
        return True


def state_bytes(contexts: ContextConfig) -> int:
    """Compute the memory that the state takes for each feature, in bytes."""
    cell_entries = CELL_SURPLUS * contexts.n_per_interval
    # Each list has its entries, if it is full, and a bound
    lists = (contexts.n_top + N_CELLS * cell_entries) * ENTRY_BYTES + 8 + N_CELLS * 8
    # The histogram's cells, two exponents, the salt of the samples, and the counts
    return lists + N_CELLS * 8 + 2 * 8 + 8 + 3 * 8 + 2 * 4


def saved_key(path: Path) -> str | None:
    """Read the key of a saved state; None if there is no state that can be read."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            return str(saved["key"])
    except UNREADABLE:
        return None
