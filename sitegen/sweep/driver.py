"""The pass over the rows: batches to firings to accumulators, shard by shard, taken up again where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from sitegen.config import Config
from sitegen.maths.encoder import Encoder
from sitegen.progress import Progress
from sitegen.sources.subject import Subject
from sitegen.sweep.batch import FiringBatch
from sitegen.sweep.state import SweepState
from sitegen.sweep.windows import window_keys

STATE_VERSION = 1  # raised when a state's arrays or what they hold change


def sweep(subject: Subject, config: Config, folder: Path) -> SweepState:
    """The statistics of all rows. Each shard's state is saved in `folder` and read back if it stands there.

    raises  OSError if the folder cannot be written
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_rows, seq_len = subject.rows.tokens.shape
    encoder = _make_encoder(subject, config)
    total = SweepState(len(subject.feature_ids), config.contexts)
    progress = Progress("sweep", n_rows * seq_len, "tokens")
    base_key = _subject_key(subject, config)
    for first, last in shard_ranges(n_rows, config.sweep.shard_rows):
        path = folder / f"rows-{first:09d}-{last:09d}.npz"
        key = f"{base_key}:{first}-{last}"
        shard = SweepState(len(subject.feature_ids), config.contexts)
        if shard.load(path, key):
            progress.advance((last - first) * seq_len, already_there=True)
        else:
            _sweep_shard(shard, subject, config, encoder, (first, last), progress)
            shard.save(path, key)
        total.merge(shard)
    progress.finish()
    return total


def shard_ranges(n_rows: int, shard_rows: int) -> list[tuple[int, int]]:
    """(first row, row after the last) of each shard."""
    return [(first, min(first + shard_rows, n_rows)) for first in range(0, n_rows, shard_rows)]


def _sweep_shard(
    shard: SweepState,
    subject: Subject,
    config: Config,
    encoder: Encoder,
    rows: tuple[int, int],
    progress: Progress,
) -> None:
    seq_len = subject.rows.tokens.shape[1]
    special_ids = np.array(subject.tokenizer.special_ids)
    for first, last in shard_ranges(rows[1] - rows[0], config.sweep.batch_rows):
        tokens = np.asarray(subject.rows.tokens[rows[0] + first : rows[0] + last])
        ids = torch.from_numpy(tokens.astype(np.int64)).to(subject.device)
        firings = encoder.firings(subject.model.hook_activations(ids).flatten(0, 1))
        keys = window_keys(tokens, config.contexts.n_before, config.contexts.n_after).reshape(-1)
        may_peak = ~np.isin(tokens, special_ids).reshape(-1)
        shard.update(
            FiringBatch(
                feature=firings.feature,
                activation=firings.activation,
                place=firings.token + (rows[0] + first) * seq_len,
                text_key=keys[firings.token],
                may_peak=may_peak[firings.token],
                n_positions=tokens.size,
            )
        )
        progress.advance(tokens.size)


def _make_encoder(subject: Subject, config: Config) -> Encoder:
    weights = subject.autoencoder
    W_enc, b_enc = weights.W_enc, weights.b_enc
    if len(subject.feature_ids) < weights.d_hidden:
        chosen = torch.tensor(subject.feature_ids, device=subject.device)
        W_enc, b_enc = W_enc[:, chosen], b_enc[chosen]
    return Encoder(W_enc, b_enc, weights.b_dec, config.sweep.precision)


def _subject_key(subject: Subject, config: Config) -> str:
    """Hash of all that determines a shard's state but the rows' numbers."""
    facts = [
        STATE_VERSION,
        torch.__version__,
        str(subject.device.type),
        *[
            dataclasses.asdict(source.provenance)
            for source in (subject.model, subject.autoencoder, subject.rows)
        ],
        subject.tokenizer.content_hash,
        config.model.hook_point,
        config.corpus.split,
        config.corpus.column,
        config.corpus.seq_len,
        config.corpus.seed,
        subject.feature_ids,
        config.sweep.batch_rows,
        config.sweep.precision,
        dataclasses.asdict(config.contexts),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
