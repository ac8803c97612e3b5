"""Conversion of all findings to records: one for each feature of both autoencoders, and one of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from sitegen.analysis.evidence import Evidence
from sitegen.analysis.findings import Findings
from sitegen.analysis.overview import compare_with_second, frequencies, split_by_rarity
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
    token_as_json,
)
from sitegen.sources.inputs import Inputs
from sitegen.sweep.state import SweepResult

FEATURES_AT_ONCE = 128
N_TOKENS_LISTED = 3


class Records:
    """All records of a run, made on request."""

    def __init__(
        self, found: Findings, inputs: Inputs, config: Config, vocab: list[TokenText]
    ) -> None:
        self._found, self._inputs, self._config, self._vocab = found, inputs, config, vocab
        self._swept, self._contexts = found.swept, found.contexts

    @cached_property
    def _density(self) -> np.ndarray:
        """Density of each feature swept, [n_features] float64."""
        density: np.ndarray = self._swept.n_active / self._swept.n_positions
        return density

    def features(self) -> Iterator[tuple[FeatureRecord, EvidenceRecord]]:
        """Make the records of every feature swept, in order."""
        ids, found = self._inputs.feature_ids, self._found
        evidence = Evidence(
            found.near_misses, found.shown.ablations, found.sample, np.array(ids), self._config
        )
        progress = Progress("records", len(ids), "features")
        for first in range(0, len(ids), FEATURES_AT_ONCE):
            block = ids[first : first + FEATURES_AT_ONCE]
            logits = _logit_records(block, self._inputs, self._config, self._vocab)
            for index in range(first, first + len(block)):
                record = self._record(index, logits[index - first])
                yield record, evidence.record(index, self._contexts.indices(index))
            progress.advance(len(block))
        progress.finish()

    def others(self) -> Iterator[OtherRecord]:
        """Make the records of every feature of the second autoencoder, in order; none without a second autoencoder."""
        matches, contexts = self._found.relations.other_matches, self._found.other_contexts
        if contexts is not None and matches is not None:
            for feature_id in range(len(contexts.n_active)):
                yield contexts.record(feature_id, matches.record(feature_id))

    def rows(self) -> Iterator[RowsRecord]:
        """Collect the rows from which pages show contexts or near misses, one record for each file of rows."""
        parts = [self._contexts.table.row, self._found.near_misses.row]
        if self._found.other_contexts is not None:
            parts.append(self._found.other_contexts.contexts.table.row)
        shown = np.unique(np.concatenate(parts))
        tokens = self._inputs.rows.tokens
        # A file holds ROWS_PER_FILE consecutive row numbers, of which only the rows shown are stored
        for part in np.split(shown, np.flatnonzero(np.diff(shown // ROWS_PER_FILE)) + 1):
            if len(part):
                yield RowsRecord(part.tolist(), np.asarray(tokens[part]).tolist())

    def overview(self) -> Overview:
        """Make the record of the autoencoder as a whole."""
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
            other=compare_with_second(matches, self._inputs, self._density, config.other.title)
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
        """Cosine of each feature swept with the rare direction, [n_features] float32; None if no feature is rare."""
        W_enc, chosen = self._inputs.autoencoder.W_enc, torch.tensor(self._inputs.feature_ids)
        is_rare = torch.from_numpy(self._density < RARE_DENSITY).to(W_enc.device)
        found = rare_cosines(W_enc.T[chosen.to(W_enc.device)], is_rare)
        return None if found is None else found.cpu().numpy()

    def _record(self, index: int, logits: LogitEffects) -> FeatureRecord:
        counts, cosines = self._swept, self._rare_cosines
        n_active = int(counts.n_active[index])
        density = float(self._density[index])
        return FeatureRecord(
            feature_id=self._inputs.feature_ids[index],
            density=density,
            n_active=n_active,
            max_activation=shortest(counts.max_activation[index]),
            mean_active=shortest(np.float32(counts.activation_sum[index] / max(n_active, 1))),
            kind=kind_of(density),
            special=SpecialTokenActivity(
                int(counts.n_active_special[index]), shortest(counts.max_special[index])
            ),
            histogram=_activation_histogram(self._swept, index),
            contexts=self._contexts.records(index),
            logits=logits,
            rare_cosine=None if cosines is None else shortest(cosines[index]),
            neighbours=self._found.relations.neighbours(index),
            neurons=self._found.relations.neurons(index),
            match=self._found.relations.match(index),
        )


def _activation_histogram(swept: SweepResult, index: int) -> Histogram:
    """Make the histogram up to the cell that holds the maximum; empty if the feature is active on no text token."""
    counts = swept.histogram[index]
    filled = np.flatnonzero(counts)
    if not filled.size:
        return Histogram([], [])
    n_bins = int(filled[-1]) + 1
    # Each feature has a grid of its own, whose range is a power of two
    width = float(swept.cell_width[index])
    return Histogram([width * edge for edge in range(n_bins + 1)], counts[:n_bins].tolist())


def _logit_records(
    block: list[int], inputs: Inputs, config: Config, vocab: list[TokenText]
) -> list[LogitEffects]:
    W_dec = inputs.autoencoder.W_dec[torch.tensor(block, device=inputs.device)]
    effects = logit_effects(W_dec, inputs.model.W_out, inputs.model.W_U)  # [n_features, d_vocab]
    log_total = torch.logsumexp(effects, dim=1, keepdim=True)
    top, bottom = (
        _effect_lists(logit_extremes(effects, config.logits.n_top, largest, log_total), vocab)
        for largest in (True, False)
    )
    all_edges, all_counts = logit_histograms(effects, config.logits.n_bins)
    histograms = zip(all_edges.cpu().numpy(), all_counts.tolist(), strict=True)
    return [
        LogitEffects(largest, smallest, Histogram(list(map(shortest, edges)), counts))
        for largest, smallest, (edges, counts) in zip(top, bottom, histograms, strict=True)
    ]


def _effect_lists(extremes: LogitExtremes, vocab: list[TokenText]) -> list[list[LogitEffect]]:
    ids, values, probabilities = (
        extremes.token_id.tolist(),
        extremes.value.cpu().numpy(),
        extremes.probability.cpu().numpy(),
    )
    return [
        [
            LogitEffect(
                token_id, token_as_json(vocab[token_id]), shortest(value), shortest(probability)
            )
            for token_id, value, probability in zip(*row, strict=True)
        ]
        for row in zip(ids, values, probabilities, strict=True)
    ]
