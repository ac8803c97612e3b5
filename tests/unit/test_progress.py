"""Progress messages of a run."""

from __future__ import annotations

import re

import pytest

from sitegen.cli import main
from sitegen.progress import Progress, announce, computing_stages, plan_stages
from tests.tiny import TinyInputs


def test_every_stage_is_announced_once_with_its_number(
    tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path_factory.mktemp("printed") / "out"
    command = ["run", str(tiny.preset), "--out", str(out), "--rows", "96"]
    assert main(command) == 0
    printed = capsys.readouterr().err.splitlines()
    numbers = [line.split()[0] for line in printed if re.match(r"\d+/\d+ ", line)]
    assert numbers == [f"{i}/11" for i in range(1, 12)]
    assert len(set(printed)) == len(printed)
    assert [line for line in printed if re.search(r"reconstruction: (\d+)/\1 rows \(100%\)", line)]
    assert not [line for line in printed if " left" in line]


def test_progress_counts_end_at_their_total(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 10_000, 11))  # seconds
    monkeypatch.setattr("sitegen.progress.time.monotonic", lambda: float(next(now)))
    plan_stages(*computing_stages(has_published=False))
    announce("sources")
    counted = Progress("sweep", 30, "tokens")
    for _ in range(3):
        counted.advance(10)
    counted.finish()
    plan_stages()
    Progress("a stage of no plan", 1, "rows").finish()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1/9 loading the model, the autoencoder and the text …"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "3/9 computing all features on all rows: 10/30 tokens (33%)",
        "3/9 computing all features on all rows: 20/30 tokens (67%)",
        "3/9 computing all features on all rows: 30/30 tokens (100%)",
        "a stage of no plan: 0/1 rows (0%)",
    ]
