"""Shards of rows: from batches through active tokens to a state, and the folder where states wait to be merged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from sitegen.config import Config
from sitegen.errors import SpaceError
from sitegen.maths.deferred import DeferredChecks, read_numbers
from sitegen.maths.encoder import ActivationSearch, ActiveEntries, Encoder
from sitegen.progress import Progress, tell
from sitegen.sources.inputs import Inputs, declared_settings
from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.reader import TokenBatch, choose_batch_rows, read_batches, row_ranges
from sitegen.sweep.state import SweepState, saved_key
from sitegen.sweep.windows import ContextWindow

# Raised when a state's arrays, or what they hold, change
STATE_VERSION = 7


class ShardSweeper:
    """Sweeps shards of rows, in any order. The configuration alone determines which rows make a shard.

    Everything stays on the device until a shard ends. The host waits for the device once a batch, to read how many
    entries there are.
    """

    def __init__(self, inputs: Inputs, config: Config) -> None:
        self._inputs, self._config = inputs, config
        self._search = ActivationSearch(make_encoder(inputs), config.sweep.precision)
        self._batch_rows = choose_batch_rows(inputs, config)
        may_peak = torch.ones(inputs.model.d_vocab, dtype=torch.bool)
        may_peak[[i for i in inputs.special_ids if i < len(may_peak)]] = False
        # [d_vocab]: whether a token may be shown as a peak
        self._may_peak = may_peak.to(inputs.device)
        self._window = ContextWindow.of(config.contexts)

    def empty_state(self) -> SweepState:
        """Make the state before any row."""
        return empty_state(self._inputs, self._config)

    def sweep(
        self,
        shard: range,
        total: SweepState | None = None,
        advance: Callable[[int], None] = lambda n_tokens: None,
    ) -> SweepState:
        """Compute the state of a shard's rows; if the device's memory is too small, once more in smaller batches.

        total    the merged states of all earlier shards, if they are known: what could not survive merging into them
                 is dropped, so that the state is small and quick to merge
        advance  called with the number of tokens after each part of the shard
        raises   SpaceError if the memory is too small for a single row
        """
        # What is done again after a failure was counted before
        n_done = n_told = 0

        def count(n_tokens: int) -> None:
            nonlocal n_done, n_told
            n_done += n_tokens
            advance(max(n_done - n_told, 0))
            n_told = max(n_done, n_told)

        while True:
            state = self.empty_state()
            if total is not None:
                state.prune_against(total)
            try:
                self.update(state, shard, count)
                return state
            except torch.OutOfMemoryError as error:
                # Leaving this block releases the tensors of the failed attempt, which the error refers to
                reason = " ".join(str(error).split())[:160]
            n_done = 0
            self._halve_batch(reason)

    def _halve_batch(self, reason: str) -> None:
        """Halve the rows of a batch and say so; raise SpaceError if a batch is a single row already."""
        if self._batch_rows == 1:
            raise SpaceError(
                f"{self._inputs.device}: its memory is too small for a batch of one row ({reason}): choose features, "
                "such as --features 0-9999, or give --device cpu"
            )
        self._batch_rows //= 2
        tell(
            f"{self._inputs.device}: its memory is too small for the batch; going on with batches of "
            f"{self._batch_rows} rows"
        )

    def update(
        self, state: SweepState, rows: range, advance: Callable[[int], None] = lambda n_tokens: None
    ) -> None:
        """Add rows to a state; they come after those that it has.

        advance  called with the number of tokens after each batch
        raises   torch.OutOfMemoryError if the device's memory is too small for a batch
        """
        checks = DeferredChecks()
        batches = read_batches(self._inputs, rows, self._batch_rows, checks)
        batch = next(batches, None)
        while batch is not None:
            examined = self._search.examine(batch.x, checks)
            # The host prepares the next batch while the device multiplies this one
            following = next(batches, None)
            n_candidates, *n_entries = read_numbers([examined.candidates.n, *state.unsettled()])
            state.settle(n_entries)
            state.update(self._located(batch, self._search.resolve(examined, n_candidates, checks)))
            advance(batch.ids.numel())
            batch = following
        checks.settle()

    def _located(self, batch: TokenBatch, entries: ActiveEntries) -> ActiveBatch:
        """Add to active entries their token's index, its context's hash and whether it may be a peak."""
        n_before = batch.rows.start * batch.ids.shape[1]
        return ActiveBatch(
            feature=entries.feature,
            activation=entries.activation,
            token_index=entries.token + n_before,
            text_key=self._window.keys(batch.ids).flatten()[entries.token],
            may_peak=self._may_peak[batch.ids].flatten()[entries.token],
            n_positions=batch.ids.numel(),
            n_examined=entries.n_examined,
            largest_error=entries.largest_error,
        )


def make_encoder(inputs: Inputs) -> Encoder:
    """Make the encoder of the features that are swept."""
    if len(inputs.feature_ids) == inputs.autoencoder.d_hidden:
        return inputs.autoencoder.encoder()
    return inputs.autoencoder.encoder(torch.tensor(inputs.feature_ids, device=inputs.device))


def empty_state(inputs: Inputs, config: Config) -> SweepState:
    """Make the state before any row."""
    return SweepState(inputs.feature_ids, config.contexts, inputs.device)


class SavedStates:
    """The shards of the inputs' rows and the files of their states, each with the key of what it was computed from."""

    def __init__(self, inputs: Inputs, config: Config, folders: list[Path]) -> None:
        """Take folders to look in; the first is made if it is missing, and written to. Keys need no folder."""
        self._inputs, self._config, self._folders = inputs, config, folders
        self._key = _inputs_key(inputs, config)
        n_rows, self._seq_len = inputs.rows.tokens.shape
        self.shards = row_ranges(0, n_rows, config.sweep.shard_rows)
        for folder in folders[:1]:
            folder.mkdir(parents=True, exist_ok=True)

    def n_tokens(self, shard: range) -> int:
        """Count the tokens of a shard."""
        return len(shard) * int(self._seq_len)

    def progress(self, shards: list[range]) -> Progress:
        """Make the progress report of a sweep of some shards."""
        return Progress("sweep", sum(map(self.n_tokens, shards)), "tokens")

    def key(self, shard: range) -> str:
        """Return the key that a shard's state is saved with."""
        return f"{self._key}:{shard.start}-{shard.stop}"

    def path(self, shard: range) -> Path:
        """Return the path that a shard's state is written to."""
        return self._folders[0] / _file_name(shard)

    def load(self, shard: range) -> SweepState | None:
        """Load a shard's saved state; None unless there is one with the same key."""
        state = empty_state(self._inputs, self._config)
        return state if any(state.load(path) for path in self._found(shard)) else None

    def holds(self, shard: range) -> bool:
        """Tell whether a shard has a saved state with the same key; only keys are read."""
        return any(True for _ in self._found(shard))

    def _found(self, shard: range) -> Iterator[Path]:
        """Find the files that have a shard's key."""
        paths = (folder / _file_name(shard) for folder in self._folders)
        return (path for path in paths if saved_key(path) == self.key(shard))

    def save(self, shard: range, state: SweepState) -> None:
        """Write a shard's state, whole or not at all."""
        state.save(self.path(shard), self.key(shard))


def _file_name(shard: range) -> str:
    return f"rows-{shard.start:09d}-{shard.stop:09d}.npz"


def _inputs_key(inputs: Inputs, config: Config) -> str:
    """Hash everything that determines a shard's state, except which rows it is of."""
    facts = [
        STATE_VERSION,
        torch.__version__,
        str(inputs.device.type),
        dataclasses.asdict(inputs.model.provenance),
        dataclasses.asdict(inputs.autoencoder.provenance),
        # The same files are read otherwise where the configuration declares other settings
        dataclasses.asdict(inputs.autoencoder.architecture),
        dataclasses.asdict(declared_settings(config.autoencoder)),
        inputs.rows.key,
        inputs.special_ids,
        config.model.hook_point,
        inputs.model.processing,
        inputs.feature_ids,
        config.sweep.precision,
        dataclasses.asdict(config.contexts),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
