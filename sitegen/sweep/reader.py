"""The pass over rows: rows to the model's activations, and in batches to the active entries of each autoencoder.

The model always runs over the same rows at once, whatever the size of a batch, so that its activations do not depend
on it: libraries add up the products of other shapes in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.config import Config
from sitegen.maths.deferred import DeferredChecks
from sitegen.maths.encoder import ActivationSearch, ActiveEntries, Encoder
from sitegen.sources.inputs import Inputs

# Tokens of a batch on a GPU at most: more make the product no faster
MOST_BATCH_TOKENS = 16_384
# Share of a device's free memory that a batch may take
BATCH_MEMORY = 0.25


def row_ranges(first: int, last: int, size: int) -> list[range]:
    """Divide the rows from `first` up to, but not including, `last` into ranges of `size`; the last may be shorter."""
    return [range(start, min(start + size, last)) for start in range(first, last, size)]


def choose_batch_rows(inputs: Inputs, config: Config) -> int:
    """Choose how many rows are multiplied with the encoder at once: as configured, or as suits the device."""
    if config.sweep.batch_rows:
        return config.sweep.batch_rows
    if inputs.device.type == "cpu":
        return inputs.block_rows
    free_bytes, _ = torch.get_device_module(inputs.device).mem_get_info(inputs.device)
    by_memory = BATCH_MEMORY * free_bytes / batch_token_bytes(inputs.autoencoder.d_hidden)
    return inputs.rows_of(min(int(by_memory), MOST_BATCH_TOKENS))


def batch_token_bytes(d_hidden: int) -> int:
    """Estimate the memory that a batch takes for each token: the product, its mask, and the candidates in it."""
    # About one entry in twenty is a candidate at most, and has a dozen numbers of 8 bytes while it is counted
    return d_hidden * (4 + 1 + 12 * 8 // 20)


@dataclass(frozen=True)
class TokenBatch:
    """Some rows as the model reads them.

    rows  numbers of the rows
    ids   [n_rows, seq_len] int64
    x     [n_tokens, d_hook] float32 activations at the hook point
    """

    rows: range
    ids: Tensor
    x: Tensor


def read_batches(
    inputs: Inputs, rows: range, batch_rows: int, checks: DeferredChecks
) -> Iterator[TokenBatch]:
    """Run the model over consecutive rows, no further than to the hook point, and cut them into batches.

    checks  receives the check that all activations are finite
    """

    def run(ids: Tensor) -> tuple[Tensor, ...]:
        return (inputs.model.hook_activations(ids, checks),)

    for batch, ids, (x,) in _batches(inputs, rows, batch_rows, run):
        yield TokenBatch(batch, ids, x)


@dataclass(frozen=True)
class ReadBatch:
    """What was read of a few rows.

    ids      [n_rows, seq_len] int64
    x        [n_tokens, d_hook] float32 activations at the hook point
    target   [n_tokens, d_output] float32 activations that are reconstructed: `x`, except for a transcoder
    entries  the active entries of each encoder in turn; tokens are counted from the first row that was asked for
    """

    ids: Tensor
    x: Tensor
    target: Tensor
    entries: list[ActiveEntries]


class RowReader:
    """Reads rows in batches: the model runs once for all encoders."""

    def __init__(self, inputs: Inputs, encoders: Sequence[Encoder], config: Config) -> None:
        """Take the encoders that read the hook point; the configuration says how precise their search is."""
        self._inputs, self._batch_rows = inputs, choose_batch_rows(inputs, config)
        self._searches = [ActivationSearch(encoder, config.sweep.precision) for encoder in encoders]

    def read(self, rows: range) -> Iterator[ReadBatch]:
        """Read consecutive rows, batch by batch."""
        run, seq_len = self._inputs.model.input_and_target, self._inputs.seq_len
        for batch, ids, (x, target) in _batches(self._inputs, rows, self._batch_rows, run):
            n_before = (batch.start - rows.start) * seq_len
            entries = [search.active_entries(x).to_cpu(n_before) for search in self._searches]
            yield ReadBatch(ids, x, target, entries)


def _batches(
    inputs: Inputs, rows: range, batch_rows: int, run: Callable[[Tensor], tuple[Tensor, ...]]
) -> Iterator[tuple[range, Tensor, list[Tensor]]]:
    """Run the model over rows, and cut what it gives into batches: whole passes, or parts of one.

    run      from ids [n_rows, seq_len] to activations [n_rows, seq_len, width]
    returns  an iterator of (rows, ids, activations [n_tokens, width])
    """
    pass_rows = inputs.pass_rows
    for group in row_ranges(rows.start, rows.stop, max(batch_rows // pass_rows, 1) * pass_rows):
        passes = [inputs.ids(part) for part in row_ranges(group.start, group.stop, pass_rows)]
        ids, *found = map(_joined, [passes, *zip(*map(run, passes), strict=True)])
        for batch in row_ranges(group.start, group.stop, batch_rows):
            part = slice(batch.start - group.start, batch.stop - group.start)
            yield batch, ids[part], [values[part].flatten(0, 1) for values in found]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Join the rows of several passes; those of a single one are not copied, so input and target may stay the same."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
