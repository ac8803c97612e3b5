"""Pages and the scripts they load: what each is made of. Nothing is written here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from sitegen.file_names import (
    ABOUT_PAGE,
    ACTIVE_PAGE,
    INDEX_PAGE,
    MANIFEST,
    MISSING_PAGE,
    OVERVIEW,
    OVERVIEW_PAGE,
    ROWS_SCRIPTS,
    TOKEN_PAGE,
    VOCAB,
)
from sitegen.labels import kept_labels
from sitegen.output import OutputFolder
from sitegen.records import Manifest, RowsRecord
from sitegen.render.assets import assets
from sitegen.render.digests import autoencoder_key, digest
from sitegen.render.environment import TEMPLATES_FOLDER, make_environment
from sitegen.render.feature_files import FeatureFiles
from sitegen.render.folder import signed
from sitegen.render.lists import FEATURES_PER_PAGE, FeatureList, feature_lists, index_page_name
from sitegen.render.live import live_scripts
from sitegen.render.overview import overview_page
from sitegen.render.related import FeatureNames
from sitegen.render.scripts import call, terms_script, whole_scripts
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
    decode,
    feature_files,
    read_bytes,
    read_live_settings,
    read_manifest,
    read_overview,
    read_vocab,
    rows_files,
)

FILES_OF_ALL_PAGES = (MANIFEST, VOCAB, OVERVIEW)


@dataclass
class RenderedFeatures:
    """Some rendered features, in order: the facts that other pages show of them, and the names of their files."""

    summaries: list[FeatureSummary] = field(default_factory=list)
    search: SearchIndex = field(default_factory=SearchIndex)
    names: list[str] = field(default_factory=list)
    n_written: int = 0

    def merge(self, other: RenderedFeatures) -> None:
        """Append features that come after these."""
        self.summaries += other.summaries
        self.search.merge(other.search)
        self.names += other.names
        self.n_written += other.n_written


class PageRenderer:
    """Renders records to the text of pages. What all pages need is read once, when it is made."""

    def __init__(self, output: OutputFolder) -> None:
        data = self._data = output.data
        manifest, overview = read_manifest(data), read_overview(data)
        vocabulary = Vocabulary(read_vocab(data), manifest.special_ids)
        self.paths = feature_files(data)
        self._ids = [int(path.stem) for path in self.paths]
        key = autoencoder_key(manifest)
        labels = kept_labels(output.labels, key, set(self._ids))
        by_feature = groupby(labels, key=lambda label: label.feature)
        self.site = SiteData(
            manifest,
            overview,
            vocabulary,
            FeatureNames(overview.features, vocabulary),
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
    def manifest(self) -> Manifest:
        """The manifest of the data."""
        return self.site.manifest

    def files(self, i: int) -> FeatureFiles:
        """The files of the i-th feature.

        raises  StoreError if one is missing or the record does not fit its schema
        """
        return FeatureFiles.read(self._data, self._ids[i])

    def key(self, i: int, files: FeatureFiles) -> str:
        """A hash of everything that the page of the i-th feature is made from."""
        labels = self.site.labels.get(files.feature_id, ())
        around = (*self._neighbours(i), _index_page_of(i), labels)
        return digest(self._common.encode(), repr(around).encode(), *files.contents())

    def feature(self, i: int, data: FeatureData, key: str) -> bytes:
        """The page of the i-th feature, ending in a comment with its key and a hash of the page itself."""
        page = feature_page(i, data, self.site, self._neighbours(i), _index_page_of(i))
        template = self._environment.get_template("feature.html")
        text = template.render(root="../", site=self.site, manifest=self.manifest, page=page)
        return signed(text, key)

    def summary(self, data: FeatureData) -> FeatureSummary:
        """A feature's row in lists."""
        labels = self.site.labels.get(data.record.feature_id, ())
        return feature_summary(data.record, self.site.vocabulary, labels)

    def rows(self, path: Path) -> tuple[str, bytes]:
        """(file name, content) of the script with the rows of a file.

        raises  StoreError if the file is damaged
        """
        content = read_bytes(path)
        decode(RowsRecord, content, path)
        return call(ROWS_SCRIPTS.name(int(path.stem)), content)

    def others(self, features: RenderedFeatures) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of all pages and scripts but those of features, of rows and of the model."""
        summaries = features.summaries
        yield from self._lists(summaries)
        about = self._page(ABOUT_PAGE, root="")
        yield ABOUT_PAGE, about
        yield terms_script(about.decode())
        pages = {
            MISSING_PAGE: {},
            TOKEN_PAGE: {},
            OVERVIEW_PAGE: {"page": overview_page(self.site, summaries)},
        }
        if self.site.live is not None:
            pages[ACTIVE_PAGE] = {}
        for name, values in pages.items():
            yield name, self._page(name, root="", **values)
        yield from whole_scripts(self.site, summaries)
        yield from features.search.scripts(self.site.vocabulary.tokens)
        yield from assets()

    def live_scripts(self) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of everything that pages load to run the model; separate because it is large.

        raises  StoreError if the model's files are damaged
        """
        return live_scripts(self._data, self.manifest.special_ids)

    def _lists(self, summaries: list[FeatureSummary]) -> Iterator[tuple[str, bytes]]:
        """The index, and the lists of the features of a kind or a density."""
        index = FeatureList("", index_page_name, summaries)
        for page in index.pages():
            yield page.name, self._page(INDEX_PAGE, root="", page=page)
        for part in feature_lists(self.site.overview, summaries):
            for page in part.pages():
                yield page.name, self._page("list.html", root="../", page=page)

    def _page(self, template: str, **values: Any) -> bytes:
        found = self._environment.get_template(template)
        return found.render(site=self.site, manifest=self.manifest, **values).encode()

    def _neighbours(self, i: int) -> tuple[int | None, int | None]:
        """Ids of the features before and after the i-th."""
        return (
            self._ids[i - 1] if i else None,
            self._ids[i + 1] if i + 1 < len(self._ids) else None,
        )


def _index_page_of(i: int) -> str:
    """The index page that lists the i-th feature."""
    return index_page_name(i // FEATURES_PER_PAGE + 1)


def _sources() -> list[Path]:
    """The code and templates that determine what a page looks like."""
    package = Path(__file__).parent
    return [
        *sorted(TEMPLATES_FOLDER.rglob("*.html")),
        *sorted(package.glob("*.py")),
        *sorted(SCHEMA_FOLDER.glob("*.json")),
        *(
            package.parent / name
            for name in ("file_names.py", "labels.py", "records.py", "store.py")
        ),
    ]
