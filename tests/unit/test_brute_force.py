"""Stored numbers against a plain float64 computation: all of the tiny output, and 64 features of the demo."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from sitegen.cli import main
from tests.brute_force import BruteForce, read_rows
from tests.conftest import REPOSITORY
from tests.tiny import D_HIDDEN, SEQ_LEN, TinyInputs

DEMO = REPOSITORY / "demo"
SPECIAL_IDS = [0, 1, 2]


def _record(out: Path, feature_id: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / f"data/features/{feature_id:05d}.json").read_text())
    return record


@pytest.fixture(scope="module")
def tiny_brute_force(tiny: TinyInputs) -> BruteForce:
    rows = read_rows(tiny.corpus, tiny.tokenizer / "tokenizer.json", SEQ_LEN, 42)
    return BruteForce.compute(tiny.model, tiny.autoencoder, rows, list(range(D_HIDDEN)), 5, 3)


def test_every_number_of_the_tiny_output_equals_brute_force(
    tiny_output: Path, tiny_brute_force: BruteForce
) -> None:
    for feature_id in range(D_HIDDEN):
        tiny_brute_force.check(
            _record(tiny_output, feature_id), SPECIAL_IDS, n_top=6, intervals=(4, 3)
        )


def test_bf16_gives_the_same_records_to_the_byte(
    tiny: TinyInputs, tiny_output: Path, tmp_path: Path
) -> None:
    """Every comparison with the fp32 output therefore holds for bf16 too."""
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path), "--precision", "bf16"]) == 0
    for feature_id in range(D_HIDDEN):
        name = f"data/features/{feature_id:05d}.json"
        assert (tmp_path / name).read_bytes() == (tiny_output / name).read_bytes()
    error_bounds = [
        json.loads((out / "data/manifest.json").read_text())["error_bound"]
        for out in (tmp_path, tiny_output)
    ]
    assert [c["precision"] for c in error_bounds] == ["bf16", "fp32"]
    assert error_bounds[0]["n_examined"] > error_bounds[1]["n_examined"]
    assert error_bounds[0]["n_active"] == error_bounds[1]["n_active"]
    assert all(0 < c["largest_error"] < 1 for c in error_bounds)


def test_copies_are_counted_over_all_rows(tiny_output: Path, tiny_brute_force: BruteForce) -> None:
    contexts = [c for i in (0, 20, 40) for c in _record(tiny_output, i)["contexts"]]
    assert any(context["copies"] > 1 for context in contexts)
    for context in random.Random(0).sample(contexts, 10):
        assert context["copies"] == tiny_brute_force.copies(context)


def test_every_interval_has_the_contexts_that_exist(
    tiny_output: Path, tiny_brute_force: BruteForce
) -> None:
    """A few contexts may be missing because a histogram cell crosses an interval's boundary."""
    tiny_brute_force.n_samples = tiny_brute_force.n_samples_possible = 0
    for feature_id in range(D_HIDDEN):
        tiny_brute_force.check(
            _record(tiny_output, feature_id), SPECIAL_IDS, n_top=6, intervals=(4, 3)
        )
    assert tiny_brute_force.n_samples_possible > 200
    assert tiny_brute_force.n_samples >= 0.99 * tiny_brute_force.n_samples_possible


def test_tokens_of_logit_effects_have_their_text_in_the_vocabulary(tiny_output: Path) -> None:
    vocab = json.loads((tiny_output / "data/vocab.json").read_text())
    for feature_id in range(D_HIDDEN):
        logits = _record(tiny_output, feature_id)["logits"]
        for effect in [*logits["top"], *logits["bottom"]]:
            assert effect["token"] == vocab[effect["id"]]


@pytest.mark.slow
def test_64_random_features_of_the_demo_equal_brute_force(demo_output: Path) -> None:
    features = sorted(random.Random(20).sample(range(4096), 64))
    rows = read_rows(DEMO / "text/held_out.jsonl", DEMO / "tokenizer/tokenizer.json", 128, 42)
    autoencoder = DEMO / "autoencoder/autoencoder.safetensors"
    brute_force = BruteForce.compute(DEMO / "model", autoencoder, rows, features, 12, 7)
    for feature_id in features:
        brute_force.check(
            _record(demo_output, feature_id), SPECIAL_IDS, n_top=20, intervals=(10, 2)
        )
