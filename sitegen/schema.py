"""The published JSON Schemas, generated from the types of the records: `python -m sitegen.schema` writes them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from sitegen.store import SCHEMA_FOLDER, SCHEMAS

TITLES = {
    "manifest": "What was computed from which inputs: data/manifest.json",
    "vocab": "Text of each token id, which is its index: data/vocab.json",
    "overview": "The autoencoder as a whole: data/overview.json",
    "feature": "One feature: data/features/NNNNN.json",
    "evidence": "Details beside a feature: data/evidence/NNNNN.json",
    "other": "A feature of the second autoencoder: data/other/NNNNN.json",
    "rows": "The text of some rows that contexts are taken from: data/rows/NNNNN.json",
    "live": "How pages run the model: data/live/settings.json",
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file, by its name in `SCHEMAS`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLES[name],
        **msgspec.json.schema(SCHEMAS[name]),
    }
    # By way of JSON, which has lists where defaults are tuples
    found: dict[str, Any] = json.loads(json.dumps(schema))
    return found


def write_schemas() -> None:
    """Write every schema to the folder that the documentation links to."""
    for name in SCHEMAS:
        text = json.dumps(json_schema(name), indent=2) + "\n"
        (SCHEMA_FOLDER / f"{name}.schema.json").write_text(text, "utf-8")


if __name__ == "__main__":
    write_schemas()
