"""What is kept of a feature, as plain values: no torch, no markup. Field names are the JSON's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["dead", "rare", "ordinary", "dense"]
Group = Literal["top", "interval"]

RARE_DENSITY = 1e-4
DENSE_DENSITY = 0.1

# A token's text; the bytes of a token that is no whole character; or None, an id without a token.
TokenText = str | bytes | None


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; a bin holds its upper edge (activations) or its lower one (logit effects)."""

    edges: list[float]  # one more than counts, rising
    counts: list[int]


@dataclass(frozen=True)
class ContextRecord:
    """A stretch of one row around a peak position."""

    group: Group
    interval: int | None  # 0 is the lowest; None in the top group
    rank: int  # from 0 within its group (and interval), largest activation first
    row: int
    position: int  # of the peak in its row
    activation: float  # at the peak
    copies: (
        int  # places in the rows read where this very stretch of tokens stands, this one included
    )
    start: int  # position of the first token
    tokens: list[int]
    activations: list[float]  # parallel to tokens


@dataclass(frozen=True)
class LogitEffect:
    """What one unit of the feature adds to one token's logit."""

    id: int
    token: TokenText
    value: float
    probability: float  # softmax of the feature's effects over the vocabulary


@dataclass(frozen=True)
class LogitEffects:
    """A feature's effects on the output."""

    top: list[LogitEffect]  # largest first
    bottom: list[LogitEffect]  # smallest first
    histogram: Histogram


@dataclass(frozen=True)
class SpecialFirings:
    """Firings on special tokens (BOS, EOS), which count in the density and are never shown as a peak."""

    n_active: int
    max_activation: float


@dataclass(frozen=True)
class FeatureRecord:
    """All that is known of one feature."""

    feature_id: int
    density: float  # n_active over all positions read, BOS included
    n_active: int
    max_activation: float  # over tokens that may be a peak
    mean_active: float  # mean of the activations above 0; 0 for a dead feature
    kind: Kind
    special: SpecialFirings
    histogram: Histogram  # of activations on tokens that may be a peak; empty for a feature that fires on none
    contexts: list[ContextRecord]
    logits: LogitEffects


def kind_of(density: float) -> Kind:
    """The kind of a feature of this density.

    source  definitions.md, "kind"
    """
    if density == 0:
        return "dead"
    if density < RARE_DENSITY:
        return "rare"
    return "dense" if density > DENSE_DENSITY else "ordinary"
