"""Datasets as people publish them on the Hub: several configurations, splits, scripts, files with different columns."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sitegen.config import CorpusConfig
from sitegen.errors import SourceError
from sitegen.sources.documents import open_documents
from tests.gelu_hub import as_parquet
from tests.hub_session import visit
from tests.loopback_hub import LoopbackHub

CARD = b"""---
configs:
- config_name: one
  data_files: one.parquet
- config_name: two
  data_files: two.parquet
---
"""
LINES = [{"text": "a", "n": 1}, {"text": None}, {"n": "many", "deep": [1], "text": "b"}]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    one, two = as_parquet(["one"]), as_parquet(["two"])
    lines = [json.dumps(line).encode() + b"\n" for line in LINES]
    repositories = {
        "several": {"README.md": CARD, "one.parquet": one, "two.parquet": two},
        "script": {"script.py": b"import datasets\n", "README.md": b""},
        "splits": {"data/train.parquet": one, "data/test.parquet": b"no Parquet"},
        "columns": {"train-0.jsonl": lines[0] + lines[1], "train-1.jsonl": lines[2]},
        "packed": {"train.jsonl.gz": gzip.compress(lines[0], mtime=0)},
        "empty": {"README.md": b"Nothing yet.\n"},
    }
    for name, files in repositories.items():
        hub.add("datasets", f"some/{name}", files)
    with hub.serving():
        visit(hub, tmp_path, monkeypatch)
        yield hub


def texts(name: str, **settings: Any) -> list[str | None]:
    return list(open_documents(CorpusConfig(dataset=f"some/{name}", **settings)).texts())


def test_a_named_configuration_of_a_dataset_is_read(hub: LoopbackHub) -> None:
    assert texts("several", configuration="two") == ["two"]


def test_only_the_files_of_the_split_are_read(hub: LoopbackHub) -> None:
    assert texts("splits") == ["one"]
    with pytest.raises(SourceError, match=r"cannot be read as Parquet"):
        texts("splits", split="test")


def test_only_the_text_column_is_read(hub: LoopbackHub) -> None:
    """The other columns differ in type from file to file or are missing, which `datasets` refuses."""
    assert texts("columns") == ["a", None, "b"]


def test_a_limited_text_reads_only_the_first_files(hub: LoopbackHub) -> None:
    one = CorpusConfig(dataset="some/columns", n_documents=2)
    assert [file.name for file in open_documents(one).provenance.files] == ["train-0.jsonl"]
    assert not [line for line in hub.requests if "train-1" in line]
    more = CorpusConfig(dataset="some/columns", n_documents=3)
    assert len(open_documents(more).provenance.files) == 2


def test_other_formats_are_read_by_datasets(hub: LoopbackHub) -> None:
    assert texts("packed") == ["a"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("several", {}, r"one.*two.*: set corpus.configuration to one of these$"),
        ("several", {"configuration": "three"}, r"three.*one.*two"),
        ("script", {}, r"give a dataset of Parquet or JSON files$"),
        ("splits", {"split": "dev"}, r"no split 'dev' \(splits: train, test\); set corpus.split$"),
        (
            "columns",
            {"column": "body"},
            r"no column 'body' \(columns: text, n\); set corpus.column$",
        ),
        (
            "packed",
            {"column": "body"},
            r"no column 'body' \(columns: text, n\); set corpus.column$",
        ),
        ("empty", {}, r"some/empty"),
    ],
)
def test_an_unreadable_dataset_gives_a_one_line_error(
    hub: LoopbackHub, name: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(SourceError, match=message) as refusal:
        texts(name, **settings)
    assert "\n" not in str(refusal.value)
