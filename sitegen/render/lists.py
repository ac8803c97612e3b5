"""Lists of features in pages: the index, and one list for each kind and each range of densities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sitegen.file_names import INDEX_PAGE, LATER_INDEX_PAGES, LIST_PAGES
from sitegen.records import Overview
from sitegen.render.formats import percent
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
    """One page of a list.

    name        its file name
    number      from 1
    n_features  in the whole list
    files       links to all pages of the list, relative to each of them
    """

    title: str
    name: str
    number: int
    features: list[FeatureSummary]
    n_features: int
    files: list[str]


@dataclass(frozen=True)
class FeatureList:
    """Features in order, and the file names of the pages that list them."""

    title: str
    page_name: Callable[[int], str]
    features: list[FeatureSummary]

    def pages(self) -> Iterator[ListPage]:
        """The pages of the list; an empty list has one."""
        n_pages = max(1, -(-len(self.features) // FEATURES_PER_PAGE))
        names = [self.page_name(number) for number in range(1, n_pages + 1)]
        files = [name.rsplit("/", 1)[-1] for name in names]
        for i, name in enumerate(names):
            first = i * FEATURES_PER_PAGE
            part = self.features[first : first + FEATURES_PER_PAGE]
            yield ListPage(self.title, name, i + 1, part, len(self.features), files)


def index_page_name(number: int) -> str:
    """File name of an index page by its number from 1."""
    return INDEX_PAGE if number == 1 else LATER_INDEX_PAGES.name(number)


def list_page_name(name: str, number: int = 1) -> str:
    """File name of a page of any other list."""
    return LIST_PAGES.name(name if number == 1 else f"{name}-page-{number}")


def density_list_name(i: int) -> str:
    """Name of the list of the i-th bin of the density histogram."""
    return f"density-{i}"


def density_range(overview: Overview, i: int) -> tuple[float, float]:
    """The range of densities (low, high] that the i-th bin counts."""
    edges = overview.frequencies.edges
    low, high = (max(10 ** edges[at] - 10 ** edges[0], 0.0) for at in (i, i + 1))
    return low, min(high, 1.0)


def feature_lists(overview: Overview, summaries: list[FeatureSummary]) -> Iterator[FeatureList]:
    """A list for each kind, and one for each bin of the density histogram that is not empty."""
    for kind, title in KIND_TITLES.items():
        chosen = [summary for summary in summaries if summary.kind == kind]
        yield FeatureList(title, partial(list_page_name, kind), chosen)
    by_bin: dict[int, list[FeatureSummary]] = {}
    for summary in summaries:
        if summary.density:
            by_bin.setdefault(overview.frequencies.bin_of(summary.density), []).append(summary)
    for i, chosen in sorted(by_bin.items()):
        low, high = density_range(overview, i)
        title = f"Features with density {percent(low)} to {percent(high)}"
        yield FeatureList(title, partial(list_page_name, density_list_name(i)), chosen)
