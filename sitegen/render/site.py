"""The site: pages of every feature, the index, the about page, the data beside them; what is right already is kept."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sitegen.files import whole_folder
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.records import FeatureRecord
from sitegen.render.environment import STATIC_FOLDER, TEMPLATES_FOLDER, make_environment
from sitegen.render.folder import SiteFolder, digest, is_signed, signed
from sitegen.render.views import FeatureSummary, Vocabulary, feature_page, feature_summary
from sitegen.store import (
    SCHEMA_FOLDER,
    examined_feature,
    feature_files,
    parse_feature,
    read_manifest,
    read_vocab,
)

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
        self._common = digest(
            *((data / name).read_bytes() for name in ("manifest.json", "vocab.json")),
            *(path.read_bytes() for path in _sources()),
            repr([version("jinja2"), version("markupsafe"), unicodedata.unidata_version]).encode(),
        )

    def key(self, i: int, data: bytes) -> str:
        """A hash of all that the page of the i-th feature is made from; `data` is its record's file."""
        place = (*self._neighbours(i), _index_page_of(i))
        return digest(self._common.encode(), repr(place).encode(), data)

    def feature(self, i: int, record: FeatureRecord, key: str) -> bytes:
        """The page of the i-th feature of the data."""
        page = feature_page(
            record, self.vocabulary, self.manifest, self._neighbours(i), _index_page_of(i)
        )
        template = self._environment.get_template("feature.html")
        return signed(template.render(root="../", manifest=self.manifest, page=page), key)

    def others(self, summaries: list[FeatureSummary]) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of every page that is no feature's."""
        pages = list(_index_pages(summaries))
        names = [index_page_name(page.number) for page in pages]
        index = self._environment.get_template("index.html")
        for page, name in zip(pages, names, strict=True):
            text = index.render(root="", manifest=self.manifest, page=page, names=names)
            yield name, text.encode()
        for name in ("about.html", "404.html"):
            text = self._environment.get_template(name).render(root="", manifest=self.manifest)
            yield name, text.encode()

    def _neighbours(self, i: int) -> tuple[int | None, int | None]:
        return (
            self._ids[i - 1] if i else None,
            self._ids[i + 1] if i + 1 < len(self._ids) else None,
        )


@dataclass(frozen=True)
class Rendered:
    """What a render came to."""

    n_pages: int
    n_written: int  # files that were not there already as they should be


def render_site(output: OutputFolder) -> Rendered:
    """Renders `data/` to `site/`: what has changed, and what an interrupted render left undone.

    raises  StoreError if the data is missing, damaged or of another schema
    """
    renderer = PageRenderer(output.data)
    with whole_folder(output.site, resume=True) as folder:
        site = SiteFolder(folder, output.site)
        summaries, n_written = _render_features(len(renderer.paths), output, folder)
        names = [feature_page_name(summary.feature_id) for summary in summaries]
        others = [*renderer.others(summaries), *_files_beside(output.data)]
        for name, content in others:
            site.write(name, content)
            names.append(name)
        names += [f"data/features/{path.name}" for path in renderer.paths]
        site.remove_all_but(names)
    n_pages = sum(name.endswith(".html") for name in names)
    return Rendered(n_pages, n_written + site.n_written)


def _files_beside(data: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file that is neither a page nor a feature's data."""
    for path in sorted(STATIC_FOLDER.rglob("*")):
        if path.is_file():
            yield f"static/{path.relative_to(STATIC_FOLDER).as_posix()}", path.read_bytes()
    for path in sorted(data.iterdir()):
        if path.is_file():
            yield f"data/{path.name}", path.read_bytes()
    yield ".nojekyll", b""


def _sources() -> list[Path]:
    """The code and the templates that decide what a page looks like."""
    package = Path(__file__).parent
    return [
        *sorted(TEMPLATES_FOLDER.rglob("*.html")),
        *sorted(package.glob("*.py")),
        *sorted(SCHEMA_FOLDER.glob("*.json")),
        *(package.parent / name for name in ("records.py", "store.py")),
    ]


def _index_page_of(i: int) -> str:
    """The index page that lists the i-th feature."""
    return index_page_name(i // FEATURES_PER_INDEX_PAGE + 1)


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


def _render_features(
    n_features: int, output: OutputFolder, folder: Path
) -> tuple[list[FeatureSummary], int]:
    """Makes every feature's page and data stand, on all cores; (their lines of the index in order, files written)."""
    progress = Progress("render", n_features, "pages")
    summaries: list[FeatureSummary] = []
    n_written = 0
    with ProcessPoolExecutor(
        os.cpu_count(), initializer=_start_worker, initargs=(output, folder)
    ) as pool:
        for part, n_written_of in pool.map(_render_part, feature_tasks(n_features)):
            summaries += part
            n_written += n_written_of
            progress.advance(len(part))
    progress.finish()
    return summaries, n_written


_worker: tuple[PageRenderer, OutputFolder, Path] | None = None  # one a process, by its initializer


def _start_worker(output: OutputFolder, folder: Path) -> None:
    global _worker
    _worker = PageRenderer(output.data), output, folder


def _render_part(part: range) -> tuple[list[FeatureSummary], int]:
    assert _worker is not None
    renderer, output, folder = _worker
    site = SiteFolder(folder, output.site)
    summaries = []
    for i in part:
        path = renderer.paths[i]
        data = path.read_bytes()
        key = renderer.key(i, data)
        name = feature_page_name(int(path.stem))
        is_right = partial(is_signed, key=key)
        if site.keep(name, is_right):
            record = parse_feature(data, path)  # it was examined when the page was made from it
        else:
            record = examined_feature(data, path)
            site.write(name, renderer.feature(i, record, key))
        site.write(f"data/features/{path.name}", data)
        summaries.append(feature_summary(record, renderer.vocabulary))
    return summaries, site.n_written


def _index_pages(summaries: list[FeatureSummary]) -> Iterator[IndexPage]:
    n_pages = max(1, -(-len(summaries) // FEATURES_PER_INDEX_PAGE))
    for number in range(1, n_pages + 1):
        first = (number - 1) * FEATURES_PER_INDEX_PAGE
        yield IndexPage(number, summaries[first : first + FEATURES_PER_INDEX_PAGE])
