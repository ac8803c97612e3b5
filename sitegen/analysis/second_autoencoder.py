"""The second autoencoder's features: counts and strongest contexts over the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sitegen.analysis.context_records import ContextRecords
from sitegen.analysis.contexts import context_table, count_copies
from sitegen.analysis.sample import Sample, SampleActivations
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.records import OtherRecord, RunMatch
from sitegen.sources.inputs import Inputs
from sitegen.sweep.accumulators import Counts, TopContexts
from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.state import CPU
from sitegen.sweep.windows import ContextWindow


@dataclass(frozen=True)
class OtherContexts:
    """Activations of the second autoencoder's features over the sample.

    n_active        [n_features] int64: tokens on which each is active
    max_activation  [n_features] float32
    contexts        the strongest contexts of each
    """

    n_active: np.ndarray
    max_activation: np.ndarray
    contexts: ContextRecords

    def record(self, feature_id: int, match: RunMatch) -> OtherRecord:
        """Make the record of one feature."""
        return OtherRecord(
            feature_id=feature_id,
            n_active=int(self.n_active[feature_id]),
            max_activation=shortest(self.max_activation[feature_id]),
            match=match,
            contexts=self.contexts.records(feature_id),
        )


def find_other_contexts(
    active: SampleActivations, inputs: Inputs, sample: Sample, config: Config
) -> OtherContexts:
    """Find the counts and the strongest contexts of the second autoencoder's features.

    active  activations of the second autoencoder over the sample
    """
    batch = _as_batch(active, inputs, sample, config)
    counts = Counts(active.n_features, CPU)
    counts.update(batch)
    top = TopContexts(active.n_features, config.other.n_contexts, CPU)
    top.update(batch)
    seq_len = sample.tokens.shape[1]
    table = context_table(top.lists.entries(), config, seq_len)
    width = ContextWindow.of(config.contexts).width
    position = np.minimum(table.start[:, None] + np.arange(width), seq_len - 1)
    token_index = table.row[:, None] * seq_len + position
    activations = active.at(np.repeat(table.feature[:, None], width, 1), token_index)
    copies = count_copies(table, inputs.rows.tokens, config)
    contexts = ContextRecords(table, activations, copies, sample.tokens)
    found = counts.arrays()
    return OtherContexts(found["n_active"], found["max_activation"], contexts)


def _as_batch(
    active: SampleActivations, inputs: Inputs, sample: Sample, config: Config
) -> ActiveBatch:
    """Convert all activations on the sample to one batch, so that the sweep's accumulators can be used."""
    matrix, tokens = active.matrix, sample.tokens
    token_index = matrix.indices.astype(np.int64)
    keys = ContextWindow.of(config.contexts).array_keys(tokens).reshape(-1)
    is_special = np.isin(tokens, np.array(inputs.special_ids)).reshape(-1)
    return ActiveBatch(
        feature=torch.from_numpy(active.feature),
        activation=torch.from_numpy(matrix.data).float(),
        token_index=torch.from_numpy(token_index),
        text_key=torch.from_numpy(keys[token_index]),
        may_peak=torch.from_numpy(~is_special[token_index]),
        n_positions=tokens.size,
    )
