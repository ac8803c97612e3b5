"""What stands beside a feature's record: near misses, and what taking it out changes, token by token."""

from __future__ import annotations

import numpy as np

from sitegen.analysis.ablation import AblationTable
from sitegen.analysis.near_misses import NearMisses
from sitegen.analysis.sample import Sample
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.records import ContextAblation, EvidenceRecord, NearMiss

CHANGE_DIGITS = 3  # of a nat: the lists are the larger part of all data


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
            ablation=[_context_ablation(ablations, context) for context in contexts]
            if ablations
            else None,
        )

    def _near_miss(self, i: int) -> NearMiss:
        misses, tokens = self._misses, self._sample.tokens
        row, position = int(misses.row[i]), int(misses.position[i])
        start = max(position - self._contexts.n_before, 0)
        end = min(position + self._contexts.n_after + 1, tokens.shape[1])
        place = np.arange(row * tokens.shape[1] + start, row * tokens.shape[1] + end)
        feature = np.full(len(place), self._ids[misses.feature[i]])
        activations = self._sample.firings.at(feature, place)
        return NearMiss(
            row=row,
            position=position,
            n_matched=int(misses.n_matched[i]),
            start=start,
            tokens=tokens[row, start:end].tolist(),
            activations=[shortest(value) if value else 0 for value in activations],
        )


def _context_ablation(table: AblationTable, context: int) -> ContextAblation:
    at = table.of(context)
    part = slice(at.start, at.stop)
    return ContextAblation(
        offsets=table.column[part].tolist(),
        loss_change=[
            shortest(value) if np.isfinite(value) else None for value in table.loss_change[part]
        ],
        promoted=_pairs(table.promoted_id[part], table.promoted_change[part]),
        suppressed=_pairs(table.suppressed_id[part], table.suppressed_change[part]),
    )


def _pairs(ids: np.ndarray, changes: np.ndarray) -> list[list[float]]:
    rounded = changes.astype(np.float64).round(CHANGE_DIGITS).tolist()
    return [
        [value for pair in zip(*row, strict=True) for value in pair]
        for row in zip(ids.tolist(), rounded, strict=True)
    ]
