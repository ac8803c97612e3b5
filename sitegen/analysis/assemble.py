"""Records of every feature, from the sweep's state and the subject."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sitegen.analysis.contexts import (
    TOP_GROUP,
    ContextTable,
    choose_contexts,
    context_activations,
    count_copies,
)
from sitegen.config import Config
from sitegen.maths.logits import LogitExtremes, logit_effects, logit_extremes, logit_histograms
from sitegen.progress import Progress
from sitegen.records import (
    ContextRecord,
    FeatureRecord,
    Histogram,
    LogitEffect,
    LogitEffects,
    SpecialFirings,
    TokenText,
    kind_of,
)
from sitegen.sources.subject import Subject
from sitegen.sweep.accumulators import N_CELLS
from sitegen.sweep.state import SweepState

FEATURES_AT_ONCE = 128


def assemble_records(
    state: SweepState, subject: Subject, config: Config, vocab: list[TokenText]
) -> Iterator[FeatureRecord]:
    """The records, in the order of their features."""
    table = choose_contexts(state, config, subject.rows.tokens.shape[1])
    contexts = _ContextRecords(
        table,
        context_activations(table, subject, config),
        count_copies(table, subject.rows.tokens, config),
        subject.rows.tokens,
    )
    progress = Progress("records", len(subject.feature_ids), "features")
    counts = state.counts
    for first in range(0, len(subject.feature_ids), FEATURES_AT_ONCE):
        block = subject.feature_ids[first : first + FEATURES_AT_ONCE]
        logits = _logit_records(block, subject, config, vocab)
        for index, feature_id in enumerate(block, first):
            n_active = int(counts.n_active[index])
            density = n_active / counts.n_positions
            yield FeatureRecord(
                feature_id=feature_id,
                density=density,
                n_active=n_active,
                max_activation=shortest(counts.max_activation[index]),
                mean_active=float(counts.activation_sum[index]) / n_active if n_active else 0.0,
                kind=kind_of(density),
                special=SpecialFirings(
                    int(counts.n_active_special[index]), shortest(counts.max_special[index])
                ),
                histogram=_activation_histogram(state, index),
                contexts=contexts.of(index),
                logits=logits[index - first],
            )
        progress.advance(len(block))
    progress.finish()


def shortest(value: np.float32) -> float:
    """The float whose shortest decimal is the float32's own: 0.1, not 0.10000000149011612. Nothing is lost."""
    return float(str(value))


class _ContextRecords:
    """Context records of each feature, made when asked for."""

    def __init__(
        self, table: ContextTable, activations: np.ndarray, copies: np.ndarray, rows: np.ndarray
    ) -> None:
        self._table, self._activations, self._copies, self._rows = table, activations, copies, rows

    def of(self, index: int) -> list[ContextRecord]:
        """The contexts of one feature, top group first."""
        first, last = np.searchsorted(self._table.feature, [index, index + 1])
        return [self._record(i) for i in range(first, last)]

    def _record(self, i: int) -> ContextRecord:
        table = self._table
        row, start, end = int(table.row[i]), int(table.start[i]), int(table.end[i])
        interval = int(table.interval[i])
        return ContextRecord(
            group="top" if interval == TOP_GROUP else "interval",
            interval=None if interval == TOP_GROUP else interval,
            rank=int(table.rank[i]),
            row=row,
            position=int(table.position[i]),
            activation=shortest(table.activation[i]),
            copies=int(self._copies[i]),
            start=start,
            tokens=self._rows[row, start:end].tolist(),
            activations=[
                shortest(value) if value else 0 for value in self._activations[i, : end - start]
            ],
        )


def _activation_histogram(state: SweepState, index: int) -> Histogram:
    """Cells up to the one that holds the maximum; empty where the feature fires on no text."""
    counts = state.histogram.counts[index]
    filled = np.flatnonzero(counts)
    if not filled.size:
        return Histogram([], [])
    n_bins = int(filled[-1]) + 1
    width = float(np.ldexp(1 / N_CELLS, state.histogram.scale.exponent[index]))
    return Histogram([width * edge for edge in range(n_bins + 1)], counts[:n_bins].tolist())


def _logit_records(
    block: list[int], subject: Subject, config: Config, vocab: list[TokenText]
) -> list[LogitEffects]:
    W_dec = subject.autoencoder.W_dec[torch.tensor(block, device=subject.device)]
    effects = logit_effects(W_dec, subject.model.W_out, subject.model.W_U)  # [n_features, d_vocab]
    top = _effect_lists(logit_extremes(effects, config.logits.n_top, largest=True), vocab)
    bottom = _effect_lists(logit_extremes(effects, config.logits.n_top, largest=False), vocab)
    edges, counts = logit_histograms(effects, config.logits.n_bins)
    histograms = zip(edges.cpu().numpy(), counts.tolist(), strict=True)
    return [
        LogitEffects(top_of, bottom_of, Histogram(list(map(shortest, edges_of)), counts_of))
        for top_of, bottom_of, (edges_of, counts_of) in zip(top, bottom, histograms, strict=True)
    ]


def _effect_lists(extremes: LogitExtremes, vocab: list[TokenText]) -> list[list[LogitEffect]]:
    ids, values, probabilities = (
        extremes.token_id.tolist(),
        extremes.value.cpu().numpy(),
        extremes.probability.cpu().numpy(),
    )
    return [
        [
            LogitEffect(token_id, vocab[token_id], shortest(value), shortest(probability))
            for token_id, value, probability in zip(*row, strict=True)
        ]
        for row in zip(ids, values, probabilities, strict=True)
    ]
