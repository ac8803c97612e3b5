"""Views of a feature's relations: similar features, neurons, and the rare direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sitegen.records import FeatureRecord, FeatureTable, Overview
from sitegen.render.charts import BoxMark, box_mark
from sitegen.render.text import marked
from sitegen.render.vocabulary import Vocabulary

SCALE_WIDTH = 320


@dataclass(frozen=True)
class NeighbourRow:
    """A similar feature.

    tokens    that it is most active on
    has_page  False if it is not among the features swept
    """

    feature_id: int
    value: float
    tokens: tuple[str, ...]
    has_page: bool


@dataclass(frozen=True)
class NeighbourList:
    """Similar features by one measure.

    measure  name of the numbers
    anchor   of the measure's definition on the about page
    """

    title: str
    measure: str
    anchor: str
    rows: list[NeighbourRow]


@dataclass(frozen=True)
class NeuronRow:
    """A neuron and its weight or correlation; `share` is the weight's share of the decoder row's L1 norm."""

    neuron: int
    value: float
    share: float | None


@dataclass(frozen=True)
class RareScale:
    """A feature's cosine with the rare direction among those of rare and other features; x in 0..SCALE_WIDTH."""

    value: float
    x: float
    rare: BoxMark | None
    others: BoxMark | None
    width: int = SCALE_WIDTH


class FeatureNames:
    """The tokens that each feature is most active on, which describe it on other features' pages."""

    def __init__(self, table: FeatureTable, vocabulary: Vocabulary) -> None:
        pairs = zip(table.feature_id, table.tokens, strict=True)
        self._tokens = {
            feature: tuple(marked(vocabulary.tokens[token]) for token in tokens)
            for feature, tokens in pairs
        }

    def row(self, feature_id: int, value: float) -> NeighbourRow:
        """The row of a similar feature."""
        tokens = self._tokens.get(feature_id)
        return NeighbourRow(feature_id, value, tokens or (), tokens is not None)


def neighbour_lists(record: FeatureRecord, names: FeatureNames) -> list[NeighbourList]:
    """The lists of similar features by four measures; empty lists are left out."""
    near = record.neighbours
    coactive = [names.row(n.feature_id, n.jaccard) for n in near.coactivation]
    contexts = [names.row(n.feature_id, n.n_shared) for n in near.contexts]
    decoder = [names.row(n.feature_id, n.cosine) for n in near.decoder]
    encoder = [names.row(n.feature_id, n.cosine) for n in near.encoder]
    lists = [
        NeighbourList("By decoder direction", "cosine", "cosine", decoder),
        NeighbourList("By encoder direction", "cosine", "cosine", encoder),
        NeighbourList("By co-activation", "Jaccard", "jaccard", coactive),
        NeighbourList("By shared contexts", "count", "shared", contexts),
    ]
    return [part for part in lists if part.rows]


def neuron_rows(record: FeatureRecord) -> tuple[list[NeuronRow], list[NeuronRow]]:
    """(neurons with the largest decoder weights, neurons with the most correlated activations)."""
    if record.neurons is None:
        return [], []
    return (
        [NeuronRow(n.neuron, n.weight, n.share) for n in record.neurons.weights],
        [NeuronRow(n.neuron, n.correlation, None) for n in record.neurons.correlated],
    )


def rare_scale(record: FeatureRecord, overview: Overview) -> RareScale | None:
    """A feature's position on the scale of the rare direction; None if no feature is rare."""
    split = overview.rare_cosine
    if split is None or record.rare_cosine is None:
        return None
    low, high = split.edges[0], split.edges[-1]
    x = (record.rare_cosine - low) / (high - low) * SCALE_WIDTH
    rare, others = (
        box_mark(group.box, low, high, SCALE_WIDTH) if group.box else None
        for group in (split.rare, split.others)
    )
    return RareScale(record.rare_cosine, round(x, 1), rare, others)


def mean_of(values: Sequence[float]) -> float | None:
    """The mean; None for no values."""
    return sum(values) / len(values) if values else None
