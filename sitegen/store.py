"""Records to JSON files and back, with a manifest and checksums; the layout is design's contract.

manifest.json  vocab.json  overview.json  features/00007.json  evidence/00007.json  other/00007.json  rows/00000.json
live/settings.json  live/weights.safetensors  live/tokenizer.json  SHA256SUMS
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import fastjsonschema
import numpy as np
import orjson
import safetensors.numpy

from sitegen.errors import SourceError, StoreError
from sitegen.files import require_no_pointer
from sitegen.records import (
    ROWS_PER_FILE,
    EvidenceRecord,
    FeatureRecord,
    LiveModel,
    LiveSettings,
    OtherRecord,
    Overview,
    RowsRecord,
    TokenText,
)

SCHEMA_VERSION = 9
CHECKSUMS = "SHA256SUMS"
SCHEMAS: dict[type, str] = {
    FeatureRecord: "feature",
    EvidenceRecord: "evidence",
    OtherRecord: "other",
    Overview: "overview",
    RowsRecord: "rows",
    LiveSettings: "live",
}
T = TypeVar("T")
IDS: tuple[set[type], int | None] = ({int}, 0)
CHANGES: tuple[set[type], int | None] = ({int, float}, None)
NUMBER_LISTS: dict[str, tuple[set[type], int | None]] = {  # what each may hold, and the least of it
    "tokens": IDS,
    "activations": ({int, float}, 0),
    "context": IDS,
    "offset": IDS,
    "loss_change": ({int, float, type(None)}, None),
    "promoted_id": IDS,
    "promoted_change": CHANGES,
    "suppressed_id": IDS,
    "suppressed_change": CHANGES,
}
SETTINGS, WEIGHTS, TOKENIZER = "settings.json", "weights.safetensors", "tokenizer.json"
SCHEMA_FOLDER = Path(__file__).parent / "schema"


def feature_path(folder: Path, feature_id: int) -> Path:
    """Where a feature's record stands in a data folder."""
    return folder / "features" / f"{feature_id:05d}.json"


def evidence_path(folder: Path, feature_id: int) -> Path:
    """Where the evidence beside a feature's record stands."""
    return folder / "evidence" / f"{feature_id:05d}.json"


def other_path(folder: Path, feature_id: int) -> Path:
    """Where the record of a feature of the second autoencoder stands."""
    return folder / "other" / f"{feature_id:05d}.json"


def rows_path(folder: Path, row: int) -> Path:
    """Where the text of a row stands, with that of its neighbours."""
    return folder / "rows" / f"{row // ROWS_PER_FILE:05d}.json"


def live_folder(folder: Path) -> Path:
    """Where the model that pages run stands, if there is one."""
    return folder / "live"


class StoreWriter:
    """Writes a data folder: records as they come, then the vocabulary and the manifest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checksums: dict[str, str] = {}
        for name in ("features", "evidence"):
            (folder / name).mkdir(parents=True)

    def add(self, record: FeatureRecord) -> None:
        """Writes one feature's record."""
        self._write(feature_path(self._folder, record.feature_id), record)

    def add_evidence(self, record: EvidenceRecord) -> None:
        """Writes the evidence beside one feature's record."""
        self._write(evidence_path(self._folder, record.feature_id), record)

    def add_other(self, record: OtherRecord) -> None:
        """Writes the record of one feature of the second autoencoder."""
        path = other_path(self._folder, record.feature_id)
        path.parent.mkdir(exist_ok=True)
        self._write(path, record)

    def add_rows(self, record: RowsRecord) -> None:
        """Writes the text of rows that stand in one file."""
        path = rows_path(self._folder, record.row[0])
        path.parent.mkdir(exist_ok=True)
        self._write(path, record)

    def add_live(self, model: LiveModel) -> None:
        """Writes the model that pages run."""
        folder = live_folder(self._folder)
        folder.mkdir()
        self._write(folder / SETTINGS, model.settings)
        self._write_bytes(folder / WEIGHTS, safetensors.numpy.save(model.weights))
        self._write_bytes(folder / TOKENIZER, model.tokenizer)

    def finish(self, manifest: dict[str, Any], vocab: list[TokenText], overview: Overview) -> None:
        """Writes what is about the whole, and the checksum of every file."""
        self._write(self._folder / "vocab.json", vocab)
        self._write(self._folder / "overview.json", overview)
        self._write(
            self._folder / "manifest.json",
            {"schema_version": SCHEMA_VERSION, **manifest},
            indent=True,
        )
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self._checksums.items())]
        (self._folder / CHECKSUMS).write_text("".join(lines), "ascii")

    def _write(self, path: Path, value: Any, indent: bool = False) -> None:
        layout = orjson.OPT_INDENT_2 if indent else 0
        self._write_bytes(
            path, orjson.dumps(value, _bytes_to_json, orjson.OPT_SERIALIZE_NUMPY | layout)
        )

    def _write_bytes(self, path: Path, data: bytes) -> None:
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


def read_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a data folder, by its name in it, as the sweep wrote it; none where there is no list.

    raises  StoreError if the list is no text
    """
    path = folder / CHECKSUMS
    try:
        lines = path.read_text("ascii").splitlines() if path.is_file() else []
    except UnicodeDecodeError:
        raise StoreError(f"{path} is no list of checksums: run the sweep again") from None
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs}


def read_overview(folder: Path) -> Overview:
    """What is known of the autoencoder as a whole.

    raises  StoreError if the file is missing, damaged, or does not fit its schema
    """
    path = folder / "overview.json"
    return examined(Overview, read_bytes(path), path)


def read_live_settings(folder: Path) -> LiveSettings | None:
    """What pages need to know of the model that they run; None where there is none.

    raises  StoreError if the file is damaged or does not fit its schema
    """
    path = live_folder(folder) / SETTINGS
    return examined(LiveSettings, read_bytes(path), path) if path.parent.is_dir() else None


def read_live(folder: Path) -> LiveModel | None:
    """The model that pages run; None where there is none.

    raises  StoreError if a file is missing or damaged
    """
    settings, live = read_live_settings(folder), live_folder(folder)
    if settings is None:
        return None
    try:
        weights: dict[str, np.ndarray] = safetensors.numpy.load(read_bytes(live / WEIGHTS))
    except safetensors.SafetensorError as error:
        raise StoreError(f"{live / WEIGHTS} is damaged ({error}): run the sweep again") from None
    return LiveModel(settings, weights, read_bytes(live / TOKENIZER))


def require_schema(value: Any, schema: str, path: Path) -> None:
    """That a value fits a published schema, by its name: `feature`, `manifest` and so on.

    raises  StoreError naming the file and the first thing that does not fit
    """
    try:
        _validator(schema)(value)
    except fastjsonschema.JsonSchemaException as error:
        raise StoreError(f"{path}: {error}") from None


@cache
def _validator(schema: str) -> Callable[[Any], Any]:
    definition = orjson.loads((SCHEMA_FOLDER / f"{schema}.schema.json").read_bytes())
    _leave_out_items(definition)
    validator: Callable[[Any], Any] = fastjsonschema.compile(definition)
    return validator


def _leave_out_items(definition: Any) -> None:
    """Takes out of a schema what `_require_numbers` examines: lists of numbers are most of a record's values."""
    if isinstance(definition, dict):
        for name, part in definition.items():
            if name in NUMBER_LISTS and isinstance(part, dict):
                part.pop("items", None)
            _leave_out_items(part)


def _require_numbers(value: Any, path: Path) -> None:
    """That the lists of numbers in a value hold what they may; the same as their schema, in a tenth of its time."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name in NUMBER_LISTS:
                allowed, lowest = NUMBER_LISTS[name]
                found = set(map(type, part))
                flat = [*chain.from_iterable(part)] if found == {list} else part
                found = set(map(type, flat))
                if not found <= allowed or (lowest is not None and flat and min(flat) < lowest):
                    raise StoreError(
                        f"{path}: {name} holds what is no such number: run the sweep again"
                    )
            elif type(part) is dict or type(part) is list:
                _require_numbers(part, path)
    elif isinstance(value, list) and value and type(value[0]) is dict:
        for part in value:
            _require_numbers(part, path)


def feature_files(folder: Path) -> list[Path]:
    """Every record's file, by feature number.

    raises  StoreError if there is none
    """
    paths = [path for path in (folder / "features").glob("*.json") if path.stem.isdecimal()]
    if not paths:
        raise StoreError(f"{folder / 'features'} holds no feature: run the sweep again")
    return sorted(paths, key=lambda path: int(path.stem))


def rows_files(folder: Path) -> list[Path]:
    """Every file of rows, in order."""
    return sorted(path for path in (folder / "rows").glob("*.json") if path.stem.isdecimal())


def examined(kind: type[T], data: bytes, path: Path) -> T:
    """The record in a file's content, known to fit its schema.

    raises  StoreError if it is damaged or does not fit
    """
    return examined_fields(kind, parse_json(data, path), path)


def examined_fields(kind: type[T], fields: Any, path: Path) -> T:
    """The record of a file's fields, known to fit its schema.

    raises  StoreError if it does not fit
    """
    require_schema(fields, SCHEMAS[kind], path)
    _require_numbers(fields, path)
    return as_record(kind, fields, path)


def as_record(kind: type[T], fields: Any, path: Path) -> T:
    """The record of a file's fields that are known to fit its schema."""
    reader = _reader(typing.cast(Any, kind))
    assert reader is not None
    made: T = reader(fields)
    return made


def matched_features(fields: Any) -> list[int]:
    """The features of the second autoencoder that a feature's record names, each once."""
    match = fields.get("match") if isinstance(fields, dict) else None
    named = list(match.values()) if isinstance(match, dict) else []
    ids = [one.get("feature_id") for one in named if isinstance(one, dict)]
    return list(dict.fromkeys(i for i in ids if isinstance(i, int)))


def read_bytes(path: Path) -> bytes:
    """A file's content.

    raises  StoreError if it is missing, or a pointer of Git LFS stands in its place
    """
    try:
        content = path.read_bytes()
        require_no_pointer(content, path)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: run the sweep first") from None
    except SourceError as error:
        raise StoreError(str(error)) from None
    return content


def _bytes_to_json(value: Any) -> Any:
    """What orjson cannot write by itself: a token of bytes that are no whole character."""
    if isinstance(value, bytes):
        return {"bytes": list(value)}
    raise TypeError(f"{type(value).__name__} is nothing a record holds")


def _token_from_json(value: Any) -> TokenText:
    return bytes(value["bytes"]) if isinstance(value, dict) else value


@cache
def _reader(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a value of a type from JSON; None where it is the same in both."""
    if kind == TokenText:
        return _token_from_json
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return _optional(_reader(arguments[0]))
    if typing.get_origin(kind) is list:
        return _each(_reader(arguments[0]))
    return _fields(kind) if dataclasses.is_dataclass(kind) else None


def _optional(read: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return read and (lambda value: None if value is None else read(value))


def _each(read: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return read and (lambda values: [read(value) for value in values])


def _fields(kind: Any) -> Callable[[Any], Any]:
    readers = {name: _reader(hint) for name, hint in typing.get_type_hints(kind).items()}
    others = {name: read for name, read in readers.items() if read}
    if not others:
        return lambda fields: kind(**fields)
    return lambda fields: kind(
        **{**fields, **{name: read(fields[name]) for name, read in others.items()}}
    )


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    raises  StoreError if it is missing or no JSON
    """
    return parse_json(read_bytes(path), path)


def parse_json(data: bytes, path: Path) -> Any:
    """The value in a file's content.

    raises  StoreError if it is no JSON
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error}): run the sweep again") from None
