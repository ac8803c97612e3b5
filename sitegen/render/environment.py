"""The Jinja environment: autoescaping, strict names, all filters, and white space of templates left out of pages."""

from __future__ import annotations

import re

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension

from sitegen.config import REPOSITORY_ROOT
from sitegen.render import formats, markup

TEMPLATES_FOLDER = REPOSITORY_ROOT / "templates"
STATIC_FOLDER = REPOSITORY_ROOT / "static"

FILTERS = ("exact", "significant", "percent", "grouped", "share", "decimals", "plain", "short")
# White space next to the tags of these elements is not shown, whatever the style sheets say
BLOCKS = (
    "body|caption|dd|div|dl|dt|figcaption|figure|footer|form|g|h1|h2|h3|head|header|html|li|main|nav|ol|p|path|"
    "rect|section|svg|table|tbody|td|text|th|thead|title|tr|ul"
)
# Elements that do not begin a new line of the page's source
WITHIN_LINE = "dd|figcaption|g|path|rect|td|text|th"

# The end of a list item, a cell or a row is clear from what follows it
OPTIONAL_ENDS = r"</(?:li|td|th|tr)>"
TAG = r"<[a-z][^<>]*>"
# A slash or a bracket behind a value without quotes would be read as part of it
NEEDLESS_QUOTES = r'(?<=[\w-]=)"([\w#.:/-]*[\w#.:-])"(?=[ \n>])'


def make_environment() -> Environment:
    """The environment in which every page is rendered."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[SourceWhitespace],
    )
    environment.filters |= {name: getattr(formats, name) for name in FILTERS} | {
        "text": markup.text,
        "pieces": markup.pieces,
    }
    return environment


class SourceWhitespace(Extension):
    """Removes the line breaks and indentation of templates that a page does not need.

    It works on the source of the templates before they are compiled, never on a rendered page: the white space of
    tokens, which is significant, reaches a template as a value and cannot be touched here.
    """

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The source as it is compiled."""
        return without_layout(source)


def without_layout(source: str) -> str:
    """Template source without what a page does not need.

    Line breaks inside and between blocks are removed, and all others are single; attributes that need no quotes have
    none, and neither do list items and cells have the end tags that HTML lets a page leave out.
    """
    source = re.sub(r"[ \t]*\n\s*", "\n", source)
    source = re.sub(rf"(<(?:{BLOCKS})\b[^<>]*>)\n", r"\1", source)
    source = re.sub(rf"\n(</(?:{BLOCKS})>)", r"\1", source)
    source = re.sub(rf"\n(<(?:{WITHIN_LINE})\b)", r"\1", source)
    source = re.sub(OPTIONAL_ENDS, "", source)
    return re.sub(TAG, lambda tag: re.sub(NEEDLESS_QUOTES, r"\1", tag[0]), source)
