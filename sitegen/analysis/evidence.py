"""What stands beside a feature's record: near misses, and what taking it out changes, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from sitegen.analysis.ablation import AblationTable
from sitegen.analysis.near_misses import NearMisses
from sitegen.analysis.sample import Sample
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.records import Ablations, EvidenceRecord, NearMiss


class Evidence:
    """Evidence records of each feature, made when asked for."""

    def __init__(
        self,
        misses: NearMisses,
        ablations: AblationTable | None,
        sample: Sample,
        feature_ids: np.ndarray,
        config: Config,
    ) -> None:
        self._misses, self._ablations = misses, ablations
        self._sample, self._ids, self._contexts = sample, feature_ids, config.contexts

    def of(self, index: int, contexts: range) -> EvidenceRecord:
        """That of the index-th feature swept, whose contexts stand at `contexts` in the table of all."""
        misses = self._misses
        first, last = np.searchsorted(misses.feature, [index, index + 1])
        ablations = self._ablations
        return EvidenceRecord(
            feature_id=int(self._ids[index]),
            near_misses=[self._near_miss(i) for i in range(first, last)],
            ablation=_ablations(ablations, contexts) if ablations else None,
        )

    def _near_miss(self, i: int) -> NearMiss:
        misses, tokens = self._misses, self._sample.tokens
        row, position = int(misses.row[i]), int(misses.position[i])
        start = max(position - self._contexts.n_before, 0)
        end = min(position + self._contexts.n_after + 1, tokens.shape[1])
        token_index = np.arange(row * tokens.shape[1] + start, row * tokens.shape[1] + end)
        feature = np.full(len(token_index), self._ids[misses.feature[i]])
        activations = self._sample.activations.at(feature, token_index)
        return NearMiss(
            row=row,
            position=position,
            n_matched=int(misses.n_matched[i]),
            start=start,
            tokens=tokens[row, start:end].tolist(),
            activations=[shortest(value) if value else 0 for value in activations],
        )


def _ablations(table: AblationTable, contexts: range) -> Ablations:
    """Those of some contexts that stand together in the table."""
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
