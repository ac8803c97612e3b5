"""Settings beside weights: a JSON object in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sitegen.errors import SourceError
from sitegen.files import require_content


def read_settings(path: Path, name: str) -> dict[str, Any]:
    """The object in a file of the folder or repository that is called `name`.

    raises  SourceError if there is none
    """
    try:
        settings = json.loads(require_content(path).read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}/{path.name} is no JSON: {error}") from None
    if not isinstance(settings, dict):
        raise SourceError(f"{name}/{path.name} is no JSON object")
    return settings
