"""The Jinja environment: autoescape, strict names, and every filter in one place."""

from __future__ import annotations

import math

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sitegen.config import REPOSITORY_ROOT

TEMPLATES_FOLDER = REPOSITORY_ROOT / "templates"
STATIC_FOLDER = REPOSITORY_ROOT / "static"


def make_environment() -> Environment:
    """The environment that every page is rendered in."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "exact": exact,
        "significant": significant,
        "percent": percent,
        "grouped": grouped,
        "share": share,
        "decimals": decimals,
        "plain": plain,
    }
    return environment


def exact(value: float) -> str:
    """The number as the JSON has it, for machines that read the page."""
    return repr(value)


def significant(value: float) -> str:
    """Enough digits to tell neighbours apart, with a real minus sign."""
    size = abs(value)
    if size == 0:
        return "0"
    text = f"{value:.1f}" if size >= 10 else f"{value:.3f}" if size >= 0.001 else f"{value:.2g}"
    return text.replace("-", "−")  # noqa: RUF001 a minus sign is meant


def percent(share_of_one: float) -> str:
    """A share as percent with two digits that count at least, so that one firing in a billion is still not nothing."""
    value = 100 * share_of_one
    if value >= 10:
        return f"{value:.1f} %"
    if value >= 0.1 or value == 0:
        return f"{value:.2f} %" if value else "0 %"
    digits = 1 - math.floor(math.log10(value))
    return f"{value:.{digits}f} %"


def decimals(value: float) -> str:
    """Four digits that count, for figures with a standard error beside them."""
    return f"{value:,.4g}".replace("-", "−")  # noqa: RUF001 a minus sign is meant


def plain(value: float) -> str:
    """A round number on an axis, without more digits than it needs."""
    return f"{value:g}".replace("-", "−")  # noqa: RUF001 a minus sign is meant


def grouped(count: int) -> str:
    """A count with its thousands apart."""
    return f"{count:,}"


def share(value: float) -> str:
    """0..1 with two digits and no leading zero, for style attributes."""
    return f"{value:.2f}".lstrip("0").rstrip(".") or "0"
