"""The state of a sweep, and the files it is saved in, one a shard."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from sitegen.config import ContextConfig
from sitegen.files import UNREADABLE, whole_file
from sitegen.sweep.accumulators import (
    Accumulator,
    ActivationHistogram,
    Counts,
    ErrorBoundCheck,
    IntervalSamples,
    TopContexts,
)
from sitegen.sweep.batch import ActiveBatch

CELL_SURPLUS = (
    2  # samples held in a cell for each that an interval shows: some stand among the top contexts
)


class SweepState:
    """Every statistic of every feature, over some of the rows."""

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
            "certificate": self.error_bound,
            "counts": self.counts,
            "histogram": self.histogram,
            "top": self.top,
            "samples": self.samples,
        }

    def expect(self, total: SweepState) -> None:
        """Makes this empty state one of rows that will be merged into `total`: what that beats need not be kept."""
        others = total.accumulators
        for name, accumulator in self.accumulators.items():
            accumulator.expect(others[name])

    def update(self, batch: ActiveBatch) -> None:
        """Takes in a batch."""
        for accumulator in self.accumulators.values():
            accumulator.update(batch)

    def merge(self, other: SweepState) -> None:
        """Takes in the state of other rows. The order of merging matters to the last bits of sums alone."""
        theirs = other.accumulators
        for name, accumulator in self.accumulators.items():
            accumulator.merge(theirs[name])

    def save(self, path: Path, key: str) -> None:
        """Writes the state, whole or not at all, marked with the key of what it was computed from."""
        with whole_file(path) as partial, partial.open("wb") as file:
            self.write(file, key)

    def write(self, file: BinaryIO, key: str) -> None:
        """Likewise, to an open file."""
        arrays = {
            f"{name}.{field}": array
            for name, accumulator in self.accumulators.items()
            for field, array in accumulator.arrays().items()
        }
        np.savez(file, allow_pickle=False, key=np.array(key), **arrays)

    def load(self, path: Path) -> bool:
        """Restores a saved state; False where it cannot be read whole."""
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


def saved_key(path: Path) -> str | None:
    """What a saved state is marked with; None where there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            return str(saved["key"])
    except UNREADABLE:
        return None
