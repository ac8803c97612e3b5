"""Style sheets and scripts, each kind in one file, so that a page asks for three."""

from __future__ import annotations

from collections.abc import Iterator

from sitegen.render.environment import STATIC_FOLDER

STYLES = ("theme", "layout", "components", "widgets")
FIRST_SCRIPT = "theme"  # runs before anything is drawn
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


def assets() -> Iterator[tuple[str, bytes]]:
    """(file name, content) of all that pages are dressed in and moved by."""
    yield "static/site.css", _joined("css", STYLES)
    yield "static/site.js", _joined("js", SCRIPTS)
    yield f"static/{FIRST_SCRIPT}.js", _joined("js", (FIRST_SCRIPT,))


def _joined(kind: str, names: tuple[str, ...]) -> bytes:
    parts = [(STATIC_FOLDER / kind / f"{name}.{kind}").read_bytes() for name in names]
    if kind == "js":  # one that fails is reported and leaves the others to their work
        parts = [b"try {\n" + part + b"} catch (error) { reportError(error); }\n" for part in parts]
    return b"\n".join(parts)
