"""A run that would read the wrong activations ends with a one-line message, exit code 2 and nothing written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, GPT2LMHeadModel

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.sources.model import load_model
from tests.families import build
from tests.tiny import TinyInputs, activations_of, fitted_weights

CPU = torch.device("cpu")
STREAM = "blocks.1.hook_resid_post"

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def model(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of three layers that each change the stream a lot, with a vocabulary for the tiny tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "model"
    build("gpt2", vocab_size=333).save_pretrained(folder)
    return folder


@pytest.fixture
def refused(
    tiny: TinyInputs, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """A function that returns the one-line message with which a sweep of a configuration ends."""

    def refusal(**fields: Any) -> str:
        given = {"model.name": model, "model.tokenizer": tiny.tokenizer, "corpus.seq_len": 32}
        given |= {name.replace("__", "."): value for name, value in fields.items()}
        lines = [f"{name} = {json.dumps(value, default=str)}" for name, value in given.items()]
        preset = tmp_path / "mine.toml"
        preset.write_text("\n".join([*lines, f'corpus.files = ["{tiny.corpus}"]\n']))
        capsys.readouterr()
        assert main(["sweep", str(preset), "--out", str(tmp_path / "out"), "--rows", "96"]) == 2
        message = [line for line in capsys.readouterr().err.splitlines() if "build.py" in line]
        assert len(message) == 1
        assert not (tmp_path / "out/data").exists()
        return message[0]

    return refusal


@pytest.fixture
def fitted(tiny: TinyInputs, model: Path, tmp_path: Path) -> Path:
    """An autoencoder of the stream after the second layer, in the format that needs no settings."""
    weights = fitted_weights(activations_of(model, STREAM, tiny.tokenizer, tiny.corpus), 60)
    save_file(weights, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def saelens(folder: Path, weights: Path, **metadata: Any) -> Path:
    """The same autoencoder as SAELens would save it."""
    folder.mkdir()
    (folder / "sae_weights.safetensors").write_bytes(weights.read_bytes())
    settings = {"architecture": "standard", "apply_b_dec_to_input": True, "metadata": metadata}
    (folder / "cfg.json").write_text(json.dumps(settings))
    return folder


def test_a_neighbouring_layer_is_refused_with_the_right_hook_point(
    refused: Refused, fitted: Path
) -> None:
    message = refused(autoencoder__source=fitted, model__hook_point="blocks.0.hook_resid_pre")
    assert f'set model.hook_point = "{STREAM}"' in message
    assert "mine.safetensors does not fit blocks.0.hook_resid_pre of model" in message


def test_a_hook_point_in_transformers_notation_is_translated(
    refused: Refused, fitted: Path, tmp_path: Path
) -> None:
    source = saelens(tmp_path / "sae", fitted, hook_name="model.layers.1")
    message = refused(autoencoder__source=source, model__hook_point="blocks.0.hook_resid_post")
    assert "sae was trained on model.layers.1, not on blocks.0.hook_resid_post: set" in message
    assert STREAM in message


def test_an_unknown_hook_point_name_is_reported(
    tiny: TinyInputs,
    model: Path,
    fitted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = saelens(tmp_path / "sae", fitted, hook_name="resid_post_layer_1")
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'model.name = "{model}"\nmodel.tokenizer = "{tiny.tokenizer}"\nmodel.hook_point = "{STREAM}"\n'
        f'autoencoder.source = "{source}"\ncorpus.files = ["{tiny.corpus}"]\ncorpus.seq_len = 32\n'
    )
    assert main(["sweep", str(preset), "--out", str(tmp_path / "out"), "--rows", "96"]) == 0
    message = "sae was trained on 'resid_post_layer_1', which is not a known name of a hook point"
    assert message in capsys.readouterr().err


def test_processing_required_by_the_autoencoder_is_applied(
    refused: Refused, fitted: Path, tmp_path: Path
) -> None:
    """The weights fit the unprocessed stream, so the settings are found to be wrong."""
    asked_for = {"center_writing_weights": True}
    source = saelens(tmp_path / "sae", fitted, model_from_pretrained_kwargs=asked_for)
    message = refused(autoencoder__source=source, model__hook_point=STREAM)
    assert "its reconstruction varies along the mean" in message
    assert 'set model.processing = ["none"]' in message


def test_settings_in_an_unknown_layout_are_refused(
    refused: Refused, fitted: Path, tmp_path: Path
) -> None:
    """Settings of a layout that is not known, in the folder above."""
    (tmp_path / "scope/checkpoints").mkdir(parents=True)
    (tmp_path / "scope/hyperparams.json").write_text('{"act_fn": "jumprelu"}')
    source = tmp_path / "scope/checkpoints/last.safetensors"
    source.write_bytes(fitted.read_bytes())
    message = refused(autoencoder__source=source, model__hook_point=STREAM)
    assert "last.safetensors: its settings are in hyperparams.json" in message
    assert "set autoencoder.activation (relu, jumprelu, topk, batchtopk) and" in message


def test_a_plain_file_without_an_activation_function_is_refused(
    refused: Refused, fitted: Path, tmp_path: Path, gpt2: Path
) -> None:
    linear = {"encoder.weight": torch.eye(24), "encoder.bias": torch.zeros(24)}
    save_file(
        {**linear, "decoder.weight": torch.eye(24).clone(), "bias": torch.zeros(24).clone()},
        tmp_path / "linear.safetensors",
    )
    message = refused(autoencoder__source=tmp_path / "linear.safetensors", model__hook_point=STREAM)
    assert "does not state its activation function" in message


def test_a_missed_declared_number_is_refused(refused: Refused, fitted: Path) -> None:
    message = refused(autoencoder__source=fitted, model__hook_point=STREAM, autoencoder__l0=30.0)
    assert "features are active on a token, but 30 are declared" in message


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_neurons_of_experts_are_refused(
    refused: Refused, fitted: Path, tmp_path: Path, family: str
) -> None:
    build(family).save_pretrained(tmp_path / "experts")
    message = refused(
        autoencoder__source=fitted,
        model__name=tmp_path / "experts",
        model__hook_point="blocks.1.mlp.hook_post",
    )
    assert "blocks.1.mlp.hook_post" in message


def test_folding_value_biases_through_attention_sinks_is_refused(
    refused: Refused, fitted: Path, tmp_path: Path
) -> None:
    build("gpt_oss").save_pretrained(tmp_path / "sinks")
    message = refused(
        autoencoder__source=fitted,
        model__name=tmp_path / "sinks",
        model__hook_point="blocks.1.attn.hook_z",
        model__processing=["fold_value_biases"],
    )
    assert "fold_value_biases" in message


def test_a_folder_comes_before_an_alias(gpt2: Path, tiny: TinyInputs, tmp_path: Path) -> None:
    """`pythia-70m` is TransformerLens' name for a model of the Hub, which is not available here."""
    folder = tmp_path / "elsewhere/pythia-70m"
    GPT2LMHeadModel.from_pretrained(gpt2).save_pretrained(folder)
    preset = tmp_path / "elsewhere/mine.toml"
    preset.write_text(
        'model.name = "pythia-70m"\nautoencoder.source = "sae.pt"\ncorpus.files = ["text.jsonl"]\n'
    )
    words = AutoTokenizer.from_pretrained(tiny.tokenizer)
    loaded = load_model(load_config(str(preset)).model.name, STREAM, words, CPU)
    tokens = torch.arange(40).reshape(2, 20)
    plain = GPT2LMHeadModel.from_pretrained(gpt2)(tokens, output_hidden_states=True)
    torch.testing.assert_close(loaded.losses(tokens), _losses(plain.logits, tokens))
    assert loaded.provenance.revision is None
    content = (folder / "model.safetensors").read_bytes()
    hashes = {file.name: file.sha256 for file in loaded.provenance.files}
    assert hashes["model.safetensors"] == hashlib.sha256(content).hexdigest()


def test_a_model_in_several_files_is_read(gpt2: Path, tiny: TinyInputs, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    GPT2LMHeadModel.from_pretrained(gpt2).save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    words = AutoTokenizer.from_pretrained(tiny.tokenizer)
    loaded = load_model(str(folder), STREAM, words, CPU)
    whole = load_model(str(gpt2), STREAM, words, CPU)
    tokens = torch.arange(40).reshape(2, 20)
    assert torch.equal(loaded.hook_activations(tokens), whole.hook_activations(tokens))
    named = {file.name for file in loaded.provenance.files}
    assert named == {"config.json", "model.safetensors.index.json", *shards}
    other = GPT2LMHeadModel.from_pretrained(gpt2)
    other.transformer.wte.weight.data.mul_(2)
    other.save_pretrained(tmp_path / "whole")
    shutil.copy(tmp_path / "whole/model.safetensors", folder)
    both = load_model(str(folder), STREAM, words, CPU)
    assert {file.name for file in both.provenance.files} == {"config.json", "model.safetensors"}
    assert not torch.equal(both.hook_activations(tokens), whole.hook_activations(tokens))


def _losses(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[n_rows, seq_len - 1] cross-entropy of each next token."""
    log_p = torch.log_softmax(logits.detach(), -1)[:, :-1]
    return -log_p.gather(2, tokens[:, 1:, None])[..., 0]
