"""What a batch of rows gives to the accumulators: its firings, and where and in which text each stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ActiveBatch:
    """Firings of one batch in the order of feature, row, position; the arrays run parallel.

    feature     [n] int64: index among the features swept
    activation  [n] float32, above 0
    place       [n] int64: row x seq_len + position
    text_key    [n] uint64: `windows.window_keys` at the place
    may_peak    [n] bool: false on special tokens, which are counted but never shown as a peak
    n_positions    positions read, padding left out
    n_examined     entries that were computed singly to find these
    largest_error  of the product that named them, as a share of its bound
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
        """The firings that may be shown as a peak."""
        return self if self.may_peak.all() else self._take(self.may_peak)

    @cached_property
    def special(self) -> ActiveBatch:
        """The firings on special tokens."""
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
