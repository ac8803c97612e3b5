"""Histograms and box plots as coordinates of SVG paths, with labelled ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sitegen.records import Box, Histogram

WIDTH, HEIGHT = 320, 96


@dataclass(frozen=True)
class Tick:
    """A labelled position on the horizontal axis; x in 0..WIDTH."""

    x: str
    value: float


@dataclass(frozen=True)
class Chart:
    """A histogram in a box of WIDTH x HEIGHT; heights are on a logarithmic scale, since counts span decades.

    path       the bars as one SVG path, a stroke each, upwards from 0; a bar is one unit wide
    transform  from that path to the box
    ticks      of the horizontal axis
    marks      positions along the axis at which an interval ends
    n_total    total count
    n_tallest  count of the tallest bar
    """

    path: str
    transform: str
    ticks: tuple[Tick, ...]
    marks: tuple[str, ...]
    n_total: int
    n_tallest: int
    width: int = WIDTH
    height: int = HEIGHT


def histogram_chart(
    histogram: Histogram, tick_values: list[float], mark_values: Sequence[float] = ()
) -> Chart | None:
    """The chart of a histogram; None if it is empty."""
    if not histogram.counts or not any(histogram.counts):
        return None
    low, high = histogram.edges[0], histogram.edges[-1]
    span = high - low or 1.0
    tallest = math.log1p(max(histogram.counts))
    path = "".join(
        f"M{i} 0V{HEIGHT * math.log1p(count) / tallest:.0f}"
        for i, count in enumerate(histogram.counts)
        if count
    )
    bar = WIDTH / len(histogram.counts)
    transform = f"matrix({bar:.3f} 0 0 -1 {bar / 2:.2f} {HEIGHT})"
    ticks = tuple(Tick(_short((value - low) / span * WIDTH), value) for value in tick_values)
    marks = tuple(_short((value - low) / span * WIDTH) for value in mark_values)
    total, largest = sum(histogram.counts), max(histogram.counts)
    return Chart(path, transform, ticks, marks, total, largest)


@dataclass(frozen=True)
class BoxMark:
    """Positions of a box plot along an axis."""

    minimum: float
    lower: float
    median: float
    upper: float
    maximum: float


def box_mark(box: Box, low: float, high: float, width: float) -> BoxMark:
    """Positions of a box plot on an axis that runs from `low` at 0 to `high` at `width`."""
    five = (box.minimum, box.lower_quartile, box.median, box.upper_quartile, box.maximum)
    return BoxMark(*(round((value - low) / (high - low) * width, 1) for value in five))


@dataclass(frozen=True)
class Bar:
    """One bar of a chart in percent; x from the left, height from the bottom.

    href  page that lists what the bar counts; empty if there is none
    """

    x: float
    width: float
    height: float
    count: int
    href: str


@dataclass(frozen=True)
class PercentChart:
    """Shares of a whole in bins, on a linear scale, in a box of width x height.

    bars    bars of each group, drawn over each other
    boxes   box plot of each group, or None
    ticks   of the horizontal axis
    levels  (y, percent) of the horizontal grid lines
    """

    bars: tuple[tuple[Bar, ...], ...]
    boxes: tuple[BoxMark | None, ...]
    ticks: tuple[Tick, ...]
    levels: tuple[tuple[float, float], ...]
    width: int
    height: int


def percent_chart(
    groups: Sequence[tuple[Sequence[int], Box | None]],
    edges: Sequence[float],
    ticks: Sequence[float],
    size: tuple[int, int],
    hrefs: Sequence[str] = (),
) -> PercentChart:
    """The chart of each group's counts in percent of that group.

    groups  (counts in bins, box plot) of each group
    edges   of the bins, one more than bins
    hrefs   page that lists each bin
    """
    width, height = size
    low, span = edges[0], edges[-1] - edges[0]
    totals = [sum(counts) for counts, _ in groups]
    tallest = max(
        (100 * max(counts) / total for (counts, _), total in zip(groups, totals, strict=True) if total),
        default=1.0,
    )  # fmt: skip
    step = _round_step(tallest)
    top = step * math.ceil(tallest / step)
    bars = []
    for (counts, _), total in zip(groups, totals, strict=True):
        row = []
        for i, count in enumerate(counts):
            percent = 100 * count / total if total else 0.0
            x, right = ((edges[i + k] - low) / span * width for k in (0, 1))
            bar_height = round(percent / top * height, 2)
            href = hrefs[i] if hrefs else ""
            row.append(Bar(round(x, 1), round(right - x, 1), bar_height, count, href))
        bars.append(tuple(row))
    levels = [step * i for i in range(round(top / step) + 1)]
    return PercentChart(
        tuple(bars),
        tuple(box_mark(box, low, edges[-1], width) if box else None for _, box in groups),
        tuple(Tick(_short((value - low) / span * width), value) for value in ticks),
        tuple((round(height - level / top * height, 1), level) for level in levels),
        width,
        height,
    )


def _round_step(largest: float) -> float:
    """A step of 1, 2 or 5 times a power of ten, about four of which reach `largest`."""
    rough = largest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def _short(value: float) -> str:
    """The value with one decimal, or none if that is 0."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
