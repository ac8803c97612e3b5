"""What pages show, as plain values in the order they are shown; templates loop, test and format, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sitegen.records import ContextRecord, FeatureRecord, Kind, LogitEffect, TokenText
from sitegen.render.charts import Chart, histogram_chart
from sitegen.render.text import TokenGroup, group_tokens, marked, visible

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


@dataclass(frozen=True)
class ContextLine:
    """One context as a line."""

    row: int
    position: int
    activation: float
    copies: int
    pieces: list[Piece]


@dataclass(frozen=True)
class Interval:
    """The samples of one slice of (0, maximum]."""

    number: int  # 1 is the lowest
    low: float
    high: float
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
    top: list[ContextLine]
    intervals: list[Interval]  # strongest first
    largest: list[EffectRow]
    smallest: list[EffectRow]
    activation_chart: Chart | None
    logit_chart: Chart | None


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


class Vocabulary:
    """Token texts by id, and which ids are special."""

    def __init__(self, tokens: list[TokenText], special_ids: Sequence[int]) -> None:
        self.tokens = tokens
        self.special_ids = frozenset(special_ids)
        self._visible = [visible(token) for token in tokens]
        self._fragments = frozenset(i for i, token in enumerate(tokens) if type(token) is bytes)

    def groups(self, ids: Sequence[int]) -> list[TokenGroup]:
        """The tokens in groups of whole characters."""
        if self._fragments.isdisjoint(ids):  # nearly always, and several times as fast
            return [TokenGroup(i, i, self._visible[token]) for i, token in enumerate(ids)]
        return group_tokens([self.tokens[token] for token in ids])


def feature_page(
    record: FeatureRecord,
    vocabulary: Vocabulary,
    manifest: dict[str, Any],
    neighbours: tuple[int | None, int | None],
    index_page: str,
) -> FeaturePage:
    """The view of one feature."""
    maximum = record.max_activation
    counts = manifest["counts"]
    n_intervals = manifest["config"]["contexts"]["n_intervals"]
    by_group = {
        key: [_line(context, vocabulary, maximum) for context in group]
        for key, group in groupby(record.contexts, key=lambda context: context.interval)
    }
    effects = record.logits
    largest_size = max((abs(e.value) for e in [*effects.top, *effects.bottom]), default=0.0) or 1.0
    boundaries = (
        [maximum * i / n_intervals for i in range(n_intervals + 1)]
        if n_intervals
        else [0.0, maximum]
    )
    logit_edges = effects.histogram.edges
    return FeaturePage(
        feature_id=record.feature_id,
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
        top=by_group.pop(None, []),
        intervals=[
            Interval(i + 1, boundaries[i], boundaries[i + 1], lines)
            for i, lines in sorted(by_group.items(), reverse=True)
            if i is not None
        ],
        largest=[_effect_row(effect, largest_size) for effect in effects.top],
        smallest=[_effect_row(effect, largest_size) for effect in effects.bottom],
        activation_chart=histogram_chart(record.histogram, [0.0, maximum / 2, maximum]),
        logit_chart=histogram_chart(
            effects.histogram,
            [logit_edges[0], 0.0, logit_edges[-1]] if logit_edges[0] < 0 < logit_edges[-1] else [],
        ),
    )


def feature_summary(record: FeatureRecord, vocabulary: Vocabulary) -> FeatureSummary:
    """The line of one feature in the index: its strongest context, cut short, and what it promotes."""
    before = peak = after = ""
    if record.contexts:
        context = record.contexts[0]
        at = context.position - context.start
        groups = vocabulary.groups(context.tokens)
        before = "".join(g.text for g in groups if at - LINE_BEFORE <= g.first and g.last < at)
        peak = "".join(g.text for g in groups if g.first <= at <= g.last)
        after = "".join(g.text for g in groups if at < g.first <= at + LINE_AFTER)
    promoted = tuple(marked(effect.token) for effect in record.logits.top[:N_LISTED_EFFECTS])
    return FeatureSummary(
        record.feature_id,
        record.kind,
        record.density,
        record.max_activation,
        before,
        peak,
        after,
        promoted,
    )


def _line(context: ContextRecord, vocabulary: Vocabulary, maximum: float) -> ContextLine:
    peak = context.position - context.start
    special_ids = vocabulary.special_ids
    pieces: list[Piece] = []
    silent: list[str] = []
    for first, last, text in vocabulary.groups(context.tokens):
        activation = context.activations[first]
        is_special = context.tokens[first] in special_ids
        if last > first:
            activation = max(context.activations[first : last + 1])
            is_special = not special_ids.isdisjoint(context.tokens[first : last + 1])
        if not activation and not is_special:
            silent.append(text)
            continue
        if silent:
            pieces.append(Piece("".join(silent), 0.0, 0.0, False, False))
            silent = []
        heat = min(activation / maximum, 1.0) if maximum else 0.0
        pieces.append(Piece(text, heat, activation, first <= peak <= last, is_special))
    if silent:
        pieces.append(Piece("".join(silent), 0.0, 0.0, False, False))
    return ContextLine(context.row, context.position, context.activation, context.copies, pieces)


def _effect_row(effect: LogitEffect, largest_size: float) -> EffectRow:
    share = abs(effect.value) / largest_size
    return EffectRow(effect.id, marked(effect.token), effect.value, effect.probability, share)
