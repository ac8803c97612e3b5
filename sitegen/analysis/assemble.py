"""All that follows the sweep, as records: of every feature, of the second autoencoder's, and of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from sitegen.analysis.evidence import Evidence
from sitegen.analysis.findings import Findings
from sitegen.analysis.overview import frequencies, split_by_rarity, two_runs
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.maths.geometry import rare_cosines
from sitegen.maths.logits import LogitExtremes, logit_effects, logit_extremes, logit_histograms
from sitegen.progress import Progress
from sitegen.records import (
    RARE_DENSITY,
    ROWS_PER_FILE,
    EvidenceRecord,
    FeatureRecord,
    FeatureTable,
    Histogram,
    LogitEffect,
    LogitEffects,
    OtherRecord,
    Overview,
    RowsRecord,
    SpecialTokenActivity,
    TokenText,
    kind_of,
)
from sitegen.sources.inputs import Inputs
from sitegen.sweep.accumulators import N_CELLS
from sitegen.sweep.state import SweepState

FEATURES_AT_ONCE = 128
N_TOKENS_LISTED = 3


class Records:
    """What was found, as records, made when asked for."""

    def __init__(
        self, found: Findings, inputs: Inputs, config: Config, vocab: list[TokenText]
    ) -> None:
        self._found, self._inputs, self._config, self._vocab = found, inputs, config, vocab
        self._state, self._contexts = found.state, found.contexts

    @cached_property
    def _density(self) -> np.ndarray:
        """[n_features] float64 of each feature swept."""
        counts = self._state.counts
        density: np.ndarray = counts.n_active / counts.n_positions
        return density

    def features(self) -> Iterator[tuple[FeatureRecord, EvidenceRecord]]:
        """Of every feature swept, in order."""
        ids, found = self._inputs.feature_ids, self._found
        evidence = Evidence(
            found.misses, found.shown.ablations, found.sample, np.array(ids), self._config
        )
        progress = Progress("records", len(ids), "features")
        for first in range(0, len(ids), FEATURES_AT_ONCE):
            block = ids[first : first + FEATURES_AT_ONCE]
            logits = _logit_records(block, self._inputs, self._config, self._vocab)
            for index in range(first, first + len(block)):
                record = self._record(index, logits[index - first])
                yield record, evidence.of(index, self._contexts.indices(index))
            progress.advance(len(block))
        progress.finish()

    def others(self) -> Iterator[OtherRecord]:
        """Of every feature of the second autoencoder, in order; none without one."""
        matches, contexts = self._found.relations.other_matches, self._found.other_contexts
        if contexts is not None and matches is not None:
            for feature_id in range(len(contexts.n_active)):
                yield contexts.record(feature_id, matches.of(feature_id))

    def rows(self) -> Iterator[RowsRecord]:
        """The rows in which anything that a page shows stands, as many as a file holds at a time."""
        parts = [self._contexts.table.row, self._found.misses.row]
        if self._found.other_contexts is not None:
            parts.append(self._found.other_contexts.contexts.table.row)
        shown = np.unique(np.concatenate(parts))
        tokens = self._inputs.rows.tokens
        for part in np.split(shown, np.flatnonzero(np.diff(shown // ROWS_PER_FILE)) + 1):
            if len(part):
                yield RowsRecord(part.tolist(), np.asarray(tokens[part]).tolist())

    def overview(self) -> Overview:
        """Of the autoencoder as a whole."""
        found, config = self._found, self._config
        cosines, matches = self._rare_cosines, found.relations.matches
        return Overview(
            n_sample_rows=found.sample.n_rows,
            fit=found.fit,
            features=self._feature_table(),
            quality=found.quality,
            frequencies=frequencies(self._density),
            rare_cosine=None
            if cosines is None
            else split_by_rarity(cosines.astype(np.float64), self._density, low=-1),
            map=found.map,
            other=two_runs(matches, self._inputs, self._density, config.other.title)
            if matches
            else None,
            published=found.published,
        )

    def _feature_table(self) -> FeatureTable:
        ids, cosines = self._inputs.feature_ids, self._rare_cosines
        return FeatureTable(
            ids,
            self._density.tolist(),
            [None] * len(ids) if cosines is None else [shortest(cosine) for cosine in cosines],
            [self._contexts.peak_tokens(index)[:N_TOKENS_LISTED] for index in range(len(ids))],
        )

    @cached_property
    def _rare_cosines(self) -> np.ndarray | None:
        """[n_features] float32 cosine of each feature swept with the rare direction; None where none is rare."""
        W_enc, chosen = self._inputs.autoencoder.W_enc, torch.tensor(self._inputs.feature_ids)
        is_rare = torch.from_numpy(self._density < RARE_DENSITY).to(W_enc.device)
        found = rare_cosines(W_enc.T[chosen.to(W_enc.device)], is_rare)
        return None if found is None else found.cpu().numpy()

    def _record(self, index: int, logits: LogitEffects) -> FeatureRecord:
        counts, cosines = self._state.counts, self._rare_cosines
        n_active = int(counts.n_active[index])
        density = float(self._density[index])
        return FeatureRecord(
            feature_id=self._inputs.feature_ids[index],
            density=density,
            n_active=n_active,
            max_activation=shortest(counts.max_activation[index]),
            mean_active=float(counts.activation_sum[index]) / n_active if n_active else 0.0,
            kind=kind_of(density),
            special=SpecialTokenActivity(
                int(counts.n_active_special[index]), shortest(counts.max_special[index])
            ),
            histogram=_activation_histogram(self._state, index),
            contexts=self._contexts.of(index),
            logits=logits,
            rare_cosine=None if cosines is None else shortest(cosines[index]),
            neighbours=self._found.relations.neighbours(index),
            neurons=self._found.relations.neurons(index),
            match=self._found.relations.match(index),
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
    block: list[int], inputs: Inputs, config: Config, vocab: list[TokenText]
) -> list[LogitEffects]:
    W_dec = inputs.autoencoder.W_dec[torch.tensor(block, device=inputs.device)]
    effects = logit_effects(W_dec, inputs.model.W_out, inputs.model.W_U)  # [n_features, d_vocab]
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
