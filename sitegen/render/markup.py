"""The text of contexts as markup.

It is made here and not in a template, which would take three times as long: a page has hundreds of pieces.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from sitegen.render.formats import share, short
from sitegen.render.lines import Piece


def text(value: str) -> Markup:
    """Text between tags, in which quotes stand for themselves."""
    return Markup(_escaped(value))


def pieces(of: Iterable[Piece]) -> Markup:
    """The pieces of a context's line. White space in them is significant, so there is none between them."""
    return Markup("".join(map(_piece, of)))


def _piece(piece: Piece) -> str:
    shown = _escaped(piece.text)
    offset = "" if piece.offset is None else f" data-offset={piece.offset}"
    if piece.is_peak:
        state = f"style=--a:{share(piece.heat)}" if piece.heat else "class=inactive"
        return f"<mark {state}{offset}>{shown}</mark>"
    style = f" style=--v:{short(piece.activation)}{offset}" if piece.heat else ""
    if piece.is_special:
        return f"<i{style}>{shown}</i>"
    return f"<b{style}>{shown}</b>" if piece.heat else shown


def _escaped(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;")
