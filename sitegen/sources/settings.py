"""Settings files: a JSON or YAML object in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from sitegen.errors import SourceError
from sitegen.files import require_content


def read_settings(path: Path, name: str) -> dict[str, Any]:
    """Read the object in a file, JSON or YAML by the ending of its name.

    name    of the file's folder or repository, for messages
    raises  SourceError if the file holds anything else
    """
    kind, load = ("JSON", json.loads) if path.suffix == ".json" else ("YAML", yaml.safe_load)
    try:
        settings = load(require_content(path).read_text("utf-8-sig"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(
            f"{name}/{path.name} is not valid {kind} ({reason}); download or save the file again"
        ) from None
    if not isinstance(settings, dict):
        raise SourceError(
            f"{name}/{path.name} is not a {kind} object; download or save the file again"
        )
    return settings
