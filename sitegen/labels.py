"""Labels, which people or programs give to features: read from files of several kinds and kept beside the data."""

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

# Control characters, which HTML does not allow
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# A whole number with a decimal point, as pandas writes it in a column with gaps
WHOLE = re.compile(r"^([0-9]+)\.0+\Z")
# Most characters of a label, and of an author's name
LONGEST = 500
FIELDS = "feature, label, author (or method) and score"
# The names of each field, here and in other tools: Neuronpedia has index and description
NAMES_OF = {
    "feature": ("feature", "feature_id", "index"),
    "label": ("label", "description"),
    "author": ("author", "method", "explanationModelName", "typeName"),
    "score": ("score",),
}


@dataclass(frozen=True)
class Label:
    """A label that somebody gave to a feature."""

    feature: int
    label: str
    # The person or the method that made the label; may be empty
    author: str
    # By a measure that the author chose
    score: float | None


def read_labels(path: Path) -> list[Label]:
    """Read the labels of a file or folder, sorted by feature; those of one feature keep their order.

    A JSON file contains a list of objects, or an object with such a list as "labels"; a CSV file has a header; a
    JSON-lines file, which may be gzipped, has one object per line. A folder is an export of Neuronpedia or results of
    delphi.

    raises  UsageError naming the entry that is not a label
    """
    labels = [
        _label(entry, where)
        for where, entry in (_folder_entries if path.is_dir() else _file_entries)(path)
        if not _is_star_alone(entry)
    ]
    return sorted(labels, key=lambda label: label.feature)


def given_labels(path: Path) -> list[Label]:
    """Read the labels of a file or folder that a user gives.

    raises  UsageError as `read_labels` does, and if there are no labels
    """
    labels = read_labels(path)
    if not labels:
        raise UsageError(
            f"{path} contains no labels: give another file, or --labels none to remove the labels that pages show now"
        )
    return labels


def write_labels(labels: list[Label], autoencoder_key: str, path: Path) -> None:
    """Write labels in the form that `read_labels` reads, with the key of the autoencoder to which they belong."""
    entries = [dataclasses.asdict(label) for label in labels]
    content = orjson.dumps({"subject": autoencoder_key, "labels": entries})
    with whole_file(path) as file:
        file.write_bytes(content)


def require_known(labels: list[Label], feature_ids: set[int], path: Path) -> None:
    """Raise UsageError unless every label of a file belongs to a feature that was swept."""
    for label in labels:
        if label.feature not in feature_ids:
            raise UsageError(
                f"{path}: a label belongs to feature {label.feature}, which was not swept: remove this label, "
                "or render with --labels none"
            )


def kept_labels(path: Path, autoencoder_key: str, feature_ids: set[int]) -> list[Label]:
    """Read the labels that an earlier command has kept; none if there is no file.

    raises  UsageError if they cannot be read, or belong to another autoencoder or to a feature that was not swept
    """
    if not path.is_file():
        return []
    labels = read_labels(path)
    kept = _json(path.read_bytes().decode("utf-8-sig"), path)
    if not isinstance(kept, dict) or kept.get("subject") != autoencoder_key:
        raise UsageError(
            f"{path} contains labels of another autoencoder: render with --labels FILE to replace them, or with "
            "--labels none to remove them"
        )
    require_known(labels, feature_ids, path)
    return labels


def _folder_entries(folder: Path) -> list[tuple[str, Any]]:
    """Read (its location for messages, the entry) of each label in a folder of another tool."""
    batches = sorted((folder / "explanations").glob("batch-*.jsonl*"))
    if batches:
        return [entry for path in batches for entry in _file_entries(path)]
    return [
        (where, {**entry, "label": _shortened(entry["label"])})
        for where, entry in delphi_entries(folder)
    ]


def _shortened(text: Any) -> Any:
    """Shorten an explanation that a program wrote to the length of a label."""
    is_long = isinstance(text, str) and len(text.strip()) > LONGEST
    return f"{text.strip()[: LONGEST - 1]}…" if is_long else text


def _file_entries(path: Path) -> list[tuple[str, Any]]:
    """Read (its location for messages, the entry) of each label in a file."""
    try:
        content = require_content(path).read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8: save it in that encoding") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(
            f"{path} is not a complete gzip file ({error}): download or export it again"
        ) from None
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
            raise UsageError(
                f"{path}, line {i}, is not valid JSON ({error}): write one JSON object per line"
            ) from None
    return entries


def _json_entries(text: str, path: Path) -> list[Any]:
    value = _json(text, path)
    entries = value.get("labels") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise UsageError(f"{path} contains no list of labels: give a list of objects with {FIELDS}")
    return entries


def _json(text: str, path: Path) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{path} is not valid JSON ({error}): give a JSON list or a .csv file with {FIELDS}"
        ) from None


def _csv_entries(text: str, path: Path) -> list[Any]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        entries = [entry for entry in reader if any(map(_is_filled, entry.values()))]
    except csv.Error as error:
        raise UsageError(
            f"{path} is not valid CSV ({error}): give a header and lines with {FIELDS}"
        ) from None
    header = reader.fieldnames or []
    for field in ("feature", "label"):
        if entries and not {*NAMES_OF[field]} & {*header}:
            raise UsageError(
                f"{path} has no column {' or '.join(NAMES_OF[field])} (columns: {', '.join(header)}): "
                "rename one of its columns"
            )
    for i, entry in enumerate(entries, 1):
        if None in entry:
            raise UsageError(
                f"{path}, entry {i}, has more cells than the header: put labels that contain a comma in quotes"
            )
    return entries


def _is_filled(cell: Any) -> bool:
    """Check whether a cell has text; for cells beyond the header, which come as a list, whether any has."""
    return any(map(_is_filled, cell)) if isinstance(cell, list) else bool(cell and cell.strip())


def _is_star_alone(entry: Any) -> bool:
    """Check whether an exported entry has no label and only says that a reader starred the feature."""
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
        raise UsageError(f"{where}: feature is {feature!r}: give the feature's number")
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST:
        raise UsageError(
            f"{where}: label is {text!r:.60}: give a text of 1 to {LONGEST} characters"
        )
    if CONTROL.search(text):
        raise UsageError(f"{where}: label is {text!r:.60}: remove its control characters")
    if not isinstance(author, str) or len(author) > LONGEST:
        raise UsageError(
            f"{where}: author is {author!r:.60}: give a name of at most {LONGEST} characters"
        )
    return Label(int(number), text.strip(), author.strip(), _score(score, where))


def _score(score: Any, where: str) -> float | None:
    if score is None or score == "":
        return None
    try:
        value = float(score)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: score is {score!r:.60}: give a number, or omit the score")
    return value
