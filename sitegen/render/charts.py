"""Histograms as the coordinates of one SVG path, with labelled ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sitegen.records import Histogram

WIDTH, HEIGHT = 320, 96


@dataclass(frozen=True)
class Tick:
    """A labelled place on the horizontal axis."""

    x: float  # 0..WIDTH
    value: float


@dataclass(frozen=True)
class Chart:
    """A histogram in a box of WIDTH x HEIGHT; heights are on a logarithmic scale, since counts span decades.

    path      the bars, as an SVG path
    ticks     of the horizontal axis
    n_total   of all bars
    n_tallest of the tallest bar
    """

    path: str
    ticks: tuple[Tick, ...]
    n_total: int
    n_tallest: int
    width: int = WIDTH
    height: int = HEIGHT


def histogram_chart(histogram: Histogram, tick_values: list[float]) -> Chart | None:
    """The chart of a histogram; None where it is empty."""
    if not histogram.counts or not any(histogram.counts):
        return None
    low, high = histogram.edges[0], histogram.edges[-1]
    span = high - low or 1.0
    tallest = math.log1p(max(histogram.counts))
    bar = WIDTH / len(histogram.counts)
    bars = enumerate(histogram.counts)
    path = "".join(
        f"M{_short(i * bar)} {HEIGHT}V{_short(HEIGHT - HEIGHT * math.log1p(count) / tallest)}"
        f"h{_short(bar * 0.86)}V{HEIGHT}"
        for i, count in bars
        if count
    )
    ticks = tuple(Tick(round((value - low) / span * WIDTH, 1), value) for value in tick_values)
    return Chart(path, ticks, sum(histogram.counts), max(histogram.counts))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
