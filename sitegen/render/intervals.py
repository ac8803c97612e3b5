"""The intervals of a feature's activation range, from which contexts are sampled. Free of Jinja, for exports too."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from sitegen.records import Histogram


def interval_boundaries(maximum: float, n_intervals: int) -> list[float]:
    """Boundaries of a feature's intervals, one more than there are intervals; [0, maximum] if there are none."""
    return [maximum * i / max(n_intervals, 1) for i in range(max(n_intervals, 1) + 1)]


def shares_between(histogram: Histogram, values: Sequence[float]) -> list[float]:
    """Share of a histogram's total count between each value and the next.

    values  rising, from the histogram's first edge on
    A bin that a value cuts counts in proportion.
    """
    edges, counts = histogram.edges, histogram.counts
    below = [0, *accumulate(counts)]
    if not below[-1]:
        return [0.0] * (len(values) - 1)
    reached = []
    for value in values:
        at = min(bisect_right(edges, value) - 1, len(counts) - 1)
        inside = min((value - edges[at]) / (edges[at + 1] - edges[at]), 1.0)
        reached.append(below[at] + counts[at] * inside)
    return [(high - low) / below[-1] for low, high in pairwise(reached)]
