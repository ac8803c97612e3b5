"""Settings files: a JSON object in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sitegen.errors import SourceError
from sitegen.files import require_content


def read_settings(path: Path, name: str) -> dict[str, Any]:
    """Read the JSON object in a file.

    name    of the file's folder or repository, for messages
    raises  SourceError if the file holds anything else
    """
    try:
        settings = json.loads(require_content(path).read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{name}/{path.name} is not valid JSON ({error}); download or save the file again"
        ) from None
    if not isinstance(settings, dict):
        raise SourceError(
            f"{name}/{path.name} is not a JSON object; download or save the file again"
        )
    return settings
