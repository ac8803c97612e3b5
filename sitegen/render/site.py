"""The site: pages of every feature, the index, the about page, the data beside them; written whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sitegen.files import whole_folder
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.records import FeatureRecord
from sitegen.render.environment import STATIC_FOLDER, make_environment
from sitegen.render.views import FeatureSummary, Vocabulary, feature_page, feature_summary
from sitegen.store import feature_files, read_feature, read_manifest, read_vocab

FEATURES_PER_INDEX_PAGE = 256
FEATURES_PER_TASK = 64


@dataclass(frozen=True)
class IndexPage:
    """One page of the index."""

    number: int  # from 1
    features: list[FeatureSummary]


class PageRenderer:
    """Records to the text of pages. It reads what all pages need once; nothing is written here."""

    def __init__(self, data: Path) -> None:
        self.manifest = read_manifest(data)
        self.vocabulary = Vocabulary(read_vocab(data), self.manifest["special_ids"])
        self.paths = feature_files(data)
        self._ids = [int(path.stem) for path in self.paths]
        self._environment = make_environment()

    def feature(self, i: int, record: FeatureRecord) -> str:
        """The page of the i-th feature of the data."""
        neighbours = (
            self._ids[i - 1] if i else None,
            self._ids[i + 1] if i + 1 < len(self._ids) else None,
        )
        index_page = index_page_name(i // FEATURES_PER_INDEX_PAGE + 1)
        page = feature_page(record, self.vocabulary, self.manifest, neighbours, index_page)
        template = self._environment.get_template("feature.html")
        return template.render(root="../", manifest=self.manifest, page=page)

    def others(self, summaries: list[FeatureSummary]) -> Iterator[tuple[str, str]]:
        """(file name, text) of every page that is no feature's."""
        pages = list(_index_pages(summaries))
        names = [index_page_name(page.number) for page in pages]
        index = self._environment.get_template("index.html")
        for page, name in zip(pages, names, strict=True):
            yield name, index.render(root="", manifest=self.manifest, page=page, names=names)
        for name in ("about.html", "404.html"):
            yield name, self._environment.get_template(name).render(root="", manifest=self.manifest)


def render_site(output: OutputFolder) -> int:
    """Renders `data/` to `site/`, whole or not at all; returns the number of pages.

    raises  StoreError if the data is missing, damaged or of another schema
    """
    renderer = PageRenderer(output.data)
    with whole_folder(output.site) as folder:
        (folder / "features").mkdir()
        shutil.copytree(STATIC_FOLDER, folder / "static")
        shutil.copytree(output.data, folder / "data")
        summaries = _render_features(len(renderer.paths), output.data, folder)
        n_others = 0
        for name, text in renderer.others(summaries):
            (folder / name).write_bytes(text.encode())
            n_others += 1
        (folder / ".nojekyll").touch()
    return len(renderer.paths) + n_others


def index_page_name(number: int) -> str:
    """File name of an index page; the first is index.html."""
    return "index.html" if number == 1 else f"index-{number}.html"


def feature_page_name(feature_id: int) -> str:
    """File name of a feature's page."""
    return f"features/{feature_id}.html"


def feature_tasks(n_features: int) -> list[range]:
    """The features, by their place in the data, in parts for the processes of a pool."""
    return [
        range(first, min(first + FEATURES_PER_TASK, n_features))
        for first in range(0, n_features, FEATURES_PER_TASK)
    ]


def _render_features(n_features: int, data: Path, folder: Path) -> list[FeatureSummary]:
    """Writes every feature's page, on all cores; returns their lines of the index in order."""
    progress = Progress("render", n_features, "pages")
    summaries: list[FeatureSummary] = []
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=_start_worker, initargs=(data, folder)
    ) as pool:
        for part in pool.map(_render_part, feature_tasks(n_features)):
            summaries += part
            progress.advance(len(part))
    progress.finish()
    return summaries


_worker: tuple[PageRenderer, Path] | None = None  # one a process, made by its initializer


def _start_worker(data: Path, folder: Path) -> None:
    global _worker
    _worker = PageRenderer(data), folder


def _render_part(part: range) -> list[FeatureSummary]:
    assert _worker is not None
    renderer, folder = _worker
    summaries = []
    for i in part:
        record = read_feature(renderer.paths[i])
        (folder / feature_page_name(record.feature_id)).write_bytes(
            renderer.feature(i, record).encode()
        )
        summaries.append(feature_summary(record, renderer.vocabulary))
    return summaries


def _index_pages(summaries: list[FeatureSummary]) -> Iterator[IndexPage]:
    n_pages = max(1, -(-len(summaries) // FEATURES_PER_INDEX_PAGE))
    for number in range(1, n_pages + 1):
        first = (number - 1) * FEATURES_PER_INDEX_PAGE
        yield IndexPage(number, summaries[first : first + FEATURES_PER_INDEX_PAGE])
