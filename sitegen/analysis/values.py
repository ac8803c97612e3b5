"""Conversion of numbers to the form that records store."""

from __future__ import annotations

from typing import Any


def shortest(value: Any) -> float:
    """Convert a float32 to the float with the same shortest decimal: 0.1, not 0.10000000149011612.

    Nothing is lost: read back as float32, the decimal gives the same number.
    """
    return float(str(value))
