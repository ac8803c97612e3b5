"""What people or programs call features: a file of labels, read from JSON or CSV and kept beside the data."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sitegen.errors import UsageError
from sitegen.files import whole_file

LONGEST = 500  # characters of a label; an author's name is shorter
FIELDS = "feature, label, author (or method) and score"


@dataclass(frozen=True)
class Label:
    """What somebody calls a feature."""

    feature: int
    label: str
    author: str  # a person, or the method that made it up; may be empty
    score: float | None  # by the author's own measure


def read_labels(path: Path) -> list[Label]:
    """The labels of a file, in order of features; those of one feature as they stand in it.

    A JSON file holds a list of objects, or an object with such a list as "labels"; a CSV file has a head.

    raises  UsageError naming the entry that is none
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8: save it as such") from None
    entries = (
        _csv_entries(text, path) if path.suffix.lower() == ".csv" else _json_entries(text, path)
    )
    labels = [
        _label(entry, f"{path}, entry {i}")
        for i, entry in enumerate(entries, 1)
        if not _is_star_alone(entry)
    ]
    return sorted(labels, key=lambda label: label.feature)


def write_labels(labels: list[Label], subject: str, path: Path) -> None:
    """Keeps labels where `read_labels` finds them again, with the key of the subject that they are of."""
    entries = [dataclasses.asdict(label) for label in labels]
    content = orjson.dumps({"subject": subject, "labels": entries})
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


def kept_labels(path: Path, subject: str, feature_ids: set[int]) -> list[Label]:
    """The labels kept at a path; none where there is no file.

    raises  UsageError if they cannot be read, or are of another subject or of a feature that was not swept
    """
    if not path.is_file():
        return []
    labels = read_labels(path)
    kept_for = orjson.loads(path.read_bytes()).get("subject")
    if kept_for != subject:
        raise UsageError(
            f"{path} holds the labels of another autoencoder: render with --labels FILE, or --labels none"
        )
    require_known(labels, feature_ids, path)
    return labels


def _json_entries(text: str, path: Path) -> list[Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{path} is no JSON ({error}): give a JSON list or a .csv file with {FIELDS}"
        ) from None
    entries = value.get("labels") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise UsageError(f"{path} holds no list of labels: give objects with {FIELDS}")
    return entries


def _csv_entries(text: str, path: Path) -> list[Any]:
    try:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UsageError(
            f"{path} is no CSV ({error}): give a head and lines with {FIELDS}"
        ) from None


def _is_star_alone(entry: Any) -> bool:
    """That an exported entry only says that a reader starred the feature."""
    return isinstance(entry, dict) and "starred" in entry and not entry.get("label")


def _label(entry: Any, where: str) -> Label:
    given = entry if isinstance(entry, dict) else {}
    feature = given.get("feature", given.get("feature_id"))
    text, author = given.get("label"), given.get("author") or given.get("method") or ""
    score = given.get("score")
    try:
        number = int(str(feature))
    except ValueError:
        number = -1
    if number < 0:
        raise UsageError(f"{where}: feature is {feature!r}: give its number")
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST:
        raise UsageError(f"{where}: label is {text!r:.60}: give 1 to {LONGEST} characters")
    if not isinstance(author, str) or len(author) > LONGEST:
        raise UsageError(f"{where}: author is {author!r:.60}: give a name")
    return Label(number, text.strip(), author.strip(), _score(score, where))


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
