"""What a feature's page shows of its relations: neighbours, neurons, the other run, near misses, the rare direction."""

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
    """Another feature, and how like this one it is."""

    feature_id: int
    value: float
    tokens: tuple[str, ...]  # that it fires most strongly on
    is_there: bool  # that it has a page: it may not be among those swept


@dataclass(frozen=True)
class NeighbourList:
    """Features like this one by one measure."""

    title: str
    measure: str  # what the numbers are
    anchor: str  # of its definition on the about page
    rows: list[NeighbourRow]


@dataclass(frozen=True)
class NeuronRow:
    """A neuron and a number."""

    neuron: int
    value: float
    share: float | None  # of the decoder row's L1 norm


@dataclass(frozen=True)
class RareScale:
    """Where a feature stands between -1 and 1 among rare features and others; x in 0..SCALE_WIDTH."""

    value: float
    x: float
    rare: BoxMark | None
    others: BoxMark | None
    width: int = SCALE_WIDTH


class FeatureNames:
    """By what features are known on other features' pages: the tokens they fire on."""

    def __init__(self, table: FeatureTable, vocabulary: Vocabulary) -> None:
        pairs = zip(table.feature_id, table.tokens, strict=True)
        self._tokens = {
            feature: tuple(marked(vocabulary.tokens[token]) for token in tokens)
            for feature, tokens in pairs
        }

    def row(self, feature_id: int, value: float) -> NeighbourRow:
        """A line for a feature."""
        tokens = self._tokens.get(feature_id)
        return NeighbourRow(feature_id, value, tokens or (), tokens is not None)

    def tokens(self, feature_id: int) -> tuple[str, ...]:
        """What a feature that has a page fires on."""
        return self._tokens[feature_id]


def neighbour_lists(record: FeatureRecord, names: FeatureNames) -> list[NeighbourList]:
    """The four lists; those without a feature in them are left out."""
    near = record.neighbours
    coactive = [names.row(n.feature_id, n.jaccard) for n in near.coactivation]
    contexts = [names.row(n.feature_id, n.n_shared) for n in near.contexts]
    decoder = [names.row(n.feature_id, n.cosine) for n in near.decoder]
    encoder = [names.row(n.feature_id, n.cosine) for n in near.encoder]
    lists = [
        NeighbourList("Writes the same", "decoder cosine", "cosine", decoder),
        NeighbourList("Reads the same", "encoder cosine", "cosine", encoder),
        NeighbourList("Co-activation", "Jaccard", "jaccard", coactive),
        NeighbourList("Same contexts", "shared", "shared", contexts),
    ]
    return [part for part in lists if part.rows]


def neuron_rows(record: FeatureRecord) -> tuple[list[NeuronRow], list[NeuronRow]]:
    """(the neurons it writes to, those active where it fires)."""
    if record.neurons is None:
        return [], []
    return (
        [NeuronRow(n.neuron, n.weight, n.share) for n in record.neurons.weights],
        [NeuronRow(n.neuron, n.correlation, None) for n in record.neurons.correlated],
    )


def rare_scale(record: FeatureRecord, overview: Overview) -> RareScale | None:
    """A feature's place on the scale of the rare direction; None where no feature is rare."""
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
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None
