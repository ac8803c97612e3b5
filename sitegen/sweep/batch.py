"""What a batch of rows gives to the accumulators: its firings, and where and in which text each stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FiringBatch:
    """Firings of one batch in the order of feature, row, position; the arrays run parallel.

    feature     [n] int64: index among the features swept
    activation  [n] float32, above 0
    place       [n] int64: row x seq_len + position
    text_key    [n] uint64: `windows.window_keys` at the place
    may_peak    [n] bool: false on special tokens, which are counted but never shown as a peak
    n_positions positions read, padding left out
    """

    feature: np.ndarray
    activation: np.ndarray
    place: np.ndarray
    text_key: np.ndarray
    may_peak: np.ndarray
    n_positions: int

    def peaks(self) -> FiringBatch:
        """The firings that may be shown as a peak."""
        if self.may_peak.all():
            return self
        keep = self.may_peak
        return FiringBatch(
            self.feature[keep],
            self.activation[keep],
            self.place[keep],
            self.text_key[keep],
            keep[keep],
            self.n_positions,
        )
