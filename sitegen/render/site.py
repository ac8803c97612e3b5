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
from typing import Any

from sitegen.files import whole_folder
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.render.environment import STATIC_FOLDER, TEMPLATES_FOLDER, make_environment
from sitegen.render.feature_files import FeatureFiles
from sitegen.render.folder import SiteFolder, digest, is_signed, signed
from sitegen.render.lists import FEATURES_PER_PAGE, FeatureList, feature_lists, index_page_name
from sitegen.render.overview import overview_page
from sitegen.render.related import FeatureNames
from sitegen.render.scripts import (
    evidence_script,
    evidence_script_name,
    map_script,
    vocabulary_script,
)
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
    feature_files,
    read_bytes,
    read_checksums,
    read_manifest,
    read_overview,
    read_vocab,
)

FEATURES_PER_TASK = 64
FILES_OF_ALL_PAGES = ("manifest.json", "vocab.json", "overview.json")


class PageRenderer:
    """Records to the text of pages. It reads what all pages need once; nothing is written here."""

    def __init__(self, data: Path) -> None:
        self._data = data
        manifest, overview = read_manifest(data), read_overview(data)
        vocabulary = Vocabulary(read_vocab(data), manifest["special_ids"])
        self.site = SiteData(
            manifest, overview, vocabulary, FeatureNames(overview.features, vocabulary)
        )
        self.checksums = read_checksums(data)
        self.paths = feature_files(data)
        self._ids = [int(path.stem) for path in self.paths]
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
        place = (*self._neighbours(i), _index_page_of(i))
        return digest(self._common.encode(), repr(place).encode(), *files.contents())

    def feature(self, i: int, data: FeatureData, key: str) -> bytes:
        """The page of the i-th feature of the data."""
        page = feature_page(data, self.site, self._neighbours(i), _index_page_of(i))
        template = self._environment.get_template("feature.html")
        return signed(template.render(root="../", manifest=self.manifest, page=page), key)

    def others(self, summaries: list[FeatureSummary]) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of every page and script that is no feature's."""
        yield from self._lists(summaries)
        pages = {
            "about.html": {},
            "404.html": {},
            "overview.html": {"page": overview_page(self.site, summaries)},
        }
        for name, values in pages.items():
            yield name, self._page(name, root="", **values)
        yield "load/vocabulary.js", vocabulary_script(self.site)
        yield "load/map.js", map_script(self.site)

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
        return found.render(manifest=self.manifest, **values).encode()

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
        names += [evidence_script_name(summary.feature_id) for summary in summaries]
        site.remove_all_but(names)
    n_pages = sum(name.endswith(".html") for name in names)
    return Rendered(n_pages, n_written + site.n_written)


def _files_beside(data: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file that is neither a page nor a feature's data."""
    for path in sorted(STATIC_FOLDER.rglob("*")):
        if path.is_file():
            yield f"static/{path.relative_to(STATIC_FOLDER).as_posix()}", path.read_bytes()
    for path in [*sorted(data.iterdir()), *sorted((data / "other").glob("*"))]:
        if path.is_file():
            yield f"data/{path.relative_to(data).as_posix()}", path.read_bytes()
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
        files = renderer.files(i)
        key = renderer.key(i, files)
        feature_id = files.feature_id
        is_right = partial(is_signed, key=key)
        if site.keep(feature_page_name(feature_id), is_right):
            data = files.parsed()  # they were examined when the page was made from them
        else:
            as_written = files.are_as_written(renderer.checksums)
            data = files.parsed() if as_written else files.examined()
            site.write(feature_page_name(feature_id), renderer.feature(i, data, key))
        site.write(f"data/features/{feature_id:05d}.json", files.record)
        site.write(evidence_script_name(feature_id), evidence_script(files.evidence))
        summaries.append(feature_summary(data.record, renderer.site.vocabulary))
    return summaries, site.n_written
