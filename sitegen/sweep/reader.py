"""The pass over rows: batches of rows to the model's activations, and to the active entries of each autoencoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from sitegen.maths.encoder import ActivationSearch, ActiveEntries, Encoder
from sitegen.sources.inputs import Inputs

# Number of batches whose active entries are joined. A batch's product has to fit in a processor's caches, but counting
# is faster on more active tokens at once
BATCHES_AT_ONCE = 4


def row_ranges(first: int, last: int, size: int) -> list[range]:
    """Divide the rows from `first` up to, but not including, `last` into ranges of `size`; the last may be shorter."""
    return [range(start, min(start + size, last)) for start in range(first, last, size)]


@dataclass(frozen=True)
class ReadBatch:
    """What was read of a few rows.

    ids      [n_rows, seq_len] int64
    x        [n_tokens, d_hook] float32 activations at the hook point
    target   [n_tokens, d_output] float32 activations that are reconstructed: `x`, except for a transcoder
    entries  the active entries of each encoder in turn; tokens are counted from the first row that was asked for
    """

    ids: torch.Tensor
    x: torch.Tensor
    target: torch.Tensor
    entries: list[ActiveEntries]


class RowReader:
    """Reads rows in batches: the model runs once for all encoders."""

    def __init__(
        self, inputs: Inputs, encoders: Sequence[Encoder], precision: str, batch_rows: int
    ) -> None:
        """Take the encoders that read the hook point, the precision of their search, and the rows of a batch."""
        self._inputs, self._batch_rows = inputs, batch_rows
        self._searches = [ActivationSearch(encoder, precision) for encoder in encoders]

    def read(self, rows: range) -> Iterator[ReadBatch]:
        """Read consecutive rows, batch by batch."""
        for ids, n_before in self._batches(rows):
            x, target = (part.flatten(0, 1) for part in self._inputs.model.input_and_target(ids))
            entries = [search.active_entries(x).to_cpu(n_before) for search in self._searches]
            yield ReadBatch(ids, x, target, entries)

    def read_entries(self, rows: range) -> ActiveEntries:
        """Read consecutive rows, and keep only the active entries of the first encoder.

        The model runs no further than to the hook point: what a transcoder reconstructs is not read.
        """
        parts = []
        for ids, n_before in self._batches(rows):
            x = self._inputs.model.hook_activations(ids).flatten(0, 1)
            parts.append(self._searches[0].active_entries(x).to_cpu(n_before))
        return ActiveEntries.joined(parts)

    def _batches(self, rows: range) -> Iterator[tuple[torch.Tensor, int]]:
        """Get the ids [n_rows, seq_len] of each batch, and the number of tokens before it, from the first row on."""
        for batch in row_ranges(rows.start, rows.stop, self._batch_rows):
            ids = self._inputs.ids(batch)
            yield ids, (batch.start - rows.start) * ids.shape[1]
