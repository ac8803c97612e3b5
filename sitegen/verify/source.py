"""Published numbers of presets, as `published/PRESET.toml` states them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

PUBLISHED_FOLDER = Path(__file__).parent / "published"


def published_presets() -> list[str]:
    """Names of the presets that have published numbers, in alphabetical order."""
    return sorted(path.stem for path in PUBLISHED_FOLDER.glob("*.toml"))


def read_published(preset: str) -> dict[str, Any] | None:
    """Read a preset's published numbers; None if it has none."""
    path = PUBLISHED_FOLDER / f"{preset}.toml"
    return tomllib.loads(path.read_text("utf-8")) if preset in published_presets() else None
