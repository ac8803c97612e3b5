"""Tokens as readable text: characters of several tokens whole, what cannot be seen as marks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sitegen.records import TokenText

NEWLINE_MARK, TAB_MARK, SPACE_MARK = "↩", "→", "·"
MARKED = {"\n": NEWLINE_MARK, "\t": TAB_MARK}
JOINERS = "\u200c\u200d"  # invisible, but emoji and scripts fall apart without them
INVISIBLE_CATEGORIES = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


class TokenGroup(NamedTuple):
    """Neighbouring tokens that make whole characters together: most often one token.

    first, last  indices, last included
    text         what they say
    """

    first: int
    last: int
    text: str


def group_tokens(
    tokens: Sequence[TokenText], say: Callable[[TokenText], str] | None = None
) -> list[TokenGroup]:
    """The tokens in groups of whole characters; bytes that make none stand as ⟨E6⟩, each token by itself.

    say  puts a token's text, or that of a group, into words: `visible` unless given
    """
    say = say or visible
    groups: list[TokenGroup] = []
    first, pending = 0, b""  # tokens from `first` on whose bytes are no whole character yet
    for i, token in enumerate(tokens):
        if isinstance(token, bytes) and _begins_character(pending + token):
            pending += token
        elif isinstance(token, bytes) and _is_text(pending + token):
            groups.append(TokenGroup(first, i, say((pending + token).decode())))
            first, pending = i + 1, b""
        else:  # what was pending comes to nothing; this token may be text, or begin a character itself
            groups += [TokenGroup(j, j, say(tokens[j])) for j in range(first, i)]
            first, pending = i, b""
            if isinstance(token, bytes) and _begins_character(token):
                pending = token
            else:
                groups.append(TokenGroup(i, i, say(token)))
                first = i + 1
    return groups + [TokenGroup(j, j, say(tokens[j])) for j in range(first, len(tokens))]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _begins_character(data: bytes) -> bool:
    """That the bytes are text up to a last character that is not whole yet."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def visible(token: TokenText) -> str:
    """A token's text with line ends, tabs, bytes and invisible characters as marks; spaces stay spaces."""
    if token is None:
        return "⟨no token⟩"
    if isinstance(token, bytes):
        return "".join(f"⟨{byte:02X}⟩" for byte in token)
    if token.isprintable():
        return token
    return "".join(_visible_character(character) for character in token)


def plain(token: TokenText) -> str:
    """A token's text as it is; bytes and ids without a token as `visible` has them."""
    return token if isinstance(token, str) else visible(token)


def marked(token: TokenText) -> str:
    """A token standing alone: as `visible`, spaces as · too."""
    return visible(token).replace(" ", SPACE_MARK)


def _visible_character(character: str) -> str:
    if character in MARKED:
        return MARKED[character]
    if character in JOINERS or unicodedata.category(character) not in INVISIBLE_CATEGORIES:
        return character
    return f"⟨U+{ord(character):04X}⟩"
