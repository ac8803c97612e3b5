"""What pages show, as plain values in the order they are shown; templates loop, test and format, no more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sitegen.labels import Label
from sitegen.records import (
    ContextRecord,
    EvidenceRecord,
    FeatureRecord,
    Kind,
    LiveSettings,
    LogitEffect,
    NearMiss,
    OtherRecord,
    Overview,
)
from sitegen.render.charts import Chart, histogram_chart, shares_between
from sitegen.render.related import (
    FeatureNames,
    NeighbourList,
    NeuronRow,
    RareScale,
    mean_of,
    neighbour_lists,
    neuron_rows,
    rare_scale,
)
from sitegen.render.text import marked
from sitegen.render.vocabulary import Vocabulary

LINE_BEFORE, LINE_AFTER = (
    5,
    1,
)  # tokens around the peak in a context line, as in the reference analysis
N_LISTED_EFFECTS = 3


@dataclass(frozen=True)
class Piece:
    """A run of text on a context's line: silent tokens together, each firing token (group) by itself."""

    text: str
    heat: float  # activation over the page's maximum, 0..1; 0 for silent text
    activation: float
    is_peak: bool
    is_special: bool
    offset: int | None = (
        None  # of its strongest token; given where pieces and firing tokens do not run parallel
    )


@dataclass(frozen=True)
class ContextLine:
    """One context as a line."""

    row: int
    position: int
    activation: float
    copies: int
    pieces: list[Piece]


@dataclass(frozen=True)
class MissLine:
    """A near miss as a line."""

    row: int
    position: int
    n_matched: int
    pieces: list[Piece]


@dataclass(frozen=True)
class OtherFeature:
    """The best match in the other run, with its strongest contexts on a scale of its own."""

    feature_id: int
    cosine: float | None  # None where it is no best match by that
    correlation: float | None
    is_mutual: bool
    max_activation: float
    lines: list[ContextLine]


@dataclass(frozen=True)
class Interval:
    """The samples of one slice of (0, maximum]."""

    first: int  # place of its first context among all of the record
    low: float
    high: float
    share: float  # of all firings on text, by the histogram
    lines: list[ContextLine]


@dataclass(frozen=True)
class EffectRow:
    """A token and what the feature does to its logit."""

    id: int
    token: str
    value: float
    probability: float
    share: float  # of the largest effect in size on the page, 0..1


@dataclass(frozen=True)
class FeaturePage:
    """All that a feature's page shows."""

    feature_id: int
    place: int  # in the data
    data_file: str  # below data/
    previous_id: int | None
    next_id: int | None
    index_page: str  # the index page that lists this feature
    kind: Kind
    density: float
    n_active: int
    n_positions: int
    n_rows: int
    max_activation: float
    mean_active: float
    n_special: int
    max_special: float
    n_before: int  # tokens that a context shows before its peak, at most
    n_after: int
    labels: tuple[Label, ...]
    top: list[ContextLine]
    intervals: list[Interval]  # strongest first
    largest: list[EffectRow]
    smallest: list[EffectRow]
    activation_chart: Chart | None
    logit_chart: Chart | None
    loss_change: float | None  # mean over the peaks of the strongest contexts, nats
    has_ablation: bool
    misses: list[MissLine]
    rare: RareScale | None
    neighbours: list[NeighbourList]
    listed_by: list[int]
    n_listed_by: int
    neuron_weights: list[NeuronRow]
    neuron_correlations: list[NeuronRow]
    other_title: str
    others: list[OtherFeature]


@dataclass(frozen=True)
class FeatureSummary:
    """A feature's line in the index."""

    feature_id: int
    kind: Kind
    density: float
    max_activation: float
    before: str
    peak: str
    after: str
    promoted: tuple[str, ...]
    promoted_ids: tuple[int, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class FeatureData:
    """All that the data says of one feature."""

    record: FeatureRecord
    evidence: EvidenceRecord
    others: dict[int, OtherRecord]  # the features of the other run that match it


@dataclass(frozen=True)
class SiteData:
    """What the data says of the whole, for every page."""

    manifest: dict[str, Any]
    overview: Overview
    vocabulary: Vocabulary
    names: FeatureNames
    labels: dict[int, tuple[Label, ...]]  # of the features that have any
    key: str  # tells this site's features from those of other sites in a reader's browser
    live: LiveSettings | None  # of the model that pages run, if there is one

    @property
    def row_mark(self) -> str:
        """The best example of a special token in the rows: "bos", else "separator"; empty where rows hold neither."""
        delimiters = self.manifest.get("row_delimiters")
        if (
            delimiters is None or delimiters["bos_id"] is not None
        ):  # data from before these ids were written had BOS
            return "bos"
        return "" if delimiters["separator_id"] is None else "separator"


def feature_page(
    place: int,
    data: FeatureData,
    site: SiteData,
    neighbours: tuple[int | None, int | None],
    index_page: str,
) -> FeaturePage:
    """The view of one feature, by its place in the data."""
    record, manifest, vocabulary = data.record, site.manifest, site.vocabulary
    maximum = record.max_activation
    counts = manifest["counts"]
    n_intervals = manifest["config"]["contexts"]["n_intervals"]
    by_group = {
        key: [_line(context, vocabulary, maximum) for context in group]
        for key, group in groupby(record.contexts, key=lambda context: context.interval)
    }
    first_of = {context.interval: i for i, context in reversed([*enumerate(record.contexts)])}
    effects = record.logits
    largest_size = max((abs(e.value) for e in [*effects.top, *effects.bottom]), default=0.0) or 1.0
    boundaries = interval_boundaries(maximum, n_intervals)
    shares = shares_between(record.histogram, boundaries)
    logit_edges = effects.histogram.edges
    weights, correlations = neuron_rows(record)
    return FeaturePage(
        feature_id=record.feature_id,
        place=place,
        data_file=f"features/{record.feature_id:05d}.json",
        previous_id=neighbours[0],
        next_id=neighbours[1],
        index_page=index_page,
        kind=record.kind,
        density=record.density,
        n_active=record.n_active,
        n_positions=counts["n_positions"],
        n_rows=counts["n_rows"],
        max_activation=maximum,
        mean_active=record.mean_active,
        n_special=record.special.n_active,
        max_special=record.special.max_activation,
        n_before=manifest["config"]["contexts"]["n_before"],
        n_after=manifest["config"]["contexts"]["n_after"],
        labels=site.labels.get(record.feature_id, ()),
        top=by_group.pop(None, []),
        intervals=[
            Interval(
                first_of[i],
                boundaries[i],
                boundaries[i + 1],
                shares[i],
                lines,
            )
            for i, lines in sorted(by_group.items(), reverse=True)
            if i is not None
        ],
        largest=[_effect_row(effect, largest_size) for effect in effects.top],
        smallest=[_effect_row(effect, largest_size) for effect in effects.bottom],
        activation_chart=histogram_chart(
            record.histogram, [0.0, maximum / 2, maximum], boundaries[1:-1]
        ),
        logit_chart=histogram_chart(
            effects.histogram,
            [logit_edges[0], 0.0, logit_edges[-1]] if logit_edges[0] < 0 < logit_edges[-1] else [],
        ),
        loss_change=mean_of(peak_loss_changes(data)),
        has_ablation=data.evidence.ablation is not None,
        misses=[_miss_line(miss, vocabulary, maximum) for miss in data.evidence.near_misses],
        rare=rare_scale(record, site.overview),
        neighbours=neighbour_lists(record, site.names),
        listed_by=record.neighbours.listed_by,
        n_listed_by=record.neighbours.n_listed_by,
        neuron_weights=weights,
        neuron_correlations=correlations,
        other_title=manifest["config"]["other"]["title"],
        others=[_other_feature(data, other, vocabulary) for other in data.others.values()],
    )


def interval_boundaries(maximum: float, n_intervals: int) -> list[float]:
    """Where a feature's intervals begin and end: one more than there are; 0 and the maximum where there are none."""
    return [maximum * i / max(n_intervals, 1) for i in range(max(n_intervals, 1) + 1)]


def peak_loss_changes(data: FeatureData) -> list[float]:
    """Nats, at the peaks of the top contexts that a token follows."""
    ablation = data.evidence.ablation
    if ablation is None:
        return []
    peaks = {
        (i, context.position - context.start)
        for i, context in enumerate(data.record.contexts)
        if context.group == "top"
    }
    places = zip(ablation.context, ablation.offset, ablation.loss_change, strict=True)
    return [
        change
        for context, offset, change in places
        if change is not None and (context, offset) in peaks
    ]


def _other_feature(data: FeatureData, other: OtherRecord, vocabulary: Vocabulary) -> OtherFeature:
    match = data.record.match
    assert match is not None
    measures = [
        m if m is not None and m.feature_id == other.feature_id else None
        for m in (match.decoder, match.activation)
    ]
    cosine, correlation = (None if m is None else m.value for m in measures)
    return OtherFeature(
        other.feature_id,
        cosine,
        correlation,
        all(m.mutual for m in measures if m),
        other.max_activation,
        [_line(context, vocabulary, other.max_activation) for context in other.contexts],
    )


def _miss_line(miss: NearMiss, vocabulary: Vocabulary, maximum: float) -> MissLine:
    peak = miss.position - miss.start
    pieces = _pieces(miss.tokens, miss.activations, peak, vocabulary, maximum)
    return MissLine(miss.row, miss.position, miss.n_matched, pieces)


def feature_summary(
    record: FeatureRecord, vocabulary: Vocabulary, labels: tuple[Label, ...]
) -> FeatureSummary:
    """The line of one feature in the index: its strongest context, cut short, and what it promotes."""
    before = peak = after = ""
    if record.contexts:
        context = record.contexts[0]
        at = context.position - context.start
        groups = vocabulary.groups(context.tokens)
        before = "".join(g.text for g in groups if at - LINE_BEFORE <= g.first and g.last < at)
        peak = "".join(g.text for g in groups if g.first <= at <= g.last)
        after = "".join(g.text for g in groups if at < g.first <= at + LINE_AFTER)
    listed = record.logits.top[:N_LISTED_EFFECTS]
    return FeatureSummary(
        record.feature_id,
        record.kind,
        record.density,
        record.max_activation,
        before,
        peak,
        after,
        tuple(marked(effect.token) for effect in listed),
        tuple(effect.id for effect in listed),
        labels,
    )


def _line(context: ContextRecord, vocabulary: Vocabulary, maximum: float) -> ContextLine:
    peak = context.position - context.start
    pieces = _pieces(context.tokens, context.activations, peak, vocabulary, maximum)
    return ContextLine(context.row, context.position, context.activation, context.copies, pieces)


def _pieces(
    tokens: list[int],
    activations: list[float],
    peak: int,
    vocabulary: Vocabulary,
    maximum: float,
) -> list[Piece]:
    """The text in pieces; the peak is one of its own even where it is silent."""
    special_ids = vocabulary.special_ids
    texts = vocabulary.texts(tokens)
    if texts is not None:  # a group for each token, nearly always
        special = {i for i, token in enumerate(tokens) if token in special_ids}
        return _cut(texts, activations, peak, special, None, maximum)
    groups = vocabulary.groups(tokens)
    strongest = [max(range(g.first, g.last + 1), key=activations.__getitem__) for g in groups]
    return _cut(
        [group.text for group in groups],
        [activations[i] for i in strongest],
        next(i for i, group in enumerate(groups) if group.last >= peak),
        {
            i
            for i, g in enumerate(groups)
            if not special_ids.isdisjoint(tokens[g.first : g.last + 1])
        },
        strongest if len(groups) < len(tokens) else None,
        maximum,
    )


def _cut(
    texts: list[str],
    activations: list[float],
    peak: int,
    special: set[int],
    offsets: list[int] | None,
    maximum: float,
) -> list[Piece]:
    """Groups of tokens in pieces: each that fires, is special or is the peak by itself, runs of others joined."""
    alone = {i for i, activation in enumerate(activations) if activation} | special | {peak}
    pieces: list[Piece] = []
    begin = 0
    for i in sorted(alone):
        if i > begin:
            pieces.append(Piece("".join(texts[begin:i]), 0.0, 0.0, False, False))
        activation = activations[i]
        heat = min(activation / maximum, 1.0) if maximum else 0.0
        offset = offsets[i] if offsets else None
        pieces.append(Piece(texts[i], heat, activation, i == peak, i in special, offset))
        begin = i + 1
    if begin < len(texts):
        pieces.append(Piece("".join(texts[begin:]), 0.0, 0.0, False, False))
    return pieces


def _effect_row(effect: LogitEffect, largest_size: float) -> EffectRow:
    share = abs(effect.value) / largest_size
    return EffectRow(effect.id, marked(effect.token), effect.value, effect.probability, share)
