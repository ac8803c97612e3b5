"""Style sheets and scripts, joined into one file of each kind, so that a page requests three files."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from sitegen.file_names import STATIC_FILES
from sitegen.labels import LONGEST
from sitegen.records import ROWS_PER_FILE
from sitegen.render.environment import STATIC_FOLDER
from sitegen.render.packing import BITS, FIRST_CHARACTER
from sitegen.render.search import N_WORD_FILES, TOKENS_PER_FILE, WORD_FACTOR
from sitegen.render.views import LINE_AFTER, LINE_BEFORE

STYLES = ("theme", "layout", "components", "widgets")
# Runs before anything is drawn
FIRST_SCRIPT = "theme"
SCRIPTS = (
    "core",
    "format",
    "search",
    "marks",
    "contexts",
    "card",
    "align",
    "notes",
    "keys",
    "searchbox",
    "table",
    "filters",
    "list",
    "token",
    "map",
    "terms",
    "engine",
    "live",
    "owntext",
    "try",
    "active",
)


# What scripts must know of the files that they load and of the pages that they add to
SETTINGS = {
    "first_character": FIRST_CHARACTER,
    "character_bits": BITS,
    "word_files": N_WORD_FILES,
    "word_factor": WORD_FACTOR,
    "tokens_per_file": TOKENS_PER_FILE,
    "rows_per_file": ROWS_PER_FILE,
    "line_before": LINE_BEFORE,
    "line_after": LINE_AFTER,
    "longest_label": LONGEST,
}


def assets() -> Iterator[tuple[str, bytes]]:
    """(file name, content) of the style sheet and the scripts of all pages."""
    yield STATIC_FILES.name("site.css"), b"\n".join(_source("css", name) for name in STYLES)
    yield STATIC_FILES.name("site.js"), _settings() + b"\n".join(_guarded(name) for name in SCRIPTS)
    yield STATIC_FILES.name(f"{FIRST_SCRIPT}.js"), _guarded(FIRST_SCRIPT)


def _settings() -> bytes:
    return b"window.sitegen = { sizes: " + orjson.dumps(SETTINGS) + b" };\n"


def _guarded(name: str) -> bytes:
    """A script that, if it fails, reports its error and lets the scripts behind it run."""
    return b"try {\n" + _source("js", name) + b"} catch (error) { reportError(error); }\n"


def _source(kind: str, name: str) -> bytes:
    return (STATIC_FOLDER / kind / f"{name}.{kind}").read_bytes()
