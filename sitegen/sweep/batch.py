"""What the accumulators receive of a batch of rows: its active tokens, each with its position and its context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ActiveBatch:
    """Active tokens of one batch, ordered by feature, row, position; index i of every array belongs to the same one.

    feature        [n] int64: index among the features swept
    activation     [n] float32, above 0
    token_index    [n] int64: row x seq_len + position
    text_key       [n] uint64: hash of the context at that position, from `ContextWindow.keys`
    may_peak       [n] bool: false on special tokens, which are counted but never shown as a peak
    n_positions    number of positions that were read
    n_examined     number of entries that were recomputed to find these
    largest_error  largest error of the search product at those entries, as a share of its bound
    """

    feature: np.ndarray
    activation: np.ndarray
    token_index: np.ndarray
    text_key: np.ndarray
    may_peak: np.ndarray
    n_positions: int
    n_examined: int = 0
    largest_error: float = 0.0

    @cached_property
    def peaks(self) -> ActiveBatch:
        """The active tokens that may be shown as a peak."""
        return self if self.may_peak.all() else self._take(self.may_peak)

    @cached_property
    def special(self) -> ActiveBatch:
        """The active special tokens."""
        return self._take(~self.may_peak)

    def _take(self, chosen: np.ndarray) -> ActiveBatch:
        return ActiveBatch(
            self.feature[chosen],
            self.activation[chosen],
            self.token_index[chosen],
            self.text_key[chosen],
            self.may_peak[chosen],
            self.n_positions,
        )
