"""The published JSON Schemas are generated from the records, and another library validates written files with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from sitegen.schema import json_schema
from sitegen.store import SCHEMA_FOLDER, SCHEMAS

FILES = {
    "manifest": "manifest.json",
    "vocab": "vocab.json",
    "overview": "overview.json",
    "feature": "features/00007.json",
    "evidence": "evidence/00007.json",
    "other": "other/00007.json",
    "rows": "rows/00000.json",
    "live": "live/settings.json",
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_the_generated_one(name: str) -> None:
    published = json.loads((SCHEMA_FOLDER / f"{name}.schema.json").read_text("utf-8"))
    assert published == json_schema(name), "run python -m sitegen.schema"
    assert {path.name for path in SCHEMA_FOLDER.iterdir()} == {
        f"{one}.schema.json" for one in SCHEMAS
    }


@pytest.mark.parametrize("name", SCHEMAS)
def test_written_files_fit_their_published_schema(name: str, tiny_output: Path) -> None:
    validator = Draft202012Validator(json_schema(name))
    value = json.loads((tiny_output / "data" / FILES[name]).read_bytes())
    validator.validate(value)
    if isinstance(value, dict):
        value.pop(next(iter(value)))
        with pytest.raises(ValidationError, match="is a required property"):
            validator.validate(value)
