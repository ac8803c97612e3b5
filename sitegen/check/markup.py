"""The markup of a page, read strictly: what a browser would have to guess is a finding."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

VOID_ELEMENTS = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}
# An end tag; a start tag with its attributes, and the slash of an SVG element without content; a comment; a doctype. An
# element that contains only text is one match with its end tag, because most elements are of this kind.
# This is all that templates write. `html.parser` accepts much more, and takes most of a check's time.
# Quantifiers are possessive, since going back in a tag never helps.
_MARKUP = re.compile(
    r"""<(?:
        /([a-z][a-z0-9]*+)\s*+
        | ([a-z][a-z0-9]*+) ((?:\s++(?:viewBox|[a-z][a-z-]*+)(?:="[^"<>]*+")?+)*+) \s*+
          (?:(/) | (?:>([^<]*+)</\2)?)
        | !--.*?--
        | !((?i:doctype)\s[^<>]*)
    )>""",
    re.DOTALL | re.VERBOSE,
)
# Each match gives the groups, and the text that follows it
_N_PARTS = _MARKUP.groups + 1
_ATTRIBUTE = re.compile(r'([a-zA-Z-]+)(?:="([^"]*)")?')
# Elements that a page has once, or that declare something about it
_NOTED = {"html", "meta", "h1", "main"}
# Those, elements whose text may be checked, depending on where they are, and elements that may contain none
_NOT_PLAIN = {"title", "data", "span", "p", "small", "code"} | _NOTED | VOID_ELEMENTS


@dataclass
class Page:
    """The parts of a page that are checked, as read from its markup.

    numbers   (value, text) of each <data> element
    kinds     (value, text) of each label of a feature's kind
    lines     text of each context
    places    text beside each context: row, position and number of copies
    tokens    text of each token that heads a row of logit effects
    unclosed  elements that are closed out of order or never
    strays    text after each "<" that begins no markup
    """

    doctype: str = ""
    language: str = ""
    charset: str = ""
    title: str = ""
    n_h1: int = 0
    n_main: int = 0
    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    numbers: list[tuple[str, str]] = field(default_factory=list)
    kinds: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


class _Elements:
    """Follows the elements of a page in order, and takes the texts of those that are checked."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: list[str] = []
        # By element: the value that is checked with its text, and the parts of the text so far
        self._taking: dict[str, tuple[str, list[str]]] = {}

    def begin(self, tag: str, attributes: str) -> None:
        if tag in ("title", "data") or (tag == "span" and "data-kind" in attributes):
            given = _attributes(attributes)
            self._taking[tag] = given.get("value", given.get("data-kind", "")), []
        elif (tag in ("p", "small") and "li" in self._open) or (
            tag == "code" and "th" in self._open
        ):
            self._taking[tag] = "", []
        elif tag in _NOTED:
            _note(self._page, tag, _attributes(attributes))
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def text(self, text: str) -> None:
        for _, parts in self._taking.values():
            parts.append(unescape(text) if "&" in text else text)

    def end(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self._page.unclosed.append(tag)
        if tag in self._taking:
            value, parts = self._taking.pop(tag)
            self._take(tag, value, "".join(parts))

    def _take(self, tag: str, value: str, text: str) -> None:
        page = self._page
        if tag == "title":
            page.title = text
        elif tag == "data":
            page.numbers.append((value, text))
        elif tag == "span":
            page.kinds.append((value, text))
        elif tag == "p":
            page.lines.append(text)
        elif tag == "small":
            page.places.append(text)
        else:
            page.tokens.append(text)

    def finish(self) -> None:
        self._page.unclosed += self._open


def read_page(text: str) -> Page:
    """A page's structure, links, numbers and lines, from its markup."""
    before, *parts = _MARKUP.split(text)
    page = Page()
    elements = _Elements(page)
    pieces = zip(*[iter(parts)] * _N_PARTS, strict=True)
    for ended, tag, attributes, empty, content, doctype, after in pieces:
        if ended is not None:
            elements.end(ended)
        elif tag is None:
            page.doctype = doctype or page.doctype
        elif content is not None and tag not in _NOT_PLAIN:
            elements.text(content)
        elif not empty:
            elements.begin(tag, attributes)
            if content is not None:
                elements.text(content)
                elements.end(tag)
        if after:
            elements.text(after)
    elements.finish()
    # The attributes of a whole page at once, since most tags have none of these two kinds
    given = _ATTRIBUTE.findall("".join(filter(None, parts[2::_N_PARTS])))
    page.links = [unescape(value) for name, value in given if name in ("href", "src")]
    page.ids = [unescape(value) for name, value in given if name == "id"]
    texts = "".join([before, *parts[_N_PARTS - 1 :: _N_PARTS]])
    page.strays = [stray[:20] for stray in texts.split("<")[1:]]
    return page


def _note(page: Page, tag: str, given: dict[str, str]) -> None:
    """Note an element that a page has once, or what it declares."""
    page.n_h1 += tag == "h1"
    page.n_main += tag == "main"
    page.language = given.get("lang", page.language)
    page.charset = given.get("charset", page.charset)


def _attributes(attributes: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in _ATTRIBUTE.findall(attributes)}


def structure_findings(page: Page) -> list[str]:
    """Findings on the parts that every page must have."""
    claims = {
        "no doctype": page.doctype.lower() == "doctype html",
        "no language": bool(page.language),
        "no charset": page.charset.lower() == "utf-8",
        "no title": bool(page.title.strip()),
        f"{page.n_h1} h1 elements": page.n_h1 == 1,
        f"{page.n_main} main elements": page.n_main == 1,
        f"elements closed out of order: {', '.join(page.unclosed[:3])}": not page.unclosed,
        f"a < that begins no markup, before {page.strays[:1]}": not page.strays,
        "an id that is used twice": len(page.ids) == len(set(page.ids)),
    }
    return [finding for finding, holds in claims.items() if not holds]
