"""The names of all files of a run's data and of its site, each said here once.

docs/data-format.md describes what the files hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class FileNames:
    """Names of files that differ in one part only: a number, or a word.

    part    regular expression of the part
    format  how a number is written in the name
    """

    before: str
    after: str
    part: str = r"\d+"
    format: str = ""

    def name(self, part: int | str) -> str:
        """One of the names, by its part."""
        return f"{self.before}{part:{self.format}}{self.after}"

    @property
    def folder(self) -> str:
        """The folder that all the files are in."""
        return self.before.rpartition("/")[0]


def _records(folder: str) -> FileNames:
    return FileNames(f"{folder}/", ".json", r"\d{5,}", "05d")


def _pages(before: str, part: str = r"\d+") -> FileNames:
    return FileNames(before, ".html", part)


def _scripts(folder: str) -> FileNames:
    return FileNames(f"{LOAD}/{folder}/", ".js")


# Files of the data, by their names in it
DATA = "data"
MANIFEST, VOCAB, OVERVIEW = "manifest.json", "vocab.json", "overview.json"
CHECKSUMS = "SHA256SUMS"
FEATURES, EVIDENCE = _records("features"), _records("evidence")
OTHER, ROWS = _records("other"), _records("rows")
LIVE = "live"
LIVE_SETTINGS, LIVE_WEIGHTS = f"{LIVE}/settings.json", f"{LIVE}/weights.safetensors"
LIVE_TOKENIZER = f"{LIVE}/tokenizer.json"
# Those that a site has unchanged; it has the others as scripts
PUBLISHED = (MANIFEST, VOCAB, OVERVIEW, CHECKSUMS, FEATURES, OTHER)

# Pages of the site
INDEX_PAGE, LATER_INDEX_PAGES = "index.html", _pages("index-")
ABOUT_PAGE, OVERVIEW_PAGE, TOKEN_PAGE = "about.html", "overview.html", "token.html"
ACTIVE_PAGE, MISSING_PAGE = "active.html", "404.html"
FEATURE_PAGES, LIST_PAGES = _pages("features/"), _pages("lists/", r"[\w-]+")

# Scripts that pages load on demand
LOAD = "load"
VOCABULARY_SCRIPT, FEATURES_SCRIPT = f"{LOAD}/vocabulary.js", f"{LOAD}/features.js"
LINES_SCRIPT, MAP_SCRIPT, TERMS_SCRIPT = f"{LOAD}/lines.js", f"{LOAD}/map.js", f"{LOAD}/terms.js"
EVIDENCE_SCRIPTS, ROWS_SCRIPTS = _scripts("evidence"), _scripts("rows")
TOKENS_SCRIPTS, WORDS_SCRIPTS = _scripts("tokens"), _scripts("words")
SETTINGS_SCRIPT, LIBRARY_SCRIPT = f"{LOAD}/live/settings.js", f"{LOAD}/live/library.js"
TOKENIZER_SCRIPT, POSITIONS_SCRIPT = f"{LOAD}/live/tokenizer.js", f"{LOAD}/live/positions.js"
LAYER_SCRIPTS, ENCODER_SCRIPTS = _scripts("live/layers"), _scripts("live/encoder")
EMBEDDING_SCRIPTS = _scripts("live/embedding")

# Other files of the site. Styles and scripts of all pages have had other names in earlier versions.
LABELS_FILE = "labels.json"
NO_JEKYLL = ".nojekyll"
STATIC_FILES = FileNames("static/", "", r"[\w.-]+")


def any_of(*files: str | FileNames, folder: str = "") -> str:
    """A regular expression of the names of files in a folder, for `fullmatch`."""
    names = (
        re.escape(one)
        if isinstance(one, str)
        else f"{re.escape(one.before)}{one.part}{re.escape(one.after)}"
        for one in files
    )
    return f"{re.escape(folder)}(?:{'|'.join(names)})"


PUBLISHED_FILES = re.compile(any_of(*PUBLISHED))
DATA_FILES = re.compile(
    any_of(*PUBLISHED, EVIDENCE, ROWS, LIVE_SETTINGS, LIVE_WEIGHTS, LIVE_TOKENIZER)
)
SITE_FILES = re.compile(
    any_of(
        *(INDEX_PAGE, LATER_INDEX_PAGES, ABOUT_PAGE, OVERVIEW_PAGE, TOKEN_PAGE),
        *(ACTIVE_PAGE, MISSING_PAGE, FEATURE_PAGES, LIST_PAGES),
        *(VOCABULARY_SCRIPT, FEATURES_SCRIPT, LINES_SCRIPT, MAP_SCRIPT, TERMS_SCRIPT),
        *(EVIDENCE_SCRIPTS, ROWS_SCRIPTS, TOKENS_SCRIPTS, WORDS_SCRIPTS),
        *(SETTINGS_SCRIPT, LIBRARY_SCRIPT, TOKENIZER_SCRIPT, POSITIONS_SCRIPT),
        *(LAYER_SCRIPTS, ENCODER_SCRIPTS, EMBEDDING_SCRIPTS),
        *(LABELS_FILE, NO_JEKYLL, STATIC_FILES),
    )
    + f"|{any_of(*PUBLISHED, folder=f'{DATA}/')}"
)
