"""The site: pages of every feature, the index, the about page, the data beside them; what is right already is kept."""

from __future__ import annotations

import gc
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from sitegen.files import whole_folder
from sitegen.labels import given_labels, kept_labels, require_known, write_labels
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.records import RowsRecord
from sitegen.render.assets import assets
from sitegen.render.environment import TEMPLATES_FOLDER, make_environment
from sitegen.render.feature_files import FeatureFiles
from sitegen.render.folder import SiteFolder, digest, is_signed, signed
from sitegen.render.lists import FEATURES_PER_PAGE, FeatureList, feature_lists, index_page_name
from sitegen.render.live import live_scripts
from sitegen.render.overview import overview_page
from sitegen.render.related import FeatureNames
from sitegen.render.scripts import evidence_script, rows_script, terms_script, whole_scripts
from sitegen.render.search import SearchIndex
from sitegen.render.views import (
    FeatureData,
    FeatureSummary,
    SiteData,
    feature_page,
    feature_summary,
)
from sitegen.render.vocabulary import Vocabulary
from sitegen.store import (
    SCHEMA_FOLDER,
    examined,
    feature_files,
    read_bytes,
    read_checksums,
    read_live_settings,
    read_manifest,
    read_overview,
    read_vocab,
    rows_files,
)
from sitegen.workers import worker_pool

FEATURES_PER_TASK = 128
FILES_OF_ALL_PAGES = ("manifest.json", "vocab.json", "overview.json")


class PageRenderer:
    """Records to the text of pages. It reads what all pages need once; nothing is written here."""

    def __init__(self, output: OutputFolder) -> None:
        data = self._data = output.data
        manifest, overview = read_manifest(data), read_overview(data)
        vocabulary = Vocabulary(read_vocab(data), manifest["special_ids"])
        self.checksums = read_checksums(data)
        self.paths = feature_files(data)
        self._ids = [int(path.stem) for path in self.paths]
        key = autoencoder_key(manifest)
        labels = kept_labels(output.labels, key, set(self._ids))
        names = FeatureNames(overview.features, vocabulary)
        by_feature = groupby(labels, key=lambda label: label.feature)
        self.site = SiteData(
            manifest,
            overview,
            vocabulary,
            names,
            {feature: tuple(group) for feature, group in by_feature},
            key,
            read_live_settings(data),
        )
        self.rows_paths = rows_files(data)
        self._environment = make_environment()
        self._common = digest(
            *(read_bytes(data / name) for name in FILES_OF_ALL_PAGES),
            *(path.read_bytes() for path in _sources()),
            repr([version("jinja2"), version("markupsafe"), unicodedata.unidata_version]).encode(),
        )

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the data."""
        return self.site.manifest

    def files(self, i: int) -> FeatureFiles:
        """The files of the i-th feature.

        raises  StoreError if one is missing or the record is no JSON
        """
        return FeatureFiles.read(self._data, self._ids[i])

    def key(self, i: int, files: FeatureFiles) -> str:
        """A hash of all that the page of the i-th feature is made from."""
        labels = self.site.labels.get(files.feature_id, ())
        place = (*self._neighbours(i), _index_page_of(i), labels)
        return digest(self._common.encode(), repr(place).encode(), *files.contents())

    def feature(self, i: int, data: FeatureData, key: str) -> bytes:
        """The page of the i-th feature of the data."""
        page = feature_page(i, data, self.site, self._neighbours(i), _index_page_of(i))
        template = self._environment.get_template("feature.html")
        text = template.render(root="../", site=self.site, manifest=self.manifest, page=page)
        return signed(text, key)

    def summary(self, data: FeatureData) -> FeatureSummary:
        """A feature's line in lists."""
        labels = self.site.labels.get(data.record.feature_id, ())
        return feature_summary(data.record, self.site.vocabulary, labels)

    def rows(self, path: Path) -> tuple[str, bytes]:
        """(file name, content) of the script with the rows of a file.

        raises  StoreError if the file is damaged
        """
        content = read_bytes(path)
        record = examined(RowsRecord, content, path)
        return rows_script(int(path.stem), record, len(self.site.vocabulary.tokens))

    def others(self, features: RenderedFeatures) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of every page and script that is about no single feature and no row."""
        summaries = features.summaries
        yield from self._lists(summaries)
        about = self._page("about.html", root="")
        yield "about.html", about
        yield terms_script(about.decode())
        pages = {
            "404.html": {},
            "token.html": {},
            "overview.html": {"page": overview_page(self.site, summaries)},
        }
        if self.site.live is not None:
            pages["active.html"] = {}
        for name, values in pages.items():
            yield name, self._page(name, root="", **values)
        yield from whole_scripts(self.site, summaries)
        yield from features.search.scripts(self.site.vocabulary.tokens)
        yield from assets()

    def live_scripts(self) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of all that pages load to run the model; apart from the others, since it is large.

        raises  StoreError if the model's files are damaged
        """
        return live_scripts(self._data, self.manifest["special_ids"])

    def _lists(self, summaries: list[FeatureSummary]) -> Iterator[tuple[str, bytes]]:
        """The index, and the lists of features of a kind or a density."""
        index = FeatureList("", index_page_name, summaries)
        for page in index.pages():
            yield page.name, self._page("index.html", root="", page=page)
        for part in feature_lists(self.site.overview, summaries):
            for page in part.pages():
                yield page.name, self._page("list.html", root="../", page=page)

    def _page(self, template: str, **values: Any) -> bytes:
        found = self._environment.get_template(template)
        return found.render(site=self.site, manifest=self.manifest, **values).encode()

    def _neighbours(self, i: int) -> tuple[int | None, int | None]:
        return (
            self._ids[i - 1] if i else None,
            self._ids[i + 1] if i + 1 < len(self._ids) else None,
        )


@dataclass
class RenderedFeatures:
    """What other pages say of some features, in order, and the files that they took."""

    summaries: list[FeatureSummary] = field(default_factory=list)
    search: SearchIndex = field(default_factory=SearchIndex)
    names: list[str] = field(default_factory=list)
    n_written: int = 0

    def merge(self, other: RenderedFeatures) -> None:
        """Takes in features that come after these."""
        self.summaries += other.summaries
        self.search.merge(other.search)
        self.names += other.names
        self.n_written += other.n_written


@dataclass(frozen=True)
class Rendered:
    """What a render came to."""

    n_pages: int
    n_written: int  # files that were not there already as they should be


def render_site(output: OutputFolder) -> Rendered:
    """Renders `data/` to `site/`: what has changed, and what an interrupted render left undone.

    raises  StoreError if the data is missing, damaged or of another schema
    """
    renderer = PageRenderer(output)
    with _no_collection(), whole_folder(output.site, resume=True) as folder:
        site = SiteFolder(folder, output.site)
        features = _render_features(renderer, output, folder)
        names = features.names
        for name, content in renderer.others(features):
            site.write(name, content)
            names.append(name)
        site.remove_all_but(names)
    n_pages = sum(name.endswith(".html") for name in names)
    return Rendered(n_pages, features.n_written + site.n_written)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles: a render makes none, and the million parts of the search index make each one long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_labels(path: Path, output: OutputFolder) -> None:
    """Takes a labels file's labels in the place of those that pages show so far.

    raises  UsageError if it cannot be read, holds none, or is of a feature that was not swept
    """
    labels = given_labels(path)
    require_known(labels, {int(file.stem) for file in feature_files(output.data)}, path)
    write_labels(labels, autoencoder_key(read_manifest(output.data)), output.labels)


def autoencoder_key(manifest: dict[str, Any]) -> str:
    """What tells a subject's features from those of another."""
    return digest(manifest["preset"].encode(), repr(manifest["sources"]).encode())[:8]


def _files_beside(output: OutputFolder) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file that is published as it stands beside the pages."""
    data = output.data
    for path in [*sorted(data.iterdir()), *sorted((data / "other").glob("*"))]:
        if path.is_file():
            yield f"data/{path.relative_to(data).as_posix()}", path.read_bytes()
    if output.labels.is_file():
        yield output.labels.name, output.labels.read_bytes()
    yield ".nojekyll", b""


def _sources() -> list[Path]:
    """The code and the templates that decide what a page looks like."""
    package = Path(__file__).parent
    return [
        *sorted(TEMPLATES_FOLDER.rglob("*.html")),
        *sorted(package.glob("*.py")),
        *sorted(SCHEMA_FOLDER.glob("*.json")),
        *(package.parent / name for name in ("labels.py", "records.py", "store.py")),
    ]


def _index_page_of(i: int) -> str:
    """The index page that lists the i-th feature."""
    return index_page_name(i // FEATURES_PER_PAGE + 1)


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
    renderer: PageRenderer, output: OutputFolder, folder: Path
) -> RenderedFeatures:
    """Makes every feature's page and data and every row stand, and what hangs on no feature, on all cores."""
    progress = Progress("render", len(renderer.paths), "pages")
    features = RenderedFeatures()
    with worker_pool(_start_worker, output, folder) as pool:
        apart = [pool.submit(_write_apart, what) for what in ("live", "beside")]
        for part in pool.map(_render_part, feature_tasks(len(renderer.paths))):
            features.merge(part)
            progress.advance(len(part.summaries))
        for name, n_written in pool.map(_render_rows, renderer.rows_paths, chunksize=16):
            features.names.append(name)
            features.n_written += n_written
        for task in apart:
            names, n_written = task.result()
            features.names += names
            features.n_written += n_written
    progress.finish()
    return features


_worker: tuple[PageRenderer, OutputFolder, Path] | None = None  # one a process, by its initializer


def _start_worker(output: OutputFolder, folder: Path) -> None:
    global _worker
    _worker = PageRenderer(output), output, folder


def _render_part(part: range) -> RenderedFeatures:
    assert _worker is not None
    renderer, output, folder = _worker
    site, features = SiteFolder(folder, output.site), RenderedFeatures()
    for i in part:
        files = renderer.files(i)
        key = renderer.key(i, files)
        name = feature_page_name(files.feature_id)
        if site.keep(name, partial(is_signed, key=key)):
            data = files.parsed()  # they were examined when the page was made from them
        else:
            as_written = files.are_as_written(renderer.checksums)
            data = files.parsed() if as_written else files.examined()
            site.write(name, renderer.feature(i, data, key))
        beside = [
            (f"data/features/{files.feature_id:05d}.json", files.record),
            evidence_script(files.feature_id, files.evidence),
        ]
        for beside_name, content in beside:
            site.write(beside_name, content)
        features.names += [name, *(beside_name for beside_name, _ in beside)]
        features.summaries.append(renderer.summary(data))
        features.search.add(i, data.record, renderer.site.vocabulary)
    features.n_written = site.n_written
    return features


def _write_apart(what: str) -> tuple[list[str], int]:
    """(names of the model's files or of those that are published as they stand, how many were written)."""
    assert _worker is not None
    renderer, output, folder = _worker
    site = SiteFolder(folder, output.site)
    names = []
    for name, content in renderer.live_scripts() if what == "live" else _files_beside(output):
        site.write(name, content)
        names.append(name)
    return names, site.n_written


def _render_rows(path: Path) -> tuple[str, int]:
    """(name of the script with a file's rows, whether it was written)."""
    assert _worker is not None
    renderer, output, folder = _worker
    site = SiteFolder(folder, output.site)
    name, content = renderer.rows(path)
    site.write(name, content)
    return name, site.n_written
