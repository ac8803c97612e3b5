"""The site: pages of every feature, the index, the about page, the data beside them; written whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

from sitegen.files import whole_folder
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.render.environment import STATIC_FOLDER, make_environment
from sitegen.render.views import FeatureSummary, Vocabulary, feature_page, feature_summary
from sitegen.store import feature_files, read_feature, read_manifest, read_vocab

FEATURES_PER_INDEX_PAGE = 256
FEATURES_PER_TASK = 64


@dataclass(frozen=True)
class IndexPage:
    """One page of the index."""

    number: int  # from 1
    n_pages: int
    features: list[FeatureSummary]


def render_site(output: OutputFolder) -> int:
    """Renders `data/` to `site/`, whole or not at all; returns the number of pages.

    raises  StoreError if the data is missing, damaged or of another schema
    """
    manifest = read_manifest(output.data)
    paths = feature_files(output.data)
    with whole_folder(output.site) as folder:
        (folder / "features").mkdir()
        shutil.copytree(STATIC_FOLDER, folder / "static")
        shutil.copytree(output.data, folder / "data")
        summaries = _render_features(paths, output.data, folder)
        environment = make_environment()
        n_index_pages = _render_index(environment, folder, summaries, manifest)
        _write(
            folder / "about.html",
            environment.get_template("about.html").render(root="", manifest=manifest),
        )
        _write(
            folder / "404.html",
            environment.get_template("404.html").render(root="", manifest=manifest),
        )
        (folder / ".nojekyll").touch()
    return len(paths) + n_index_pages + 2


def index_page_name(number: int) -> str:
    """File name of an index page; the first is index.html."""
    return "index.html" if number == 1 else f"index-{number}.html"


def _render_features(paths: list[Path], data: Path, folder: Path) -> list[FeatureSummary]:
    """Writes every feature's page, on all cores; returns their lines of the index in order."""
    ids = [int(path.stem) for path in paths]
    tasks = [
        range(first, min(first + FEATURES_PER_TASK, len(paths)))
        for first in range(0, len(paths), FEATURES_PER_TASK)
    ]
    progress = Progress("render", len(paths), "pages")
    summaries: list[FeatureSummary] = []
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=_start_worker, initargs=(data, folder, ids)
    ) as pool:
        for part in pool.map(_render_part, tasks):
            summaries += part
            progress.advance(len(part))
    progress.finish()
    return summaries


class _Worker:
    """What a rendering process keeps: read once, used for every page."""

    def __init__(self, data: Path, folder: Path, ids: list[int]) -> None:
        self.data, self.folder, self.ids = data, folder, ids
        self.manifest = read_manifest(data)
        self.vocabulary = Vocabulary(read_vocab(data), self.manifest["special_ids"])
        self.template = make_environment().get_template("feature.html")

    def render(self, i: int) -> FeatureSummary:
        """Writes the page of the i-th feature."""
        record = read_feature(self.data / "features" / f"{self.ids[i]:05d}.json")
        neighbours = (
            self.ids[i - 1] if i else None,
            self.ids[i + 1] if i + 1 < len(self.ids) else None,
        )
        index_page = index_page_name(i // FEATURES_PER_INDEX_PAGE + 1)
        page = feature_page(record, self.vocabulary, self.manifest, neighbours, index_page)
        _write(
            self.folder / "features" / f"{record.feature_id}.html",
            self.template.render(root="../", manifest=self.manifest, page=page),
        )
        return feature_summary(record, self.vocabulary)


_worker: _Worker | None = None  # one a process, made by its initializer


def _start_worker(data: Path, folder: Path, ids: list[int]) -> None:
    global _worker
    _worker = _Worker(data, folder, ids)


def _render_part(part: range) -> list[FeatureSummary]:
    assert _worker is not None
    return [_worker.render(i) for i in part]


def _render_index(
    environment: Environment,
    folder: Path,
    summaries: list[FeatureSummary],
    manifest: dict[str, Any],
) -> int:
    pages = list(_index_pages(summaries))
    names = [index_page_name(page.number) for page in pages]
    template = environment.get_template("index.html")
    for page, name in zip(pages, names, strict=True):
        _write(folder / name, template.render(root="", manifest=manifest, page=page, names=names))
    return len(pages)


def _index_pages(summaries: list[FeatureSummary]) -> Iterator[IndexPage]:
    n_pages = max(1, -(-len(summaries) // FEATURES_PER_INDEX_PAGE))
    for number in range(1, n_pages + 1):
        first = (number - 1) * FEATURES_PER_INDEX_PAGE
        yield IndexPage(number, n_pages, summaries[first : first + FEATURES_PER_INDEX_PAGE])


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
