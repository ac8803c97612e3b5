"""What people or programs call features: labels, read from files of several kinds and kept beside the data."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sitegen.config import is_number
from sitegen.delphi import delphi_entries
from sitegen.errors import UsageError
from sitegen.files import require_content, whole_file

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # which no page can hold
WHOLE = re.compile(r"^([0-9]+)\.0+\Z")  # as pandas writes a number in a column that has gaps
LONGEST = 500  # characters of a label; an author's name is shorter
FIELDS = "feature, label, author (or method) and score"
# What stands in a field, under our name for it or another tool's: Neuronpedia says index and description
NAMES_OF = {
    "feature": ("feature", "feature_id", "index"),
    "label": ("label", "description"),
    "author": ("author", "method", "explanationModelName", "typeName"),
    "score": ("score",),
}


@dataclass(frozen=True)
class Label:
    """What somebody calls a feature."""

    feature: int
    label: str
    author: str  # a person, or the method that made it up; may be empty
    score: float | None  # by the author's own measure


def read_labels(path: Path) -> list[Label]:
    """The labels of a file or folder, in order of features; those of one feature as they stand in it.

    A JSON file holds a list of objects, or an object with such a list as "labels"; a CSV file has a head; a JSON-lines
    file, which may be gzipped, has an object a line. A folder is Neuronpedia's export or delphi's results.

    raises  UsageError naming the entry that is none
    """
    labels = [
        _label(entry, where)
        for where, entry in (_folder_entries if path.is_dir() else _file_entries)(path)
        if not _is_star_alone(entry)
    ]
    return sorted(labels, key=lambda label: label.feature)


def given_labels(path: Path) -> list[Label]:
    """The labels of a file or folder that a user names.

    raises  UsageError likewise, and if it holds none
    """
    labels = read_labels(path)
    if not labels:
        raise UsageError(f"{path} holds no labels: --labels none forgets those that are shown")
    return labels


def write_labels(labels: list[Label], autoencoder_key: str, path: Path) -> None:
    """Keeps labels where `read_labels` finds them again, with the key of the subject that they are of."""
    entries = [dataclasses.asdict(label) for label in labels]
    content = orjson.dumps({"subject": autoencoder_key, "labels": entries})
    with whole_file(path) as file:
        file.write_bytes(content)


def require_known(labels: list[Label], feature_ids: set[int], path: Path) -> None:
    """That every label of a file is of a feature that was swept.

    raises  UsageError
    """
    for label in labels:
        if label.feature not in feature_ids:
            raise UsageError(
                f"{path}: a label is of feature {label.feature}, which was not swept: take it out, "
                "or render with --labels none"
            )


def kept_labels(path: Path, autoencoder_key: str, feature_ids: set[int]) -> list[Label]:
    """The labels kept at a path; none where there is no file.

    raises  UsageError if they cannot be read, or are of another subject or of a feature that was not swept
    """
    if not path.is_file():
        return []
    labels = read_labels(path)
    kept = _json(path.read_bytes().decode("utf-8-sig"), path)
    if not isinstance(kept, dict) or kept.get("subject") != autoencoder_key:
        raise UsageError(
            f"{path} holds the labels of another autoencoder: render with --labels FILE, or --labels none"
        )
    require_known(labels, feature_ids, path)
    return labels


def _folder_entries(folder: Path) -> list[tuple[str, Any]]:
    """(where it stands, the entry) of each label in another tool's folder."""
    batches = sorted((folder / "explanations").glob("batch-*.jsonl*"))
    if batches:
        return [entry for path in batches for entry in _file_entries(path)]
    return [
        (where, {**entry, "label": _shortened(entry["label"])})
        for where, entry in delphi_entries(folder)
    ]


def _shortened(text: Any) -> Any:
    """A program's explanation, cut where a label ends."""
    is_long = isinstance(text, str) and len(text.strip()) > LONGEST
    return f"{text.strip()[: LONGEST - 1]}…" if is_long else text


def _file_entries(path: Path) -> list[tuple[str, Any]]:
    """Likewise of a file."""
    try:
        content = require_content(path).read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8: save it as such") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is no gzip file: {error}") from None
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    read = {".csv": _csv_entries, ".jsonl": _line_entries}.get(suffix, _json_entries)
    return [(f"{path}, entry {i}", entry) for i, entry in enumerate(read(text, path), 1)]


def _line_entries(text: str, path: Path) -> list[Any]:
    entries = []
    for i, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                entries.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise UsageError(f"{path}, line {i}, is no JSON: {error}") from None
    return entries


def _json_entries(text: str, path: Path) -> list[Any]:
    value = _json(text, path)
    entries = value.get("labels") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise UsageError(f"{path} holds no list of labels: give objects with {FIELDS}")
    return entries


def _json(text: str, path: Path) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{path} is no JSON ({error}): give a JSON list or a .csv file with {FIELDS}"
        ) from None


def _csv_entries(text: str, path: Path) -> list[Any]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        entries = [entry for entry in reader if any(map(_is_filled, entry.values()))]
    except csv.Error as error:
        raise UsageError(
            f"{path} is no CSV ({error}): give a head and lines with {FIELDS}"
        ) from None
    head = reader.fieldnames or []
    for field in ("feature", "label"):
        if entries and not {*NAMES_OF[field]} & {*head}:
            raise UsageError(
                f"{path} has no column {' or '.join(NAMES_OF[field])}: its head is {', '.join(head)}"
            )
    for i, entry in enumerate(entries, 1):
        if None in entry:
            raise UsageError(
                f"{path}, entry {i}, has more cells than the head: put a label with a comma in quotes"
            )
    return entries


def _is_filled(cell: Any) -> bool:
    """That something stands in a cell, or in those beyond the head's."""
    return any(map(_is_filled, cell)) if isinstance(cell, list) else bool(cell and cell.strip())


def _is_star_alone(entry: Any) -> bool:
    """That an exported entry only says that a reader starred the feature."""
    return isinstance(entry, dict) and "starred" in entry and not entry.get("label")


def _label(entry: Any, where: str) -> Label:
    given = entry if isinstance(entry, dict) else {}
    feature, text, author, score = (
        next(
            (given[name] for name in names if given.get(name) not in (None, "")),
            given.get(names[0]),
        )
        for names in NAMES_OF.values()
    )
    author = "" if author is None else author
    number = WHOLE.sub(r"\1", str(feature).strip())
    if not is_number(number):
        raise UsageError(f"{where}: feature is {feature!r}: give its number")
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST:
        raise UsageError(f"{where}: label is {text!r:.60}: give 1 to {LONGEST} characters")
    if CONTROL.search(text):
        raise UsageError(f"{where}: label is {text!r:.60}: take control characters out")
    if not isinstance(author, str) or len(author) > LONGEST:
        raise UsageError(f"{where}: author is {author!r:.60}: give a name")
    return Label(int(number), text.strip(), author.strip(), _score(score, where))


def _score(score: Any, where: str) -> float | None:
    if score is None or score == "":
        return None
    try:
        value = float(score)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: score is {score!r:.60}: give a number, or leave it out")
    return value
