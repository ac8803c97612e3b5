"""Evidence for each feature, kept beside its record: near misses, and ablations token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from sitegen.analysis.ablation import AblationTable
from sitegen.analysis.near_misses import NearMisses
from sitegen.analysis.sample import Sample
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.records import Ablations, EvidenceRecord, NearMiss
from sitegen.sweep.windows import ContextWindow


class Evidence:
    """Near misses and ablations of all features, from which records are made on request."""

    def __init__(
        self,
        near_misses: NearMisses,
        ablations: AblationTable | None,
        sample: Sample,
        feature_ids: np.ndarray,
        config: Config,
    ) -> None:
        self._near_misses, self._ablations = near_misses, ablations
        self._sample, self._ids = sample, feature_ids
        window = ContextWindow.of(config.contexts)
        self._start, self._end = window.bounds(near_misses.position, sample.tokens.shape[1])

    def record(self, index: int, contexts: range) -> EvidenceRecord:
        """Make the record of one feature.

        index     of the feature among the features swept
        contexts  indices of the feature's contexts in the table of all contexts
        """
        first, last = np.searchsorted(self._near_misses.feature, [index, index + 1])
        ablations = self._ablations
        return EvidenceRecord(
            feature_id=int(self._ids[index]),
            near_misses=[self._near_miss(i) for i in range(first, last)],
            ablation=_ablations(ablations, contexts) if ablations else None,
        )

    def _near_miss(self, i: int) -> NearMiss:
        near_misses, tokens = self._near_misses, self._sample.tokens
        row, position = int(near_misses.row[i]), int(near_misses.position[i])
        start, end = int(self._start[i]), int(self._end[i])
        token_index = np.arange(row * tokens.shape[1] + start, row * tokens.shape[1] + end)
        feature = np.full(len(token_index), self._ids[near_misses.feature[i]])
        activations = self._sample.activations.at(feature, token_index)
        return NearMiss(
            row=row,
            position=position,
            n_matched=int(near_misses.n_matched[i]),
            start=start,
            tokens=tokens[row, start:end].tolist(),
            activations=[shortest(value) if value else 0 for value in activations],
        )


def _ablations(table: AblationTable, contexts: range) -> Ablations:
    """Make the record of the ablations in one feature's contexts, which are consecutive in the table."""
    first, last = np.searchsorted(table.context, [contexts.start, contexts.stop])
    part = slice(int(first), int(last))

    def values(array: np.ndarray) -> Any:
        return np.ascontiguousarray(array[part])

    return Ablations(
        context=(table.context[part] - contexts.start).tolist(),
        offset=values(table.column),
        loss_change=values(table.loss_change),
        promoted_id=values(table.promoted_id),
        promoted_change=values(table.promoted_change),
        suppressed_id=values(table.suppressed_id),
        suppressed_change=values(table.suppressed_change),
    )
