"""Shards of rows: from batches through active tokens to a state, and the folder where states wait to be merged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from sitegen.config import Config
from sitegen.maths.encoder import Encoder
from sitegen.progress import Progress
from sitegen.sources.inputs import Inputs, declared_settings
from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.reader import BATCHES_AT_ONCE, RowReader, row_ranges
from sitegen.sweep.state import SweepState, saved_key
from sitegen.sweep.windows import ContextWindow

# Raised when a state's arrays, or what they hold, change
STATE_VERSION = 6


class ShardSweeper:
    """Sweeps shards of rows, in any order. The configuration alone determines which rows make a shard."""

    def __init__(self, inputs: Inputs, config: Config) -> None:
        self._inputs, self._config = inputs, config
        self._reader = RowReader(
            inputs, [make_encoder(inputs)], config.sweep.precision, config.sweep.batch_rows
        )
        self._special_ids = np.array(inputs.special_ids)
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
        """Compute the state of a shard's rows.

        total    the merged states of all earlier shards, if they are known: what could not survive merging into them
                 is dropped, so that the state is small and quick to merge
        advance  called with the number of tokens after each part of the shard
        """
        state = self.empty_state()
        if total is not None:
            state.prune_against(total)
        rows_at_once = self._config.sweep.batch_rows * BATCHES_AT_ONCE
        for rows in row_ranges(shard.start, shard.stop, rows_at_once):
            entries = self.active_entries(rows)
            state.update(entries)
            advance(entries.n_positions)
        return state

    def active_entries(self, rows: range) -> ActiveBatch:
        """Find the active tokens of some rows, each with its index, its context's hash and whether it may be a peak."""
        tokens = np.asarray(self._inputs.rows.tokens[rows.start : rows.stop])
        found = self._reader.read_entries(rows)
        token = found.token.numpy()
        keys = self._window.keys(tokens).reshape(-1)
        may_peak = ~np.isin(tokens, self._special_ids).reshape(-1)
        return ActiveBatch(
            feature=found.feature.numpy(),
            activation=found.activation.numpy(),
            token_index=token + rows.start * tokens.shape[1],
            text_key=keys[token],
            may_peak=may_peak[token],
            n_positions=tokens.size,
            n_examined=found.n_examined,
            largest_error=found.largest_error,
        )


def make_encoder(inputs: Inputs) -> Encoder:
    """Make the encoder of the features that are swept."""
    if len(inputs.feature_ids) == inputs.autoencoder.d_hidden:
        return inputs.autoencoder.encoder()
    return inputs.autoencoder.encoder(torch.tensor(inputs.feature_ids, device=inputs.device))


def empty_state(inputs: Inputs, config: Config) -> SweepState:
    """Make the state before any row."""
    return SweepState(inputs.feature_ids, config.contexts)


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
        config.sweep.batch_rows,
        config.sweep.precision,
        dataclasses.asdict(config.contexts),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
