"""Views: what a page shows, as plain values in the order shown. Templates only loop, test and format."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from sitegen.file_names import FEATURES
from sitegen.labels import Label
from sitegen.records import (
    EvidenceRecord,
    FeatureRecord,
    Kind,
    LiveSettings,
    LogitEffect,
    Manifest,
    OtherRecord,
    Overview,
)
from sitegen.render.charts import Chart, histogram_chart
from sitegen.render.intervals import interval_boundaries, shares_between
from sitegen.render.lines import ContextLine, MissLine, context_line, miss_line
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

# Tokens before and after the peak in a short context line, as in the reference analysis
LINE_BEFORE, LINE_AFTER = 5, 1
N_LISTED_EFFECTS = 3


@dataclass(frozen=True)
class OtherFeature:
    """The best match in the second autoencoder, with its top contexts on a colour scale of their own.

    cosine, correlation  None if it is not the best match by that measure
    """

    feature_id: int
    cosine: float | None
    correlation: float | None
    is_mutual: bool
    max_activation: float
    lines: list[ContextLine]


@dataclass(frozen=True)
class Interval:
    """The sampled contexts of one interval of (0, maximum].

    share  share of all activations on text that lie in the interval, by the histogram
    """

    low: float
    high: float
    share: float
    lines: list[ContextLine]


@dataclass(frozen=True)
class EffectRow:
    """A token and the feature's effect on its logit.

    share  absolute value over the largest on the page, 0..1
    """

    id: int
    token: str
    value: float
    probability: float
    share: float


@dataclass(frozen=True)
class FeaturePage:
    """Everything that a feature's page shows.

    index         of the feature among all features of the data
    data_file     path of its record below data/
    index_page    the index page that lists this feature
    intervals     largest activations first
    n_before      tokens before the peak of a context, if its row has so many
    n_after       tokens after it
    loss_change   mean over the peaks of the top contexts, in nats; None if ablation is not known
    other_title   name of the second autoencoder
    """

    feature_id: int
    index: int
    data_file: str
    previous_id: int | None
    next_id: int | None
    index_page: str
    kind: Kind
    density: float
    n_active: int
    n_positions: int
    n_rows: int
    max_activation: float
    mean_active: float
    n_special: int
    max_special: float
    labels: tuple[Label, ...]
    n_before: int
    n_after: int
    top: list[ContextLine]
    intervals: list[Interval]
    largest: list[EffectRow]
    smallest: list[EffectRow]
    activation_chart: Chart | None
    logit_chart: Chart | None
    loss_change: float | None
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
    """A feature's row in lists."""

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
    """All records of one feature.

    others  its matches in the second autoencoder, by feature id
    """

    record: FeatureRecord
    evidence: EvidenceRecord
    others: dict[int, OtherRecord]


@dataclass(frozen=True)
class SiteData:
    """The data that every page needs.

    labels  of the features that have any, by feature id
    key     tells this site's features from those of other sites in a reader's browser
    live    settings of the model that pages run; None if there is none
    """

    manifest: Manifest
    overview: Overview
    vocabulary: Vocabulary
    names: FeatureNames
    labels: dict[int, tuple[Label, ...]]
    key: str
    live: LiveSettings | None

    @property
    def row_delimiter(self) -> str:
        """The kind of delimiter that rows hold: "bos", else "separator"; empty if they hold neither."""
        delimiters = self.manifest.row_delimiters
        if delimiters.bos_id is not None:
            return "bos"
        return "" if delimiters.separator_id is None else "separator"


def feature_page(
    index: int,
    data: FeatureData,
    site: SiteData,
    neighbours: tuple[int | None, int | None],
    index_page: str,
) -> FeaturePage:
    """The view of the feature with an index in the data."""
    record, manifest, vocabulary = data.record, site.manifest, site.vocabulary
    maximum = record.max_activation
    counts = manifest.counts
    contexts = manifest.config.contexts
    by_group = {
        key: [context_line(context, vocabulary, maximum) for context in group]
        for key, group in groupby(record.contexts, key=lambda context: context.interval)
    }
    effects = record.logits
    largest_size = max((abs(e.value) for e in [*effects.top, *effects.bottom]), default=0.0) or 1.0
    boundaries = interval_boundaries(maximum, contexts.n_intervals)
    shares = shares_between(record.histogram, boundaries)
    logit_edges = effects.histogram.edges
    weights, correlations = neuron_rows(record)
    return FeaturePage(
        feature_id=record.feature_id,
        index=index,
        data_file=FEATURES.name(record.feature_id),
        previous_id=neighbours[0],
        next_id=neighbours[1],
        index_page=index_page,
        kind=record.kind,
        density=record.density,
        n_active=record.n_active,
        n_positions=counts.n_positions,
        n_rows=counts.n_rows,
        max_activation=maximum,
        mean_active=record.mean_active,
        n_special=record.special.n_active,
        max_special=record.special.max_activation,
        labels=site.labels.get(record.feature_id, ()),
        n_before=contexts.n_before,
        n_after=contexts.n_after,
        top=by_group.pop(None, []),
        intervals=[
            Interval(
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
        misses=[miss_line(miss, vocabulary, maximum) for miss in data.evidence.near_misses],
        rare=rare_scale(record, site.overview),
        neighbours=neighbour_lists(record, site.names),
        listed_by=record.neighbours.listed_by,
        n_listed_by=record.neighbours.n_listed_by,
        neuron_weights=weights,
        neuron_correlations=correlations,
        other_title=manifest.config.other.title,
        others=[_other_feature(data, other, vocabulary) for other in data.others.values()],
    )


def peak_loss_changes(data: FeatureData) -> list[float]:
    """Change of the next token's loss without the feature, in nats, at the peak of each top context that has one."""
    ablation = data.evidence.ablation
    if ablation is None:
        return []
    peaks = {
        (i, context.position - context.start)
        for i, context in enumerate(data.record.contexts)
        if context.group == "top"
    }
    tokens = zip(ablation.context, ablation.offset, ablation.loss_change, strict=True)
    return [
        change
        for context, offset, change in tokens
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
        [context_line(context, vocabulary, other.max_activation) for context in other.contexts],
    )


def feature_summary(
    record: FeatureRecord, vocabulary: Vocabulary, labels: tuple[Label, ...]
) -> FeatureSummary:
    """A feature's row in lists: its strongest context, cut short, and the tokens that it promotes most."""
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
        tuple(marked(effect.text) for effect in listed),
        tuple(effect.id for effect in listed),
        labels,
    )


def _effect_row(effect: LogitEffect, largest_size: float) -> EffectRow:
    share = abs(effect.value) / largest_size
    return EffectRow(effect.id, marked(effect.text), effect.value, effect.probability, share)
