"""Records to JSON files and back, with a manifest and checksums; the layout is design's contract.

manifest.json  vocab.json  features/00007.json  SHA256SUMS
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson

from sitegen.errors import StoreError
from sitegen.records import (
    ContextRecord,
    FeatureRecord,
    Histogram,
    LogitEffect,
    LogitEffects,
    SpecialFirings,
    TokenText,
)

SCHEMA_VERSION = 2
CHECKSUMS = "SHA256SUMS"
SCHEMA_FOLDER = Path(__file__).parent / "schema"


def feature_path(folder: Path, feature_id: int) -> Path:
    """Where a feature's record stands in a data folder."""
    return folder / "features" / f"{feature_id:05d}.json"


class StoreWriter:
    """Writes a data folder: records as they come, then the vocabulary and the manifest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checksums: dict[str, str] = {}
        (folder / "features").mkdir(parents=True)

    def add(self, record: FeatureRecord) -> None:
        """Writes one feature's record."""
        self._write(feature_path(self._folder, record.feature_id), record)

    def finish(self, manifest: dict[str, Any], vocab: list[TokenText]) -> None:
        """Writes what is about the whole, and the checksum of every file."""
        self._write(self._folder / "vocab.json", vocab)
        self._write(
            self._folder / "manifest.json",
            {"schema_version": SCHEMA_VERSION, **manifest},
            indent=True,
        )
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self._checksums.items())]
        (self._folder / CHECKSUMS).write_text("".join(lines), "ascii")

    def _write(self, path: Path, value: Any, indent: bool = False) -> None:
        data = orjson.dumps(
            value, default=_bytes_to_json, option=orjson.OPT_INDENT_2 if indent else None
        )
        path.write_bytes(data)
        self._checksums[path.relative_to(self._folder).as_posix()] = hashlib.sha256(
            data
        ).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data folder.

    raises  StoreError if there is none, its schema is another, or it does not fit its schema
    """
    path = folder / "manifest.json"
    manifest: dict[str, Any] = read_json(path)
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema {version}, this build reads {SCHEMA_VERSION}: run the sweep again"
        )
    require_schema(manifest, "manifest", path)
    return manifest


def read_vocab(folder: Path) -> list[TokenText]:
    """[d_vocab] each token id's text, bytes or None.

    raises  StoreError if the file is missing, damaged, or not as long as the manifest says
    """
    path = folder / "vocab.json"
    values = read_json(path)
    require_schema(values, "vocab", path)
    d_vocab = read_manifest(folder)["counts"]["d_vocab"]
    if len(values) != d_vocab:
        raise StoreError(
            f"{path} has {len(values)} tokens, the manifest says {d_vocab}: run the sweep again"
        )
    return [_token_from_json(value) for value in values]


def require_schema(value: Any, schema: str, path: Path) -> None:
    """That a value fits a published schema (`feature`, `manifest` or `vocab`).

    raises  StoreError naming the file and the first thing that does not fit
    """
    try:
        _validator(schema)(value)
    except fastjsonschema.JsonSchemaException as error:
        raise StoreError(f"{path}: {error}") from None


@cache
def _validator(schema: str) -> Callable[[Any], Any]:
    definition = orjson.loads((SCHEMA_FOLDER / f"{schema}.schema.json").read_bytes())
    validator: Callable[[Any], Any] = fastjsonschema.compile(definition)
    return validator


def feature_files(folder: Path) -> list[Path]:
    """Every record's file, by feature number.

    raises  StoreError if there is none
    """
    paths = [path for path in (folder / "features").glob("*.json") if path.stem.isdecimal()]
    if not paths:
        raise StoreError(f"{folder / 'features'} holds no feature: run the sweep again")
    return sorted(paths, key=lambda path: int(path.stem))


def read_feature(path: Path) -> FeatureRecord:
    """One record.

    raises  StoreError if the file is missing, damaged, or does not fit its schema
    """
    return examined_feature(_read(path), path)


def examined_feature(data: bytes, path: Path) -> FeatureRecord:
    """The record in a file's content, known to fit its schema.

    raises  StoreError if it is damaged or does not fit
    """
    fields = _parse_json(data, path)
    require_schema(fields, "feature", path)
    return _feature_from_json(fields)


def parse_feature(data: bytes, path: Path) -> FeatureRecord:
    """The record in a file's content that is known to fit its schema."""
    return _feature_from_json(_parse_json(data, path))


def _feature_from_json(fields: dict[str, Any]) -> FeatureRecord:
    logits = fields["logits"]
    return FeatureRecord(
        **{
            **fields,
            "special": SpecialFirings(**fields["special"]),
            "histogram": Histogram(**fields["histogram"]),
            "contexts": [ContextRecord(**context) for context in fields["contexts"]],
            "logits": LogitEffects(
                top=[_effect_from_json(effect) for effect in logits["top"]],
                bottom=[_effect_from_json(effect) for effect in logits["bottom"]],
                histogram=Histogram(**logits["histogram"]),
            ),
        }
    )


def _effect_from_json(effect: dict[str, Any]) -> LogitEffect:
    return LogitEffect(**{**effect, "token": _token_from_json(effect["token"])})


def _bytes_to_json(value: Any) -> Any:
    """What orjson cannot write by itself: a token of bytes that are no whole character."""
    if isinstance(value, bytes):
        return {"bytes": list(value)}
    raise TypeError(f"{type(value).__name__} is nothing a record holds")


def _token_from_json(value: Any) -> TokenText:
    return bytes(value["bytes"]) if isinstance(value, dict) else value


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    raises  StoreError if it is missing or no JSON
    """
    return _parse_json(_read(path), path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: run the sweep first") from None


def _parse_json(data: bytes, path: Path) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error}): run the sweep again") from None
