"""Conversion of chosen contexts to records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.values import shortest
from sitegen.records import ContextRecord


@dataclass(frozen=True)
class ContextRecords:
    """The contexts of all features, from which records are made on request.

    activations  [n_contexts, n_before + 1 + n_after] float32 at each token, see `ContextActivations`
    copies       [n_contexts] int64: how often exactly the context's tokens occur in the text
    tokens       [n_rows, seq_len] ids of the rows to which the table refers
    """

    table: ContextTable
    activations: np.ndarray
    copies: np.ndarray
    tokens: np.ndarray

    def indices(self, index: int) -> range:
        """Find the indices of one feature's contexts in the table; `index` is among the features swept."""
        first, last = np.searchsorted(self.table.feature, [index, index + 1])
        return range(int(first), int(last))

    def records(self, index: int) -> list[ContextRecord]:
        """Make the records of one feature's contexts, top group first."""
        return [self._record(i) for i in self.indices(index)]

    def peak_tokens(self, index: int) -> list[int]:
        """List the distinct tokens at the peaks of one feature's top contexts, the strongest first."""
        indices = np.array(self.indices(index), np.int64)
        top = indices[self.table.interval[indices] == TOP_GROUP]
        tokens = self.tokens[self.table.row[top], self.table.position[top]]
        return list(dict.fromkeys(tokens.tolist()))

    def _record(self, i: int) -> ContextRecord:
        table = self.table
        row, start, end = int(table.row[i]), int(table.start[i]), int(table.end[i])
        interval = int(table.interval[i])
        return ContextRecord(
            group="top" if interval == TOP_GROUP else "interval",
            interval=None if interval == TOP_GROUP else interval,
            rank=int(table.rank[i]),
            row=row,
            position=int(table.position[i]),
            activation=shortest(table.activation[i]),
            copies=int(self.copies[i]),
            start=start,
            tokens=self.tokens[row, start:end].tolist(),
            activations=[
                shortest(value) if value else 0 for value in self.activations[i, : end - start]
            ],
        )
