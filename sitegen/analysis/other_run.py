"""The second autoencoder's features: their strongest contexts over the sample."""

from __future__ import annotations

import numpy as np

from sitegen.analysis.context_records import ContextRecords
from sitegen.analysis.contexts import context_table, count_copies
from sitegen.analysis.sample import Sample, SampleFirings
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.records import OtherRecord, RunMatch
from sitegen.sources.subject import Subject
from sitegen.sweep.accumulators import Counts, TopContexts
from sitegen.sweep.batch import FiringBatch
from sitegen.sweep.windows import window_keys


class OtherContexts:
    """Records of the second autoencoder's features, made when asked for."""

    def __init__(
        self, firings: SampleFirings, subject: Subject, sample: Sample, config: Config
    ) -> None:
        batch = _as_batch(firings, subject, sample, config)
        self._counts = Counts(firings.n_features)
        self._counts.update(batch)
        top = TopContexts(firings.n_features, config.other.n_contexts)
        top.update(batch)
        seq_len = sample.tokens.shape[1]
        table = context_table(top.lists.entries(), config, seq_len)
        width = config.contexts.n_before + 1 + config.contexts.n_after
        position = np.minimum(table.start[:, None] + np.arange(width), seq_len - 1)
        place = table.row[:, None] * seq_len + position
        activations = firings.at(np.repeat(table.feature[:, None], width, 1), place)
        copies = count_copies(table, subject.rows.tokens, config)
        self._contexts = ContextRecords(table, activations, copies, sample.tokens)

    @property
    def rows(self) -> np.ndarray:
        """[n] the rows in which its contexts stand."""
        return self._contexts.rows

    def record(self, feature_id: int, match: RunMatch) -> OtherRecord:
        """That of one feature."""
        return OtherRecord(
            feature_id=feature_id,
            n_active=int(self._counts.n_active[feature_id]),
            max_activation=shortest(self._counts.max_activation[feature_id]),
            match=match,
            contexts=self._contexts.of(feature_id),
        )


def _as_batch(
    firings: SampleFirings, subject: Subject, sample: Sample, config: Config
) -> FiringBatch:
    """All firings on the sample, as the accumulators take them."""
    matrix, tokens, contexts = firings.matrix, sample.tokens, config.contexts
    place = matrix.indices.astype(np.int64)
    keys = window_keys(tokens, contexts.n_before, contexts.n_after).reshape(-1)
    is_special = np.isin(tokens, np.array(subject.special_ids)).reshape(-1)
    return FiringBatch(
        feature=firings.feature,
        activation=matrix.data.astype(np.float32),
        place=place,
        text_key=keys[place],
        may_peak=~is_special[place],
        n_positions=tokens.size,
    )
