"""Tokens as readable text: characters of several tokens joined, invisible characters replaced by marks."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sitegen.records import TokenText

NEWLINE_MARK, TAB_MARK, SPACE_MARK = "↩", "→", "·"
MARKED = {"\n": NEWLINE_MARK, "\t": TAB_MARK}
# Invisible, but emoji sequences and some scripts break without them
JOINERS = "\u200c\u200d"
INVISIBLE_CATEGORIES = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


class TokenGroup(NamedTuple):
    """Neighbouring tokens that form whole characters together; most often a single token.

    first, last  indices, last included
    text         the text of the group
    """

    first: int
    last: int
    text: str


def group_tokens(
    tokens: Sequence[TokenText], say: Callable[[TokenText], str] | None = None
) -> list[TokenGroup]:
    """The tokens in groups of whole characters; a token whose bytes form none is a group by itself, shown as ⟨E6⟩.

    say  turns the text of a token or group into the text of its group; default `visible`
    """
    say = say or visible
    groups: list[TokenGroup] = []
    # Bytes of the tokens from `first` on, which do not form a whole character yet
    first, pending = 0, b""
    for i, token in enumerate(tokens):
        if isinstance(token, bytes) and _begins_character(pending + token):
            pending += token
        elif isinstance(token, bytes) and _is_text(pending + token):
            groups.append(TokenGroup(first, i, say((pending + token).decode())))
            first, pending = i + 1, b""
        # The pending bytes form no character; this token may be text, or begin a character itself
        else:
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
    """Whether the bytes are text up to a last character that is incomplete."""
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
    """A token's unchanged text; bytes and ids without a token as in `visible`."""
    return token if isinstance(token, str) else visible(token)


def marked(token: TokenText) -> str:
    """A token shown by itself: as `visible`, with spaces as ·."""
    return visible(token).replace(" ", SPACE_MARK)


def _visible_character(character: str) -> str:
    if character in MARKED:
        return MARKED[character]
    if character in JOINERS or unicodedata.category(character) not in INVISIBLE_CATEGORIES:
        return character
    return f"⟨U+{ord(character):04X}⟩"
