"""Lists of features, cut into pages: the index, and those of a kind or a density."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sitegen.records import Overview
from sitegen.render.environment import percent
from sitegen.render.views import FeatureSummary

FEATURES_PER_PAGE = 256
KIND_TITLES = {
    "dead": "Dead features",
    "rare": "Rare features",
    "ordinary": "Ordinary features",
    "dense": "Dense features",
}


@dataclass(frozen=True)
class ListPage:
    """One page of a list."""

    title: str
    name: str  # its file
    number: int  # from 1
    features: list[FeatureSummary]
    n_features: int  # in the whole list
    files: list[str]  # of all pages, each as it is linked from the others


@dataclass(frozen=True)
class FeatureList:
    """Features in order, and how the pages that list them are called."""

    title: str
    page_name: Callable[[int], str]
    features: list[FeatureSummary]

    def pages(self) -> Iterator[ListPage]:
        """The list in pages; an empty list has one."""
        n_pages = max(1, -(-len(self.features) // FEATURES_PER_PAGE))
        names = [self.page_name(number) for number in range(1, n_pages + 1)]
        files = [name.rsplit("/", 1)[-1] for name in names]
        for i, name in enumerate(names):
            first = i * FEATURES_PER_PAGE
            part = self.features[first : first + FEATURES_PER_PAGE]
            yield ListPage(self.title, name, i + 1, part, len(self.features), files)


def index_page_name(number: int) -> str:
    """File name of an index page; the first is index.html."""
    return "index.html" if number == 1 else f"index-{number}.html"


def list_page_name(name: str, number: int = 1) -> str:
    """File name of a page of another list."""
    return f"lists/{name}.html" if number == 1 else f"lists/{name}-page-{number}.html"


def density_list_name(i: int) -> str:
    """The list of the i-th bin of the frequencies' histogram."""
    return f"density-{i}"


def density_range(overview: Overview, i: int) -> tuple[float, float]:
    """The densities, from just above the first to the second, that the i-th bin counts."""
    edges = overview.frequencies.edges
    low, high = (max(10 ** edges[at] - 10 ** edges[0], 0.0) for at in (i, i + 1))
    return low, min(high, 1.0)


def feature_lists(overview: Overview, summaries: list[FeatureSummary]) -> Iterator[FeatureList]:
    """A list for each kind, and one for each bin of the frequencies' histogram that counts anything."""
    for kind, title in KIND_TITLES.items():
        chosen = [summary for summary in summaries if summary.kind == kind]
        yield FeatureList(title, partial(list_page_name, kind), chosen)
    by_bin: dict[int, list[FeatureSummary]] = {}
    for summary in summaries:
        if summary.density:
            by_bin.setdefault(overview.frequencies.bin_of(summary.density), []).append(summary)
    for i, chosen in sorted(by_bin.items()):
        low, high = density_range(overview, i)
        title = f"Density from {percent(low)} to {percent(high)}"
        yield FeatureList(title, partial(list_page_name, density_list_name(i)), chosen)
