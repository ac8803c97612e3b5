"""The markup of a page, read strictly: what a browser would have to guess is a finding.

Pages leave out the quotes of attributes and the end tags of list items, cells and rows, where the standard of HTML says
what they are.
"""

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
# By element: those before it that end where it begins
ENDED_BY = {
    "li": {"li"},
    "td": {"td", "th"},
    "th": {"td", "th"},
    "tr": {"td", "th", "tr"},
}
# Elements that also end where the element around them ends
WITHOUT_END = {"li", "td", "th", "tr"}
# Class of the label of a feature's kind
KIND = "kind"
# Elements whose own text shows numbers
CELLS = {"dd", "li", "td"}
# An end tag; a start tag with its attributes, and the slash of an SVG element without content; a comment; a doctype. An
# element that contains only text is one match with its end tag, because most elements are of this kind.
# This is all that templates write. `html.parser` accepts much more, and takes most of a check's time.
# Quantifiers are possessive, since going back in a tag never helps.
_MARKUP = re.compile(
    r"""<(?:
        /([a-z][a-z0-9]*+)\s*+
        | ([a-z][a-z0-9]*+) ((?:\s++(?:viewBox|[a-z][a-z-]*+)(?:="[^"<>]*+"|=[^\s"'<>=`]++)?+)*+) \s*+
          (?:(/) | (?:>([^<]*+)</\2)?)
        | !--.*?--
        | !((?i:doctype)\s[^<>]*)
    )>""",
    re.DOTALL | re.VERBOSE,
)
# Each match gives the groups, and the text that follows it
_N_PARTS = _MARKUP.groups + 1
_ATTRIBUTE = re.compile(r"""([a-zA-Z-]+)(?:="([^"]*)"|=([^\s"'<>=`]+))?""")
# Elements that a page has once, or that declare something about it
_NOTED = {"html", "meta", "h1", "main"}
# Those, elements whose text may be checked, depending on where they are, and elements that may contain none
_NOT_PLAIN = {"title", "span", "p"} | CELLS | WITHOUT_END | _NOTED | VOID_ELEMENTS


@dataclass
class Page:
    """The parts of a page that are checked, as read from its markup.

    cells     text that stands directly in each list item, cell and description, with single spaces
    kinds     text of each label of a feature's kind
    lines     text of each context
    tokens    text of each token that heads a row of logit effects
    text      all text, with single spaces
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
    cells: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    text: str = ""
    unclosed: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


class _Elements:
    """Follows the elements of a page in order, and takes the texts of those that are checked."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: list[str] = []
        # By element: the parts of its text so far
        self._taking: dict[str, list[str]] = {}
        # Own text of the list items, cells and descriptions that are open
        self._cells: list[list[str]] = []

    def begin(self, tag: str, attributes: str) -> None:
        # Most elements are none of these
        if tag in _NOT_PLAIN:
            if tag in VOID_ELEMENTS and tag not in _NOTED:
                return
            while self._open and self._open[-1] in ENDED_BY.get(tag, ()):
                self._end(self._open.pop())
            if self._is_taken(tag, attributes):
                self._taking[tag] = []
            elif tag in CELLS:
                self._cells.append([])
            elif tag in _NOTED:
                _note(self._page, tag, _attributes(attributes))
                if tag in VOID_ELEMENTS:
                    return
        self._open.append(tag)

    def _is_taken(self, tag: str, attributes: str) -> bool:
        """Tell whether the text of an element is checked as a whole."""
        if tag == "span":
            return KIND in attributes and KIND in _attributes(attributes).get("class", "").split()
        return (
            tag == "title"
            or (tag == "th" and "title=" in attributes)
            or (tag == "p" and "li" in self._open)
        )

    def text(self, text: str) -> None:
        """Take text that stands directly in the innermost open element."""
        if self._cells and self._open[-1] in CELLS:
            self._cells[-1].append(text)
        self.inner_text(text)

    def inner_text(self, text: str) -> None:
        """Take text of an element within the innermost open one."""
        for parts in self._taking.values():
            parts.append(text)

    def end(self, tag: str) -> None:
        while self._open and self._open[-1] != tag and self._open[-1] in WITHOUT_END:
            self._end(self._open.pop())
        if not self._open or self._open.pop() != tag:
            self._page.unclosed.append(tag)
        self._end(tag)

    def _end(self, tag: str) -> None:
        if tag in CELLS and self._cells:
            self._page.cells.append(_text(self._cells.pop(), " "))
        if tag in self._taking:
            self._take(tag, unescape("".join(self._taking.pop(tag))))

    def _take(self, tag: str, text: str) -> None:
        page = self._page
        if tag == "title":
            page.title = text
        elif tag == "span":
            page.kinds.append(text)
        elif tag == "p":
            page.lines.append(text)
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
            elements.inner_text(content)
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
    links = [quoted or bare for name, quoted, bare in given if name in ("href", "src")]
    page.links = list(map(unescape, links))
    page.ids = [unescape(quoted or bare) for name, quoted, bare in given if name == "id"]
    # Of each match, what an element contains and what follows it
    contents, following = parts[4::_N_PARTS], parts[_N_PARTS - 1 :: _N_PARTS]
    texts = [text or "" for pair in zip(contents, following, strict=True) for text in pair]
    page.text = _text([before, *texts], "")
    page.strays = [stray[:20] for stray in "".join([before, *following]).split("<")[1:]]
    return page


def _text(parts: list[str], between: str) -> str:
    """Join parts of text as a browser shows them, with single spaces."""
    return unescape(" ".join(between.join(parts).split()))


def _note(page: Page, tag: str, given: dict[str, str]) -> None:
    """Note an element that a page has once, or what it declares."""
    page.n_h1 += tag == "h1"
    page.n_main += tag == "main"
    page.language = given.get("lang", page.language)
    page.charset = given.get("charset", page.charset)


def _attributes(attributes: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(attributes)
    return {name: unescape(quoted or bare) for name, quoted, bare in found}


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
