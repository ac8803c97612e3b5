"""What the accumulators receive of a batch of rows: its active tokens, each with its position and its context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class ActiveBatch:
    """Active tokens of one batch, ordered by feature, row, position; index i of every tensor belongs to the same one.

    Entries that were examined and found inactive may stand among them, with an activation of 0: to drop them would
    take a wait for the device. They count nowhere.

    feature        [n] int64: index among the features swept
    activation     [n] float32, above 0 or 0
    token_index    [n] int64: row x seq_len + position
    text_key       [n] int64: hash of the context at that position, from `ContextWindow.keys`
    may_peak       [n] bool: false on special tokens, which are counted but never shown as a peak
    n_positions    number of positions that were read
    n_examined     number of entries that were recomputed to find these
    largest_error  scalar float64: largest error of the search product at those entries, as a share of its bound;
                   None where no search was made
    """

    feature: Tensor
    activation: Tensor
    token_index: Tensor
    text_key: Tensor
    may_peak: Tensor
    n_positions: int
    n_examined: int = 0
    largest_error: Tensor | None = None

    @cached_property
    def is_peak(self) -> Tensor:
        """Which entries are active tokens that may be shown as a peak, [n] bool."""
        return self.may_peak & (self.activation > 0)

    @cached_property
    def peak_activation(self) -> Tensor:
        """The activations of tokens that may be shown as a peak, [n] float32; 0 elsewhere."""
        return torch.where(self.may_peak, self.activation, 0)
