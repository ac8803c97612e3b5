"""Transcoders, from files to pages: read at one hook point, written at another, against plain `transformers`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.sources.inputs import load_inputs
from sitegen.sources.model import load_model
from tests.tiny import TinyInputs, activations_of

READ, WRITTEN = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
N_FEATURES, N_ROWS, SEQ_LEN = 50, 60, 32


@dataclass(frozen=True)
class Transcoder:
    """A fitted transcoder with thresholds and a skip connection, and the model that it reads."""

    model: Path
    folder: Path
    preset: Path
    weights: dict[str, Tensor]

    @cached_property
    def gpt2(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.model).eval().requires_grad_(False)

    def streams(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's MLP's input and output [n_tokens, 24], as `transformers` computes them."""
        found: list[Tensor] = []
        mlp = self.gpt2.transformer.h[1].mlp
        handle = mlp.register_forward_hook(lambda _, args, out: found.extend((args[0], out)))
        self.gpt2(tokens)
        handle.remove()
        return found[0].flatten(0, 1), found[1].flatten(0, 1)

    def encode(self, x: Tensor) -> Tensor:
        pre = x @ self.weights["W_enc"] + self.weights["b_enc"]
        return torch.where(pre > self.weights["threshold"], pre, 0)

    def reconstruct(self, x: Tensor) -> Tensor:
        return (
            self.encode(x) @ self.weights["W_dec"]
            + self.weights["b_dec"]
            + x @ self.weights["W_skip"].T
        )

    def losses(self, tokens: Tensor, output: Tensor | None = None) -> Tensor:
        """The losses [n_rows, seq_len - 1] with another MLP output [n_tokens, 24], or the model's own."""
        mlp = self.gpt2.transformer.h[1].mlp
        handle = mlp.register_forward_hook(
            lambda _, args, out: out if output is None else output.view_as(out)
        )
        logits = self.gpt2(tokens).logits
        handle.remove()
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
        )


def fitted(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """A JumpReLU transcoder from `x` [n, 24] to `y` [n, 24] whose decoder and skip connection fit best."""
    generator = torch.Generator().manual_seed(4)
    W_enc = torch.randn(x.shape[1], N_FEATURES, generator=generator)
    b_enc = 0.1 * torch.randn(N_FEATURES, generator=generator)
    threshold = torch.quantile(x @ W_enc + b_enc, 0.85, dim=0).clamp(min=0.01)
    pre = x @ W_enc + b_enc
    features = torch.where(pre > threshold, pre, 0)
    terms = torch.cat([features, x, torch.ones(len(x), 1)], 1).double()
    ridge = 1e-3 * torch.eye(terms.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(terms.T @ terms + ridge, terms.T @ y.double()).float()
    W_dec, skip, b_dec = solved.split([N_FEATURES, x.shape[1], 1])
    return {
        "W_enc": W_enc,
        "b_enc": b_enc,
        "threshold": threshold,
        "W_dec": W_dec.contiguous(),
        "b_dec": b_dec[0].contiguous(),
        "W_skip": skip.T.contiguous(),  # SAELens stores [d_out, d_in]
    }


@pytest.fixture(scope="module")
def transcoder(
    gpt2: Path, tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory
) -> Transcoder:
    folder = tmp_path_factory.mktemp("transcoder")
    # With gains that differ from 1, the norm's output has other values than without its gain
    model = AutoModelForCausalLM.from_pretrained(gpt2)
    gpt2 = shutil.copytree(gpt2, folder / "gpt2")
    with torch.no_grad():
        for layer in model.transformer.h:
            layer.ln_2.weight.copy_(torch.linspace(0.3, 2.0, 24))
    model.save_pretrained(gpt2)
    x, y = (
        activations_of(gpt2, point, tiny.tokenizer, tiny.corpus, WRITTEN)
        for point in (READ, WRITTEN)
    )
    weights = fitted(x, y)
    save_file(weights, folder / "sae_weights.safetensors")
    settings = {
        "architecture": "jumprelu_skip_transcoder",
        "d_in": 24,
        "d_out": 24,
        "d_sae": N_FEATURES,
        "apply_b_dec_to_input": False,
        "metadata": {"hook_name": READ, "hook_name_out": WRITTEN, "sae_lens_version": "6.54.12"},
    }
    (folder / "cfg.json").write_text(json.dumps(settings))
    preset = folder / "mine.toml"
    preset.write_text(
        f'model.name = "{gpt2}"\nautoencoder.source = "{folder}"\n'
        f'corpus.files = ["{tiny.corpus}"]\ncorpus.seq_len = {SEQ_LEN}\ncorpus.n_rows = {N_ROWS}\n'
        'analysis.n_rows = 40\nanalysis.n_quality_rows = 40\nanalysis.batch_rows = 20\nlive.precision = "fp32"\n'
    )
    return Transcoder(gpt2, folder, preset, weights)


@pytest.fixture(scope="module")
def output(transcoder: Transcoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["run", str(transcoder.preset), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def tokens(transcoder: Transcoder) -> Tensor:
    rows = load_inputs(load_config(str(transcoder.preset))).rows.tokens
    return torch.from_numpy(np.asarray(rows).astype("int64"))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_counts_and_activations_are_those_on_the_input(
    transcoder: Transcoder, output: Path, tokens: Tensor
) -> None:
    x, _ = transcoder.streams(tokens)
    activations = transcoder.encode(x).view(*tokens.shape, -1)
    for feature in (0, 17, 49):
        record = read(output / f"data/features/{feature:05d}.json")
        assert record["n_active"] == int((activations[..., feature] > 0).sum())
        for context in record["contexts"][:5]:
            row, start = context["row"], context["start"]
            expected = activations[row, start : start + len(context["tokens"]), feature]
            np.testing.assert_allclose(context["activations"], expected, rtol=1e-4, atol=1e-5)


def test_logit_effects_begin_at_the_output(transcoder: Transcoder, output: Path) -> None:
    """The output is part of the residual stream, so only the final norm's gain and the unembedding follow."""
    model = transcoder.gpt2
    gained = transcoder.weights["W_dec"] * model.transformer.ln_f.weight
    centred = gained - (
        transcoder.weights["W_dec"].mean(1, keepdim=True) * model.transformer.ln_f.weight
    )
    effects = centred @ model.lm_head.weight.T
    effects = effects - effects.mean(1, keepdim=True)
    for feature in (0, 17, 49):
        top = read(output / f"data/features/{feature:05d}.json")["logits"]["top"]
        values, ids = effects[feature].topk(len(top))
        assert [one["id"] for one in top][:5] == ids[:5].tolist()
        np.testing.assert_allclose([one["value"] for one in top], values, rtol=1e-4, atol=1e-5)


def test_quality_is_that_of_the_output(
    transcoder: Transcoder, output: Path, tokens: Tensor
) -> None:
    quality = read(output / "data/overview.json")["quality"]
    rows = tokens[:40]
    x, y = transcoder.streams(rows)
    reconstruction = transcoder.reconstruct(x)
    halves = [slice(0, 20 * SEQ_LEN), slice(20 * SEQ_LEN, None)]
    explained = [
        1
        - float(
            (y[half] - reconstruction[half]).square().sum() / (y[half] - y.mean(0)).square().sum()
        )
        for half in halves
    ]
    assert quality["explained_variance"]["mean"] == pytest.approx(np.mean(explained), rel=1e-4)
    expected = {
        "loss": None,
        "loss_reconstructed": reconstruction,
        "loss_zero_ablated": torch.zeros_like(y),
        "loss_mean_ablated": y.mean(0).expand_as(y),
    }
    for name, replaced in expected.items():
        loss = float(transcoder.losses(rows, replaced).mean())
        assert quality[name]["mean"] == pytest.approx(loss, rel=1e-4), name


def test_removing_a_feature_changes_the_output(
    transcoder: Transcoder, output: Path, tokens: Tensor
) -> None:
    """Nothing but the final norm follows the last layer's MLP, so ablations are exact."""
    feature = 17
    record = read(output / f"data/features/{feature:05d}.json")
    ablation = read(output / f"data/evidence/{feature:05d}.json")["ablation"]
    context = record["contexts"][0]
    row, position = context["row"], context["position"]
    _, y = transcoder.streams(tokens[row : row + 1])
    without = y.clone()
    without[position] -= context["activation"] * transcoder.weights["W_dec"][feature]
    before, after = (
        float(transcoder.losses(tokens[row : row + 1], changed)[0, position])
        for changed in (y, without)
    )
    offsets = zip(ablation["context"], ablation["offset"], strict=True)
    shown = ablation["loss_change"][[*offsets].index((0, position - context["start"]))]
    assert shown == pytest.approx(after - before, abs=2e-4)


def test_pages_say_what_a_transcoder_is_and_run_it(output: Path) -> None:
    about = (output / "site/about.html").read_text()
    assert "This is a transcoder" in about
    assert f"<code>{READ}</code> and reconstructs" in re.sub(r"\s+", " ", about)
    assert "skip connection" in about
    manifest = read(output / "data/manifest.json")
    assert manifest["autoencoder"]["is_transcoder"]
    assert manifest["autoencoder"]["has_skip_connection"]
    assert manifest["config"]["model"]["output_hook_point"] == WRITTEN
    # The model that pages run was compared with the sweep before it was published
    assert manifest["live"] == {"is_there": True, "why_not": ""}


def _without_settings(transcoder: Transcoder, tmp_path: Path) -> list[str]:
    """Options for a copy of the transcoder whose settings declare no hook points, and for the output point."""
    folder = tmp_path / "silent"
    shutil.copytree(transcoder.folder, folder)
    settings = json.loads((folder / "cfg.json").read_text())
    del settings["metadata"]
    (folder / "cfg.json").write_text(json.dumps(settings))
    options = [f"autoencoder.source={folder}", f"model.output_hook_point={WRITTEN}"]
    return [part for option in options for part in ("--set", option)]


Refused = Callable[..., str]


@pytest.fixture
def refused(transcoder: Transcoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs with changed weights or options, and returns the line in which the run is refused."""

    def refuse(*options: str, **changes: Tensor | None) -> str:
        folder = tmp_path / "changed"
        folder.mkdir()
        kept = {**transcoder.weights, **changes}
        save_file(
            {name: weight for name, weight in kept.items() if weight is not None},
            folder / "sae_weights.safetensors",
        )
        (folder / "cfg.json").write_text((transcoder.folder / "cfg.json").read_text())
        arguments = ["--set", f"autoencoder.source={folder}", *options]
        out = ["--out", str(tmp_path / "out")]
        assert main(["sweep", str(transcoder.preset), *arguments, *out]) == 2
        assert not (tmp_path / "out/data").exists()
        return capsys.readouterr().err.splitlines()[-1]

    return refuse


def test_the_norm_without_its_gain_is_refused(refused: Refused) -> None:
    message = refused("--set", "model.hook_point=blocks.1.ln2.hook_normalized")
    assert f'set model.hook_point = "{READ}"' in message


def test_a_transposed_skip_connection_is_refused(refused: Refused, transcoder: Transcoder) -> None:
    message = refused(W_skip=transcoder.weights["W_skip"].T.contiguous())
    assert "save the transcoder with its skip connection transposed" in message


def test_a_hook_point_outside_the_layers_is_refused(
    refused: Refused, transcoder: Transcoder, tmp_path: Path
) -> None:
    message = refused(
        *_without_settings(transcoder, tmp_path), "--set", "model.hook_point=hook_embed"
    )
    assert "model.hook_point: hook_embed is in no layer" in message


def test_points_may_be_in_any_order(gpt2: Path) -> None:
    """The model reaches the second one first."""
    later, earlier = "blocks.1.mlp.hook_in", "blocks.0.hook_mlp_out"
    model = load_model(str(gpt2), later, None, torch.device("cpu"), output_point=earlier)
    tokens = torch.arange(20).reshape(1, 20)
    x, target = model.input_and_target(tokens)
    assert torch.equal(x, model.read(tokens, later)[0])
    assert torch.equal(target, model.read(tokens, earlier)[0])


def test_an_output_point_of_another_layer_is_refused_by_its_name(refused: Refused) -> None:
    message = refused("--set", "model.output_hook_point=blocks.0.hook_mlp_out")
    assert f"writes to {WRITTEN}, not blocks.0.hook_mlp_out" in message


def test_another_layer_is_refused_by_the_fit(
    refused: Refused, transcoder: Transcoder, tmp_path: Path
) -> None:
    """Where the settings declare no hook point, the measured fit finds the right pair."""
    message = refused(
        *_without_settings(transcoder, tmp_path),
        *("--set", "model.hook_point=blocks.0.mlp.hook_in"),
        *("--set", "model.output_hook_point=blocks.0.hook_mlp_out"),
    )
    assert f'set model.hook_point = "{READ}" and model.output_hook_point = "{WRITTEN}"' in message
