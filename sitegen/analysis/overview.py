"""Figures of the autoencoder as a whole: feature densities, and rare features against all others."""

from __future__ import annotations

import numpy as np

from sitegen.analysis.relations import RunMatches
from sitegen.maths.geometry import Matches
from sitegen.records import (
    DEAD_LOG_DENSITY,
    RARE_DENSITY,
    Box,
    Frequencies,
    Group,
    Split,
    TwoRuns,
)
from sitegen.sources.inputs import Inputs

LOG_DENSITY_STEP = 0.25
N_COSINE_BINS = 40


def frequencies(density: np.ndarray) -> Frequencies:
    """Count the features in a histogram of `log10(density + 10^-6.5)`.

    density  [n_features] float64
    source   definitions.md, "log density"
    """
    n_bins = round(-DEAD_LOG_DENSITY / LOG_DENSITY_STEP)
    edges = DEAD_LOG_DENSITY + LOG_DENSITY_STEP * np.arange(n_bins + 1)
    found = Frequencies(int((density == 0).sum()), edges.tolist(), [0] * n_bins)
    for value in density[density > 0]:
        found.counts[found.bin_of(value)] += 1
    return found


def split_by_rarity(value: np.ndarray, density: np.ndarray, low: float) -> Split:
    """Summarise the values of rare features (density below 1e-4, dead features included) and of the others.

    value  [n_features] float, from `low` to 1; a feature with NaN has no value and is left out
    """
    edges = np.linspace(low, 1, N_COSINE_BINS + 1)
    known, is_rare = np.isfinite(value), density < RARE_DENSITY
    return Split(
        edges.tolist(),
        _group(value[known & is_rare], edges),
        _group(value[known & ~is_rare], edges),
    )


def compare_with_second(
    matches: RunMatches, inputs: Inputs, density: np.ndarray, title: str
) -> TwoRuns:
    """Summarise how similar the features swept are to their best matches in the second autoencoder.

    density  [n_features] float64
    """
    assert inputs.second is not None
    ids = np.array(inputs.feature_ids)
    cosine, correlation = matches.cosine, matches.correlation
    return TwoRuns(
        title=title,
        n_features=inputs.second.d_hidden,
        cosine=split_by_rarity(_values(matches.cosine, ids), density, low=0),
        correlation=split_by_rarity(_values(matches.correlation, ids), density, low=0),
        n_mutual_cosine=int(cosine.mutual.numpy()[ids].sum()),
        n_mutual_correlation=int(correlation.mutual.numpy()[ids].sum()),
    )


def _values(matches: Matches, ids: np.ndarray) -> np.ndarray:
    """Get the similarity of each feature's match, [n] float64; NaN where there is none."""
    value: np.ndarray = matches.value.numpy()[ids].astype(np.float64)
    return np.where(matches.index.numpy()[ids] >= 0, value, np.nan)


def _group(value: np.ndarray, edges: np.ndarray) -> Group:
    counts, _ = np.histogram(np.clip(value, edges[0], edges[-1]), edges)
    box = Box(*np.quantile(value, [0, 0.25, 0.5, 0.75, 1]).tolist()) if len(value) else None
    return Group(len(value), box, counts.tolist())
