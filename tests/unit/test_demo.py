"""The embedded demo: its stated properties, recomputed from the shipped files."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo.training.autoencoder import Autoencoder
from demo.training.evaluation import Quality, evaluate
from demo.training.language_model import LanguageModel, ModelShape
from sitegen.config import load_config
from sitegen.sources.inputs import load_inputs
from tests.brute_force import read_rows
from tests.conftest import REPOSITORY

DEMO = REPOSITORY / "demo"
DEMO_BUDGET_BYTES = 15_000_000
MEMORY_PROGRAM = (
    "import resource, sys\n"
    "from sitegen.cli import main\n"
    "code = main(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    "sys.exit(code)\n"
)


N_ROWS = 2400


@pytest.fixture(scope="module")
def quality() -> Quality:
    model = LanguageModel(ModelShape())
    weights = load_file(DEMO / "model/model.safetensors")
    with torch.no_grad():
        for name, parameter in model.checkpoint().items():
            parameter.copy_(weights[name])
    autoencoder = Autoencoder(512, 4096, torch.zeros(512), seed=0)
    shipped = load_file(DEMO / "autoencoder/autoencoder.safetensors")
    autoencoder.load_state_dict({name: weight.float() for name, weight in shipped.items()})
    rows = read_rows(DEMO / "text/held_out.jsonl", DEMO / "tokenizer/tokenizer.json", 128, 42)
    # Rows are shuffled, so half of them are representative; all of them take a minute longer
    return evaluate(model.eval(), autoencoder.eval(), rows[:N_ROWS])


@pytest.mark.slow
def test_quality_on_held_out_text_reaches_its_target(quality: Quality) -> None:
    assert quality.reconstruction_score >= 0.85
    assert quality.explained_variance >= 0.75
    assert quality.l0 <= 50
    assert quality.dead_share <= 0.20
    assert quality.n_rows * 128 >= 300_000


@pytest.mark.slow
def test_measured_quality_equals_the_stated_quality(quality: Quality) -> None:
    said = json.loads((DEMO / "quality.json").read_text())
    for name, value in said.items():
        if name != "n_rows":
            assert getattr(quality, name) == pytest.approx(value, rel=5e-3, abs=2e-3), name


def test_demo_fits_its_budget() -> None:
    shipped = subprocess.run(
        ["git", "ls-files", "-z", "demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [REPOSITORY / name for name in shipped.stdout.split("\0") if name]
    assert any(path.name == "autoencoder.safetensors" for path in files)
    assert sum(path.stat().st_size for path in files) <= DEMO_BUDGET_BYTES


def test_every_held_out_document_has_a_source_in_the_notice() -> None:
    notice = (DEMO / "NOTICE").read_text()
    lines = (DEMO / "text/held_out.jsonl").read_text("utf-8").splitlines()
    assert len(lines) > 50
    for document in map(json.loads, lines):
        assert f"  {document['source']} " in notice
        assert document["licence"].split("-")[0] in notice


@pytest.mark.slow
def test_demo_sweeps_300_000_tokens_or_more(demo_output: Path) -> None:
    counts = json.loads((demo_output / "data/manifest.json").read_text())["counts"]
    assert counts["n_positions"] >= 300_000
    assert counts["n_features"] == 4096
    assert counts["n_of_kind"]["dead"] <= 0.2 * 4096


@pytest.mark.slow
def test_ablation_equals_running_the_model_without_the_feature(demo_output: Path) -> None:
    """Agrees to 1e-4 nats with TransformerLens' own forward pass with changed activations at the hook point."""
    inputs = load_inputs(load_config("demo"))
    weights, chosen = inputs.autoencoder, random.Random(4).sample(range(4096), 40)
    n_checked = 0
    for feature in chosen:
        record, evidence = (
            json.loads((demo_output / f"data/{kind}/{feature:05d}.json").read_text())
            for kind in ("features", "evidence")
        )
        ablation = evidence["ablation"]
        for index, context in enumerate(record["contexts"][:3]):
            tokens = torch.from_numpy(
                np.asarray(inputs.rows.tokens[context["row"]][None]).astype(np.int64)
            )
            x = inputs.model.hook_activations(tokens)
            before = inputs.model.losses(tokens)
            for i in np.flatnonzero(np.array(ablation["context"]) == index):
                offset, loss_change = ablation["offset"][i], ablation["loss_change"][i]
                position = context["start"] + offset
                without = x.clone()
                activation = context["activations"][offset]
                without[0, position] -= activation * weights.W_dec[feature]
                rise = inputs.model.losses(tokens, without) - before
                if loss_change is not None:
                    assert loss_change == pytest.approx(rise[0, position].item(), abs=1e-4)
                    n_checked += 1
    assert n_checked > 200


@pytest.mark.slow
def test_the_map_keeps_similar_features_together(demo_output: Path) -> None:
    overview = json.loads((demo_output / "data/overview.json").read_text())
    position = np.stack([overview["map"]["x"], overview["map"]["y"]], 1)
    near, far = [], []
    for feature in range(0, 4096, 16):
        record = json.loads((demo_output / f"data/features/{feature:05d}.json").read_text())
        nearest = record["neighbours"]["decoder"][0]["feature_id"]
        near.append(np.linalg.norm(position[feature] - position[nearest]))
        far.append(np.median(np.linalg.norm(position - position[feature], axis=1)))
    assert np.median(near) < 0.1 * np.median(far)


@pytest.mark.slow
def test_the_second_autoencoder_finds_most_features_again(demo_output: Path) -> None:
    other = json.loads((demo_output / "data/overview.json").read_text())["other"]
    assert other["n_features"] == 4096
    assert other["n_mutual_cosine"] > 1000
    assert other["cosine"]["others"]["box"]["median"] > 0.5


@pytest.mark.slow
def test_peak_memory_is_the_same_for_eight_times_the_rows(
    demo_output: Path, tmp_path: Path
) -> None:
    """Measures the sweep with a short analysis: the rows were made and cached when `demo_output` was built."""
    peaks = []
    for n_rows in (300, 2400):
        arguments = ["sweep", "demo", "--out", str(tmp_path / str(n_rows)), "--rows", str(n_rows)]
        arguments += ["--set", "analysis.n_ablated=0", "--set", "live.precision=none"]
        arguments += ["--set", "analysis.n_rows=64", "--set", "analysis.n_quality_rows=64"]
        command = [sys.executable, "-c", MEMORY_PROGRAM, *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert np.ptp(peaks) <= 0.1 * min(peaks), peaks
