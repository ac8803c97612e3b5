"""The state of a sweep, and the files in which the states of shards are saved."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

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
from sitegen.sweep.best_lists import ENTRY_BYTES

# Samples held in a cell for each one that an interval shows, because some turn out to be top contexts as well
CELL_SURPLUS = 2


class SweepState:
    """All statistics of all features swept, over some of the rows."""

    def __init__(self, feature_ids: list[int], contexts: ContextConfig) -> None:
        n_features = len(feature_ids)
        self.error_bound = ErrorBoundCheck()
        self.counts = Counts(n_features)
        self.histogram = ActivationHistogram(n_features)
        self.top = TopContexts(n_features, contexts.n_top)
        self.samples = IntervalSamples(
            np.array(feature_ids), CELL_SURPLUS * contexts.n_per_interval
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
        """Add the active tokens of a batch."""
        for accumulator in self.accumulators.values():
            accumulator.update(batch)

    def merge(self, other: SweepState) -> None:
        """Add the state of other rows. The order of merging affects only the last bits of sums."""
        theirs = other.accumulators
        for name, accumulator in self.accumulators.items():
            accumulator.merge(theirs[name])

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
    # Each list has its entries and a bound
    lists = contexts.n_top * ENTRY_BYTES + 4 + N_CELLS * (cell_entries * ENTRY_BYTES + 4)
    # The histogram's cells, two exponents, the salt of the samples, and the counts
    return lists + N_CELLS * 8 + 2 * 8 + 8 + 3 * 8 + 2 * 4


def saved_key(path: Path) -> str | None:
    """Read the key of a saved state; None if there is no state that can be read."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            return str(saved["key"])
    except UNREADABLE:
        return None
