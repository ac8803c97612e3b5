"""The view of the overview page: quality, densities, rare direction, map, second autoencoder, published numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

from sitegen.records import Measure, Overview, PublishedNumber, Split
from sitegen.render.charts import Bar, PercentChart, percent_chart
from sitegen.render.formats import percent, significant
from sitegen.render.lists import (
    KIND_TITLES,
    density_list_name,
    density_range,
    list_page_name,
)
from sitegen.render.views import FeatureSummary, SiteData

CHART_SIZE = (640, 180)
MAP_SIZE = 1000
# Densities at which the map's colour changes
DENSITY_CLASSES = (1e-4, 1e-3, 1e-2, 1e-1)
# Fewest rare features whose distribution is described in words
FEWEST_RARE = 10
# Field: name, whether it is a share, definition
QUALITY_ROWS = {
    "loss": ("Loss", False, "next-token cross-entropy of the unmodified model, in nats"),
    "loss_reconstructed": ("Loss, reconstructed", False, "with the activations replaced by their reconstruction"),
    "loss_zero_ablated": ("Loss, zero ablation", False, "with the activations replaced by zeros"),
    "loss_mean_ablated": ("Loss, mean ablation", False, "with the activations replaced by their mean over the sample"),
    "reconstruction_score": ("Reconstruction score", True, "share recovered of the loss increase by zero ablation"),
    "reconstruction_score_mean": ("Score, mean ablation", True, "the same for mean ablation"),
    "l0": ("L0", False, "mean number of active features per token"),
    "explained_variance": ("Explained variance", True, "1 minus squared error / squared distance from the mean"),
    "l2": ("L2", False, "squared reconstruction error per token, summed over dimensions"),
    "l1": ("L1", False, "sum of the activations, weighted as in training"),
}  # fmt: skip


@dataclass(frozen=True)
class QualityRow:
    """One measure of the autoencoder's quality; a share is shown in percent."""

    name: str
    measure: Measure
    is_share: bool
    meaning: str


@dataclass(frozen=True)
class KindLine:
    """Number of features of a kind, and the page that lists them."""

    kind: str
    n_features: int
    href: str


@dataclass(frozen=True)
class FrequencyBar:
    """A bar of the density histogram, and the label shown when it is focused.

    label_x  centre of the label, such that the label stays within the chart
    """

    bar: Bar
    label: str
    label_x: float


@dataclass(frozen=True)
class MapLayer:
    """The features of one density class, as one SVG path of dots; class 0 is the rarest."""

    number: int
    path: str
    label: str
    n_features: int


@dataclass(frozen=True)
class RunSection:
    """Similarity of the two autoencoders' features."""

    title: str
    n_features: int
    n_mutual_cosine: int
    n_mutual_correlation: int
    cosine: PercentChart
    correlation: PercentChart
    cosine_split: Split


@dataclass(frozen=True)
class OverviewPage:
    """Everything that the overview page shows.

    frequency_bars  bars of the density histogram that are not empty
    """

    n_features: int
    n_quality_rows: int
    n_quality_tokens: int
    n_batches: int
    quality: list[QualityRow]
    kinds: list[KindLine]
    frequencies: PercentChart
    frequency_bars: list[FrequencyBar]
    rare: PercentChart | None
    rare_split: Split | None
    rare_sentence: str
    map_method: str
    layers: list[MapLayer]
    map_size: int
    run: RunSection | None
    n_sample_tokens: int
    published: list[PublishedNumber]


def overview_page(site: SiteData, summaries: list[FeatureSummary]) -> OverviewPage:
    """The view of the overview page."""
    overview, seq_len = site.overview, site.manifest.counts.seq_len
    quality, split = overview.quality, overview.rare_cosine
    frequency_chart = _frequency_chart(overview)
    kinds = Counter[str](summary.kind for summary in summaries)
    return OverviewPage(
        n_features=len(summaries),
        n_quality_rows=quality.n_rows,
        n_quality_tokens=quality.n_rows * seq_len,
        n_batches=quality.n_rows // quality.batch_rows,
        quality=_quality_rows(overview),
        kinds=[KindLine(kind, kinds[kind], list_page_name(kind)) for kind in KIND_TITLES],
        frequencies=frequency_chart,
        frequency_bars=_frequency_bars(frequency_chart, overview),
        rare=_split_chart(split) if split else None,
        rare_split=split,
        rare_sentence=rare_sentence(split),
        map_method=overview.map.method if overview.map else "",
        layers=_map_layers(overview),
        map_size=MAP_SIZE,
        run=_run_section(overview),
        n_sample_tokens=overview.n_sample_rows * seq_len,
        published=overview.published,
    )


def rare_sentence(split: Split | None) -> str:
    """A sentence on the rare direction that the numbers support."""
    if split is None or split.rare.box is None:
        return "None of these features is rare."
    rare, n_rare = split.rare.box, split.rare.n_features
    features = "feature is" if n_rare == 1 else "features are"
    if n_rare < FEWEST_RARE or split.others.box is None:
        return f"Only {n_rare} {features} rare: too few to tell whether they share a direction."
    chance = 1 / sqrt(n_rare)
    share = 100 * _share_above(split, split.others.box.upper_quartile)
    median = significant(split.others.box.median)
    numbers = (
        f"the median cosine with the mean of the {n_rare:,} rare encoder columns is {significant(rare.median)} "
        f"for rare features and {median} for the others; unrelated directions would have about "
        f"{significant(chance)} by chance"
    )
    if rare.lower_quartile > split.others.box.upper_quartile and rare.median >= 0.5:
        return f"Rare features share one direction: {numbers}."
    if rare.median > max(split.others.box.upper_quartile, 2 * chance):
        return f"Rare features lean towards one direction but do not all share it: {numbers}."
    return (
        f"Rare features do not share a direction: {numbers}. "
        f"{share:.0f} % of them are above the upper quartile of the others."
    )


def _share_above(split: Split, value: float) -> float:
    """Share of the rare features that are in bins starting at or above a value."""
    counts = split.rare.counts
    above = sum(
        count for edge, count in zip(split.edges[:-1], counts, strict=True) if edge >= value
    )
    return above / max(sum(counts), 1)


def _quality_rows(overview: Overview) -> list[QualityRow]:
    rows = []
    for field, (name, is_share, meaning) in QUALITY_ROWS.items():
        measure = getattr(overview.quality, field)
        if measure is not None:
            rows.append(QualityRow(name, measure, is_share, meaning))
    return rows


def _frequency_chart(overview: Overview) -> PercentChart:
    """Percent of all features in each bin of log density; dead features have the first bar to themselves."""
    found = overview.frequencies
    step = found.edges[1] - found.edges[0]
    edges = [found.edges[0] - step, *found.edges]
    counts = [found.n_dead, *found.counts]
    hrefs = [list_page_name("dead")] + [
        list_page_name(density_list_name(i)) for i in range(len(found.counts))
    ]
    return percent_chart(
        [(counts, None)],
        edges,
        [-6, -5, -4, -3, -2, -1, 0],
        CHART_SIZE,
        [href if count else "" for href, count in zip(hrefs, counts, strict=True)],
    )


def _frequency_bars(chart: PercentChart, overview: Overview) -> list[FrequencyBar]:
    """The bars that are not empty, with labels. The first bar counts the dead features, the others the bins."""
    bars = []
    for i, bar in enumerate(chart.bars[0]):
        count = f"{bar.count:,} {'feature' if bar.count == 1 else 'features'}"
        low, high = density_range(overview, i - 1) if i else (0.0, 0.0)
        label = f"density {percent(low)} to {percent(high)}: {count}" if i else f"dead: {count}"
        middle = bar.x + bar.width / 2
        bars.append(FrequencyBar(bar, label, min(max(middle, 150), chart.width - 150)))
    return [labelled for labelled in bars if labelled.bar.count]


def _split_chart(split: Split) -> PercentChart:
    low, high = split.edges[0], split.edges[-1]
    ticks = [low + (high - low) * i / 4 for i in range(5)]
    groups = [(group.counts, group.box) for group in (split.others, split.rare)]
    return percent_chart(groups, split.edges, ticks, CHART_SIZE)


def _map_layers(overview: Overview) -> list[MapLayer]:
    """The dots by density class. Rarer features are drawn last, so that the more numerous others do not cover them."""
    if overview.map is None:
        return []
    dots = sorted(
        (-sum(density >= border for border in DENSITY_CLASSES), f"M{round(x * MAP_SIZE)} {round(y * MAP_SIZE)}h0")
        for density, x, y in zip(overview.features.density, overview.map.x, overview.map.y, strict=True)
    )  # fmt: skip
    labels = ["below 0.01 %", "0.01 to 0.1 %", "0.1 to 1 %", "1 to 10 %", "10 % and more"]
    layers = []
    for negative_class, group in groupby(dots, key=lambda dot: dot[0]):
        path = [dot for _, dot in group]
        number = -negative_class
        layers.append(MapLayer(number, "".join(path), labels[number], len(path)))
    return layers


def _run_section(overview: Overview) -> RunSection | None:
    other = overview.other
    if other is None:
        return None
    return RunSection(
        other.title,
        other.n_features,
        other.n_mutual_cosine,
        other.n_mutual_correlation,
        _split_chart(other.cosine),
        _split_chart(other.correlation),
        other.cosine,
    )
