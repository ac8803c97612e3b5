"""Records to JSON files and back, with a manifest and checksums; docs/data-format.md describes the layout."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import orjson
import safetensors.numpy

from sitegen.errors import SourceError, StoreError, UsageError
from sitegen.file_names import (
    CHECKSUMS,
    EVIDENCE,
    FEATURES,
    LIVE,
    LIVE_SETTINGS,
    LIVE_TOKENIZER,
    LIVE_WEIGHTS,
    MANIFEST,
    OTHER,
    OVERVIEW,
    ROWS,
    VOCAB,
    FileNames,
)
from sitegen.files import require_no_pointer
from sitegen.records import (
    ROWS_PER_FILE,
    EvidenceRecord,
    FeatureRecord,
    JsonToken,
    LiveModel,
    LiveSettings,
    Manifest,
    OtherRecord,
    Overview,
    RowsRecord,
    TokenText,
    token_as_json,
    token_from_json,
)

SCHEMA_VERSION = 10
# The published schemas by their names, and the type that each is generated from
SCHEMAS: dict[str, Any] = {
    "manifest": Manifest,
    "vocab": list[JsonToken],
    "overview": Overview,
    "feature": FeatureRecord,
    "evidence": EvidenceRecord,
    "other": OtherRecord,
    "rows": RowsRecord,
    "live": LiveSettings,
}
SCHEMA_FOLDER = Path(__file__).parent / "schemas"
T = TypeVar("T")


def feature_path(folder: Path, feature_id: int) -> Path:
    """Where a feature's record stands in a data folder."""
    return folder / FEATURES.name(feature_id)


def evidence_path(folder: Path, feature_id: int) -> Path:
    """Where the evidence beside a feature's record stands."""
    return folder / EVIDENCE.name(feature_id)


def other_path(folder: Path, feature_id: int) -> Path:
    """Where the record of a feature of the second autoencoder stands."""
    return folder / OTHER.name(feature_id)


def rows_path(folder: Path, row: int) -> Path:
    """Where the text of a row stands, with that of its neighbours."""
    return folder / ROWS.name(row // ROWS_PER_FILE)


class StoreWriter:
    """Writes a data folder: records as they come, then the vocabulary and the manifest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checksums: dict[str, str] = {}
        for names in (FEATURES, EVIDENCE):
            (folder / names.folder).mkdir(parents=True)

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
        folder = self._folder
        (folder / LIVE).mkdir()
        self._write(folder / LIVE_SETTINGS, model.settings)
        self._write_bytes(folder / LIVE_WEIGHTS, safetensors.numpy.save(model.weights))
        self._write_bytes(folder / LIVE_TOKENIZER, model.tokenizer)

    def finish(self, manifest: Manifest, vocab: list[TokenText], overview: Overview) -> None:
        """Writes what is about the whole, and the checksum of every file."""
        self._write(self._folder / VOCAB, [token_as_json(token) for token in vocab])
        self._write(self._folder / OVERVIEW, overview)
        self._write(self._folder / MANIFEST, manifest, indent=True)
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self._checksums.items())]
        (self._folder / CHECKSUMS).write_text("".join(lines), "ascii")

    def _write(self, path: Path, value: Any, indent: bool = False) -> None:
        layout = orjson.OPT_INDENT_2 if indent else 0
        self._write_bytes(
            path, orjson.dumps(value, _fields_of, orjson.OPT_SERIALIZE_NUMPY | layout)
        )

    def _write_bytes(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self._checksums[path.relative_to(self._folder).as_posix()] = hashlib.sha256(
            data
        ).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a data folder.

    raises  StoreError if there is none, its schema is another, or it does not fit its schema
    """
    path = folder / MANIFEST
    content = read_bytes(path)
    manifest = parse_json(content, path)
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema {version}, this build reads {SCHEMA_VERSION}: run the sweep again"
        )
    return decode(Manifest, content, path)


def read_vocab(folder: Path) -> list[TokenText]:
    """Read what each token id stands for, [d_vocab]: text, bytes that are no whole character, or None for an unused id.

    raises  StoreError if the file is missing, damaged, or not as long as the manifest says
    """
    path = folder / VOCAB
    values: list[JsonToken] = decode(list[JsonToken], read_bytes(path), path)
    d_vocab = read_manifest(folder).counts.d_vocab
    if len(values) != d_vocab:
        raise StoreError(
            f"{path} has {len(values)} tokens, the manifest says {d_vocab}: run the sweep again"
        )
    return [token_from_json(value) for value in values]


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
    path = folder / OVERVIEW
    return decode(Overview, read_bytes(path), path)


def read_live_settings(folder: Path) -> LiveSettings | None:
    """What pages need to know of the model that they run; None where there is none.

    raises  StoreError if the file is damaged or does not fit its schema
    """
    path = folder / LIVE_SETTINGS
    return decode(LiveSettings, read_bytes(path), path) if path.parent.is_dir() else None


def read_live(folder: Path) -> LiveModel | None:
    """The model that pages run; None where there is none.

    raises  StoreError if a file is missing or damaged
    """
    settings, path = read_live_settings(folder), folder / LIVE_WEIGHTS
    if settings is None:
        return None
    try:
        weights: dict[str, np.ndarray] = safetensors.numpy.load(read_bytes(path))
    except safetensors.SafetensorError as error:
        raise StoreError(f"{path} is damaged ({error}): run the sweep again") from None
    return LiveModel(settings, weights, read_bytes(folder / LIVE_TOKENIZER))


def feature_files(folder: Path) -> list[Path]:
    """Every record's file, by feature number.

    raises  StoreError if there is none
    """
    paths = _numbered_files(folder, FEATURES)
    if not paths:
        raise StoreError(f"{folder / FEATURES.folder} holds no feature: run the sweep again")
    return paths


def rows_files(folder: Path) -> list[Path]:
    """Every file of rows, in order."""
    return _numbered_files(folder, ROWS)


def _numbered_files(folder: Path, names: FileNames) -> list[Path]:
    """The files there are of those that differ in a number, by that number."""
    paths = (folder / names.folder).glob(f"*{names.after}")
    return sorted((path for path in paths if path.stem.isdecimal()), key=lambda p: int(p.stem))


def decode(kind: type[T], content: bytes, path: Path) -> T:
    """The record in a file's content, which fits the record's type and limits.

    raises  StoreError naming the file, and where in it what does not fit
    """
    try:
        found: T = _decoder(cast(Any, kind)).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, UsageError) as error:
        raise StoreError(f"{path} is damaged ({error}): run the sweep again") from None
    return found


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


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


def _fields_of(value: Any) -> Any:
    """A record's fields, which orjson writes.

    orjson is used although msgspec is faster: msgspec would write the float32 numbers of arrays as float64.
    """
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    raise TypeError(f"{type(value).__name__} is not a type that records hold")


def parse_json(data: bytes, path: Path) -> Any:
    """The value in a file's content.

    raises  StoreError if it is no JSON
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error}): run the sweep again") from None
