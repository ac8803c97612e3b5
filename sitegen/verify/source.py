"""What was published of a preset's subject, as it stands in `published/PRESET.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

PUBLISHED_FOLDER = Path(__file__).parent / "published"


def published_presets() -> list[str]:
    """The presets of whose subjects numbers are published."""
    return sorted(path.stem for path in PUBLISHED_FOLDER.glob("*.toml"))


def read_published(preset: str) -> dict[str, Any] | None:
    """What was published of a preset's subject; None where nothing was."""
    path = PUBLISHED_FOLDER / f"{preset}.toml"
    return tomllib.loads(path.read_text("utf-8")) if preset in published_presets() else None
