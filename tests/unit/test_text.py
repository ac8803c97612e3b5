"""Tokens as text: characters of several tokens are whole, hidden ones are visible, nothing is lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sitegen.records import TokenText
from sitegen.render.formats import percent
from sitegen.render.text import group_tokens, marked, visible


def as_token(part: bytes) -> TokenText:
    try:
        return part.decode()
    except UnicodeDecodeError:
        return part


def test_a_character_of_three_tokens_is_shown_whole() -> None:
    whale = "🐳".encode()
    groups = group_tokens(["a", whale[:1], whale[1:3], whale[3:], "b"])
    assert [(g.first, g.last, g.text) for g in groups] == [(0, 0, "a"), (1, 3, "🐳"), (4, 4, "b")]


def test_bytes_that_are_no_character_are_shown_as_bytes() -> None:
    groups = group_tokens([b"\xe6\x97", "x", b"\xff", b"\xe2"])
    assert [g.text for g in groups] == ["⟨E6⟩⟨97⟩", "x", "⟨FF⟩", "⟨E2⟩"]


def test_a_stray_byte_does_not_break_the_next_character() -> None:
    groups = group_tokens([b"\xe6", b"\xf0\x9f", b"\x90\xb3", b"\xe2", "a"])
    assert [(g.first, g.last, g.text) for g in groups] == [
        (0, 0, "⟨E6⟩"),
        (1, 2, "🐳"),
        (3, 3, "⟨E2⟩"),
        (4, 4, "a"),
    ]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0, "0 %"),
        (1 / 27.3e6, "0.0000037 %"),
        (2 / 27.3e6, "0.0000073 %"),
        (0.0029, "0.29 %"),
        (0.123, "12.3 %"),
    ],
)
def test_small_densities_differ_from_zero_and_each_other(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_line_ends_tabs_and_hidden_characters_are_marked() -> None:
    assert visible("a\n\tb") == "a↩→b"
    assert visible("\u200b\u202e\x00") == "⟨U+200B⟩⟨U+202E⟩⟨U+0000⟩"
    assert visible("👨\u200d👩") == "👨\u200d👩"
    assert visible(None) == "⟨no token⟩"
    assert marked(" the") == "·the"


@given(st.text(max_size=30), st.lists(st.integers(0, 60), max_size=12))
def test_any_split_of_any_text_shows_the_same_characters(text: str, cuts: list[int]) -> None:
    data = (
        text.encode("utf-8", "surrogatepass") if text.isascii() else text.encode("utf-8", "replace")
    )
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    tokens = [as_token(data[a:b]) for a, b in itertools.pairwise(ends)]
    groups = group_tokens(tokens)
    assert "".join(group.text for group in groups) == visible(data.decode())
    covered = [i for group in groups for i in range(group.first, group.last + 1)]
    assert covered == list(range(len(tokens)))
