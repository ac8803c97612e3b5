"""The pass over the rows: batches to firings to accumulators, shard by shard, taken up again where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from sitegen.config import Config
from sitegen.maths.encoder import Encoder, Firings, FiringSearch
from sitegen.progress import Progress
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.subject import Subject
from sitegen.sweep.batch import FiringBatch
from sitegen.sweep.state import SweepState
from sitegen.sweep.windows import window_keys

STATE_VERSION = 2  # raised when a state's arrays or what they hold change
BATCHES_AT_ONCE = (
    4  # are counted together: a product is to stay within a processor's caches, counting is not
)


def sweep(subject: Subject, config: Config, folder: Path) -> SweepState:
    """The statistics of all rows. Each shard's state is saved in `folder` and read back if it stands there.

    raises  OSError if the folder cannot be written
    """
    sweeper = ShardSweeper(subject, config, folder)
    total = sweeper.empty_state()
    for shard in sweeper.shards:
        total.merge(sweeper.state_of(shard, total))
    sweeper.progress.finish()
    return total


def row_ranges(first: int, last: int, size: int) -> list[range]:
    """The rows from `first` up to `last` in ranges of `size`, the last one shorter if need be."""
    return [range(start, min(start + size, last)) for start in range(first, last, size)]


class ShardSweeper:
    """Sweeps shards of rows in any order; which rows make a shard is the configuration's matter alone."""

    def __init__(self, subject: Subject, config: Config, folder: Path) -> None:
        self._subject, self._config, self._folder = subject, config, folder
        self._search = FiringSearch(make_encoder(subject), config.sweep.precision)
        self._key = _subject_key(subject, config)
        self._special_ids = np.array(subject.tokenizer.special_ids)
        n_rows, seq_len = subject.rows.tokens.shape
        self.shards = row_ranges(0, n_rows, config.sweep.shard_rows)
        self.progress = Progress("sweep", n_rows * seq_len, "tokens")
        folder.mkdir(parents=True, exist_ok=True)

    def empty_state(self) -> SweepState:
        """The state before any row."""
        return SweepState(self._subject.feature_ids, self._config.contexts)

    def state_of(self, shard: range, total: SweepState | None = None) -> SweepState:
        """The state of a shard's rows: the saved one if it was computed from the same things, else a new one, saved.

        total  the merged states of all earlier shards, where it is known: what it beats is not kept, so that the
               state is small and quick to merge
        """
        path = self._folder / f"rows-{shard.start:09d}-{shard.stop:09d}.npz"
        key = f"{self._key}:{shard.start}-{shard.stop}"
        state = self.empty_state()
        if state.load(path, key):
            self.progress.advance(
                len(shard) * self._subject.rows.tokens.shape[1], already_there=True
            )
        else:
            if total is not None:
                state.expect(total)
            rows_at_once = self._config.sweep.batch_rows * BATCHES_AT_ONCE
            for rows in row_ranges(shard.start, shard.stop, rows_at_once):
                firings = self.firings(rows)
                state.update(firings)
                self.progress.advance(firings.n_positions)
            state.save(path, key)
        return state

    def firings(self, rows: range) -> FiringBatch:
        """The firings of some rows, each with its place, text and whether it may be shown."""
        tokens = np.asarray(self._subject.rows.tokens[rows.start : rows.stop])
        found = self._found(rows)
        token = found.token.numpy()
        contexts = self._config.contexts
        keys = window_keys(tokens, contexts.n_before, contexts.n_after).reshape(-1)
        may_peak = ~np.isin(tokens, self._special_ids).reshape(-1)
        return FiringBatch(
            feature=found.feature.numpy(),
            activation=found.activation.numpy(),
            place=token + rows.start * tokens.shape[1],
            text_key=keys[token],
            may_peak=may_peak[token],
            n_positions=tokens.size,
            n_examined=found.n_examined,
            largest_error=found.largest_error,
        )

    def _found(self, rows: range) -> Firings:
        """The firings in some rows, token by token of all of them; in the processor's memory."""
        parts = []
        for batch in row_ranges(rows.start, rows.stop, self._config.sweep.batch_rows):
            ids = self._subject.ids(batch)
            x = self._subject.model.hook_activations(ids)
            found = self._search.firings(x.flatten(0, 1))
            parts.append(found.moved((batch.start - rows.start) * ids.shape[1]))
        return Firings.joined(parts)


def make_encoder(subject: Subject) -> Encoder:
    """The encoder of the features that are swept."""
    weights = subject.autoencoder
    if len(subject.feature_ids) == weights.d_hidden:
        return whole_encoder(weights)
    chosen = torch.tensor(subject.feature_ids, device=subject.device)
    return Encoder(weights.W_enc[:, chosen], weights.b_enc[chosen], weights.b_dec)


def whole_encoder(weights: Autoencoder) -> Encoder:
    """The encoder of all features of an autoencoder."""
    return Encoder(weights.W_enc, weights.b_enc, weights.b_dec)


def _subject_key(subject: Subject, config: Config) -> str:
    """Hash of all that determines a shard's state but the rows' numbers."""
    facts = [
        STATE_VERSION,
        torch.__version__,
        str(subject.device.type),
        dataclasses.asdict(subject.model.provenance),
        dataclasses.asdict(subject.autoencoder.provenance),
        subject.rows.key,
        subject.tokenizer.special_ids,
        config.model.hook_point,
        subject.feature_ids,
        config.sweep.batch_rows,
        config.sweep.precision,
        dataclasses.asdict(config.contexts),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
