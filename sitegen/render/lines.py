"""Contexts as lines of text, cut into pieces that are shown in different ways."""

from __future__ import annotations

from dataclasses import dataclass

from sitegen.records import ContextRecord, NearMiss
from sitegen.render.vocabulary import Vocabulary


@dataclass(frozen=True)
class Piece:
    """A piece of a context's text: one active token (or token group), or a run of inactive text.

    heat        activation over the page's maximum, 0..1; 0 for inactive text
    offset      of the group's strongest token in the context; given only in contexts where a group has several tokens
    """

    text: str
    heat: float
    activation: float
    is_peak: bool
    is_special: bool
    offset: int | None = None


@dataclass(frozen=True)
class ContextLine:
    """One context."""

    row: int
    position: int
    activation: float
    copies: int
    pieces: list[Piece]


@dataclass(frozen=True)
class MissLine:
    """One near miss."""

    row: int
    position: int
    n_matched: int
    pieces: list[Piece]


def context_line(context: ContextRecord, vocabulary: Vocabulary, maximum: float) -> ContextLine:
    """The line of a context, coloured up to `maximum`."""
    return ContextLine(
        context.row,
        context.position,
        context.activation,
        context.copies,
        _pieces(context, vocabulary, maximum),
    )


def miss_line(miss: NearMiss, vocabulary: Vocabulary, maximum: float) -> MissLine:
    """The line of a near miss, coloured up to `maximum`."""
    pieces = _pieces(miss, vocabulary, maximum)
    return MissLine(miss.row, miss.position, miss.n_matched, pieces)


def _pieces(
    context: ContextRecord | NearMiss, vocabulary: Vocabulary, maximum: float
) -> list[Piece]:
    """The text in pieces; the peak is a piece of its own even if it is inactive."""
    tokens, activations = context.tokens, context.activations
    peak = context.position - context.start
    special_ids = vocabulary.special_ids
    texts = vocabulary.texts(tokens)
    # Nearly always every token is whole characters and so a group of its own, which needs no grouping
    if texts is not None:
        special = {i for i, token in enumerate(tokens) if token in special_ids}
        return _cut(texts, activations, peak, special, None, maximum)
    groups = vocabulary.groups(tokens)
    strongest = [max(range(g.first, g.last + 1), key=activations.__getitem__) for g in groups]
    return _cut(
        [group.text for group in groups],
        [activations[i] for i in strongest],
        next(i for i, group in enumerate(groups) if group.last >= peak),
        {
            i
            for i, g in enumerate(groups)
            if not special_ids.isdisjoint(tokens[g.first : g.last + 1])
        },
        strongest if len(groups) < len(tokens) else None,
        maximum,
    )


def _cut(
    texts: list[str],
    activations: list[float],
    peak: int,
    special: set[int],
    offsets: list[int] | None,
    maximum: float,
) -> list[Piece]:
    """Token groups in pieces: active and special groups and the peak each alone, runs of all others joined."""
    alone = {i for i, activation in enumerate(activations) if activation} | special | {peak}
    pieces: list[Piece] = []
    begin = 0
    for i in sorted(alone):
        if i > begin:
            pieces.append(_inactive(texts[begin:i]))
        activation = activations[i]
        heat = min(activation / maximum, 1.0) if maximum else 0.0
        offset = offsets[i] if offsets else None
        pieces.append(Piece(texts[i], heat, activation, i == peak, i in special, offset))
        begin = i + 1
    if begin < len(texts):
        pieces.append(_inactive(texts[begin:]))
    return pieces


def _inactive(texts: list[str]) -> Piece:
    return Piece("".join(texts), 0.0, 0.0, False, False)
