"""Chosen contexts as records."""

from __future__ import annotations

import numpy as np

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.values import shortest
from sitegen.records import ContextRecord


class ContextRecords:
    """Context records of each feature, made when asked for."""

    def __init__(
        self, table: ContextTable, activations: np.ndarray, copies: np.ndarray, rows: np.ndarray
    ) -> None:
        self._table, self._activations, self._copies, self._rows = table, activations, copies, rows

    @property
    def rows(self) -> np.ndarray:
        """[n_contexts] the row that each context stands in."""
        return self._table.row

    def places(self, index: int) -> range:
        """Where the contexts of one feature stand in the table."""
        first, last = np.searchsorted(self._table.feature, [index, index + 1])
        return range(int(first), int(last))

    def of(self, index: int) -> list[ContextRecord]:
        """The contexts of one feature, top group first."""
        return [self._record(i) for i in self.places(index)]

    def peak_tokens(self, index: int) -> list[int]:
        """The tokens that the top contexts of one feature peak on, the strongest first, each once."""
        places = np.array(self.places(index), np.int64)
        top = places[self._table.interval[places] == TOP_GROUP]
        tokens = self._rows[self._table.row[top], self._table.position[top]]
        return list(dict.fromkeys(tokens.tolist()))

    def _record(self, i: int) -> ContextRecord:
        table = self._table
        row, start, end = int(table.row[i]), int(table.start[i]), int(table.end[i])
        interval = int(table.interval[i])
        return ContextRecord(
            group="top" if interval == TOP_GROUP else "interval",
            interval=None if interval == TOP_GROUP else interval,
            rank=int(table.rank[i]),
            row=row,
            position=int(table.position[i]),
            activation=shortest(table.activation[i]),
            copies=int(self._copies[i]),
            start=start,
            tokens=self._rows[row, start:end].tolist(),
            activations=[
                shortest(value) if value else 0 for value in self._activations[i, : end - start]
            ],
        )
