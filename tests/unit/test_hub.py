"""The real loading code over real HTTP: `build.py run gelu-1l-run1` against a loopback Hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sitegen.cli import main
from tests.brute_force import BruteForce, folded_logit_effects, near, read_rows
from tests.conftest import REPOSITORY, folder_bytes
from tests.gelu_hub import make_gelu_hub
from tests.hub_session import visit
from tests.loopback_hub import COMMIT, Fault, LoopbackHub
from tests.tiny import SEQ_LEN, TinyInputs, autoencoder_weights

SMALL = [
    "--set",
    f"corpus.seq_len={SEQ_LEN}",
    "--set",
    "sweep.batch_rows=8",
    "--set",
    "sweep.shard_rows=64",
]


@pytest.fixture(scope="module")
def hub(tiny: TinyInputs) -> Iterator[LoopbackHub]:
    with make_gelu_hub(tiny).serving() as hub:
        yield hub


def build(
    hub_endpoint: str, home: Path, *arguments: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run build.py in a separate process, since the libraries read the environment when they are imported."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_ENDPOINT": hub_endpoint,
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    command = [sys.executable, "build.py", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def run1(hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    out = home / "out"
    done = build(hub.endpoint, home, "run", "gelu-1l-run1", "--out", str(out), *SMALL)
    assert done.returncode == 0, done.stderr
    assert "check: 0 findings" in done.stderr
    return out


@pytest.mark.slow
def test_run1_is_built_and_checked(run1: Path) -> None:
    manifest = json.loads((run1 / "data/manifest.json").read_text())
    assert manifest["counts"]["n_features"] == 93
    for source in ("model", "autoencoder", "corpus"):
        assert manifest["sources"][source]["revision"] == COMMIT
    assert [file["name"] for file in manifest["sources"]["autoencoder"]["files"]] == [
        "25.pt",
        "25_cfg.json",
    ]
    assert (run1 / "site/features/92.html").is_file()


@pytest.mark.slow
def test_logit_effects_use_folded_and_centred_weights(run1: Path, tiny: TinyInputs) -> None:
    effects = folded_logit_effects(
        load_file(tiny.model / "model.safetensors"), autoencoder_weights()["W_dec"]
    ).numpy()
    raw = load_file(tiny.model / "model.safetensors")
    unfolded = (
        autoencoder_weights()["W_dec"] @ raw["blocks.0.mlp.W_out"] @ raw["unembed.W_U"]
    ).numpy()
    for feature_id in (0, 8, 92):
        top = json.loads((run1 / f"data/features/{feature_id:05d}.json").read_text())["logits"][
            "top"
        ]
        expected = np.argsort(-effects[feature_id], kind="stable")[: len(top)]
        assert [effect["id"] for effect in top] == expected.tolist()
        assert [effect["value"] for effect in top] == near(effects[feature_id][expected])
        assert [effect["id"] for effect in top] != np.argsort(-unfolded[feature_id])[
            : len(top)
        ].tolist()


@pytest.mark.slow
def test_numbers_from_the_hub_equal_brute_force(run1: Path, tiny: TinyInputs) -> None:
    rows = read_rows(tiny.corpus, tiny.tokenizer / "tokenizer.json", SEQ_LEN, 42)
    brute_force = BruteForce.compute(tiny.model, tiny.autoencoder, rows, [1, 30, 60], 12, 7)
    for feature_id in (1, 30, 60):
        record = json.loads((run1 / f"data/features/{feature_id:05d}.json").read_text())
        brute_force.check(record, [0, 1, 2], n_top=20, intervals=(10, 2))


@pytest.mark.slow
def test_verify_runs_to_the_end_and_reports_honest_misses(hub: LoopbackHub, run1: Path) -> None:
    """The Hub has the weights of the tiny inputs, so numbers that depend on weights are missed and others may hold."""
    done = build(hub.endpoint, run1.parent, "verify", "gelu-1l-run1", *SMALL)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "number",
        "published",
        "computed",
        "difference",
        "allowed",
        "verdict",
    ]
    assert sum(line.startswith("logit effect of feature 7, number") for line in lines) == 10
    assert any(line.startswith("loss, ") and line.endswith("MISSES") for line in lines)
    assert "numbers hold" in done.stderr
    stages = [line.split(":")[0] for line in done.stderr.splitlines() if "/3 " in line]
    assert list(dict.fromkeys(stages)) == [
        "1/3 loading the model, the autoencoder and the text …",
        "2/3 checking that the autoencoder fits the activations …",
        *(
            f"3/3 computing published numbers again, {step}"
            for step in (
                "computing activations of all features on the sample",
                "measuring losses with the reconstruction",
                "counting the tokens on which each feature is active",
            )
        ),
    ]
    assert "Traceback" not in done.stderr
    numbers = json.loads((run1 / "data/overview.json").read_text())["published"]
    assert [number["name"] for number in numbers] == [line.split("  ")[0] for line in lines[1:]]
    page = (run1 / "site/overview.html").read_text("utf-8")
    assert len(re.findall(r"<td>no\s", page)) == sum(not number["holds"] for number in numbers) > 0


def test_verify_refuses_a_preset_without_published_numbers(tmp_path: Path) -> None:
    done = build("http://127.0.0.1:9", tmp_path, "verify", "demo")
    assert done.returncode == 2
    assert "demo has no published numbers to verify; give one of" in done.stderr
    assert ": gelu-1l-run1, gelu-1l-run2" in done.stderr


@pytest.mark.slow
def test_a_second_run_needs_no_hub(hub: LoopbackHub, run1: Path) -> None:
    home = run1.parent
    before = len(hub.requests)
    again = home / "again"
    done = build(
        hub.endpoint, home, "sweep", "gelu-1l-run1", "--out", str(again), *SMALL, offline=True
    )
    assert done.returncode == 0, done.stderr
    assert len(hub.requests) == before
    assert folder_bytes(again / "data") == folder_bytes(run1 / "data")


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "47.pt",
        "47_cfg.json",
        "model_final.pth",
        "tokenizer.json",
        "train-00000-of-00001-0123456789abcdef.parquet",
    ],
)
def test_corrupted_download_is_refused(tiny: TinyInputs, tmp_path: Path, file: str) -> None:
    hub = make_gelu_hub(tiny)
    hub.faults = {name: [Fault(corrupted=True)] for name in (file, f"data/{file}")}
    with hub.serving():
        done = build(
            hub.endpoint, tmp_path, "sweep", "gelu-1l-run2", "--out", str(tmp_path / "out"), *SMALL
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("build.py: ")
    assert file in done.stderr.splitlines()[-1]
    assert "hash" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/data").exists()


def test_unreachable_hub_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    visit(LoopbackHub(endpoint="http://127.0.0.1:9"), tmp_path, monkeypatch)
    assert main(["sweep", "gelu-1l-run1", "--out", str(tmp_path / "out")]) == 2
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err.splitlines()[-1]


def test_state_dict_that_would_run_code_is_refused(tiny: TinyInputs, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "harm"),))

    path = tmp_path / "bad.pt"
    torch.save({"W_enc": Harmful()}, path)
    done = build(
        "http://127.0.0.1:9",
        tmp_path,
        "sweep",
        str(tiny.preset),
        "--set",
        f"autoencoder.source={path}",
        "--out",
        str(tmp_path / "out"),
    )
    assert done.returncode == 2
    assert "bad.pt cannot be read as a file of plain tensors" in done.stderr
    assert not (tmp_path / "harm").exists()
