"""Numbers as records keep them."""

from __future__ import annotations

from typing import Any


def shortest(value: Any) -> float:
    """The float whose shortest decimal is the float32's own: 0.1, not 0.10000000149011612. Nothing is lost."""
    return float(str(value))
