"""Numbers as the text that pages show. Free of Jinja, so that checks and exports can use it."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"


def exact(value: float) -> str:
    """The number as in the JSON, for programs that read the page."""
    return repr(value)


def significant(value: float) -> str:
    """Enough digits to tell neighbouring values apart, with a real minus sign."""
    size = abs(value)
    if size == 0:
        return "0"
    text = f"{value:.1f}" if size >= 10 else f"{value:.3f}" if size >= 0.001 else f"{value:.2g}"
    return text.replace("-", MINUS)


def short(value: float) -> str:
    """A positive number as in `significant`, without needless zeros, for style attributes."""
    text = significant(value)
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".").removeprefix("0")
    return text or "0"


def percent(share_of_one: float) -> str:
    """A share in percent with at least two significant digits, so that a tiny density does not read as 0."""
    value = 100 * share_of_one
    if value >= 10:
        return f"{value:.1f} %"
    if value >= 0.1 or value == 0:
        return f"{value:.2f} %" if value else "0 %"
    digits = 1 - math.floor(math.log10(value))
    return f"{value:.{digits}f} %"


def decimals(value: float) -> str:
    """Four significant digits, for figures that stand next to a standard error."""
    return f"{value:,.4g}".replace("-", MINUS)


def plain(value: float) -> str:
    """A round number on an axis, without superfluous digits."""
    return f"{value:g}".replace("-", MINUS)


def grouped(count: int) -> str:
    """A count with thousands separators."""
    return f"{count:,}"


def share(value: float) -> str:
    """A number from 0 to 1 with at most two decimals and no needless zeros, for style attributes."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return text if len(text) == 1 else text.removeprefix("0")
