"""Explanations and scores as EleutherAI's delphi writes them: one file per feature, named after its hook point.

source  eai-delphi 0.1, delphi/__main__.py and delphi/log/result_analysis.py
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import orjson

from sitegen.errors import UsageError
from sitegen.files import require_content

RESULT_FILE = re.compile(r"(.*)_latent(\d+)\.txt")


def delphi_entries(folder: Path) -> list[tuple[str, Any]]:
    """Read (file, entry) of each explanation in a results folder.

    The score of an explanation is the mean of its scorers' balanced accuracies.

    raises  UsageError if there are no explanations, they belong to several hook points, or a file cannot be read
    """
    explanations = _results(folder / "explanations")
    if not explanations:
        raise UsageError(
            f"{folder} contains no labels: give a folder of Neuronpedia's export, with "
            "explanations/batch-0.jsonl.gz, or of delphi's results, with explanations/HOOKPOINT_latent0.txt"
        )
    hook_points = sorted({hook_point for hook_point, _ in explanations})
    if len(hook_points) > 1:
        raise UsageError(
            f"{folder / 'explanations'} contains explanations for several hook points ({', '.join(hook_points)}): "
            "give a folder with the files of one hook point only"
        )
    scorers = sorted(path for path in (folder / "scores").glob("*") if path.is_dir())
    scores = {scorer.name: _results(scorer) for scorer in scorers}
    entries = []
    for (hook_point, feature), path in explanations.items():
        found = {
            name: score
            for name, paths in scores.items()
            if (hook_point, feature) in paths
            and (score := _balanced_accuracy(paths[hook_point, feature])) is not None
        }
        author = f"delphi, {' and '.join(found)}" if found else "delphi"
        mean = sum(found.values()) / len(found) if found else None
        entry = {"feature": feature, "label": _read(path), "author": author, "score": mean}
        entries.append((str(path), entry))
    return entries


def _results(folder: Path) -> dict[tuple[str, int], Path]:
    """Find the files of a folder by hook point and feature, in order; file names have -- for / in a hook point."""
    named = ((RESULT_FILE.fullmatch(path.name), path) for path in sorted(folder.glob("*.txt")))
    return {(match[1].replace("--", "/"), int(match[2])): path for match, path in named if match}


def _read(path: Path) -> Any:
    try:
        return orjson.loads(require_content(path).read_bytes().removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{path} is not valid JSON ({error}): run delphi again, or remove the file"
        ) from None


def _balanced_accuracy(path: Path) -> float | None:
    """Compute the mean of two shares of correct answers: for texts that activate the feature, and for other texts.

    None if the scorer was not asked about one of the two kinds of texts, or gave no answer for it.
    """
    examples = _read(path)
    if not isinstance(examples, list):
        raise UsageError(
            f"{path} contains no list of scored examples: run delphi's scorer again, or remove the file"
        )
    shares = []
    for activating in (True, False):
        answers = [
            bool(example["prediction"]) == activating
            for example in examples
            if isinstance(example, dict)
            and example.get("prediction") is not None
            and bool(example.get("activating")) == activating
        ]
        if not answers:
            return None
        shares.append(sum(answers) / len(answers))
    return sum(shares) / 2
