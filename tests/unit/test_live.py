"""The model that pages run: its export, its plain computation, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from sitegen.analysis.live import LiveRefusalError, live_model, published_tokenizer
from sitegen.cli import main
from sitegen.config import load_config
from sitegen.errors import SourceError
from sitegen.records import HOOKS
from sitegen.render.live import LIBRARY, live_scripts
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sources.plain_transformer import plain_transformer
from sitegen.sources.tokenizer import load_tokenizer
from sitegen.store import read_live, read_manifest
from tests.conftest import REPOSITORY, folder_bytes
from tests.tiny import TinyInputs
from tests.unit.test_models import load

TOKENS = torch.arange(60).reshape(3, 20) + 3


@pytest.fixture(scope="module")
def inputs(tiny: TinyInputs) -> Inputs:
    return load_inputs(load_config(str(tiny.preset)))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("hook", HOOKS)
def test_the_plain_transformer_equals_the_model(gpt2: Path, hook: str, layer: int) -> None:
    model = load(gpt2, f"blocks.{layer}.{hook}")
    plain = plain_transformer(model, 48)
    expected = model.hook_activations(TOKENS)
    torch.testing.assert_close(plain.activations(TOKENS), expected, atol=2e-5, rtol=1e-4)
    assert not any(name.startswith(f"layers.{layer + 1}") for name in plain.weights)


def test_a_layer_with_layer_norm_weights_equals_the_model(tiny: TinyInputs, inputs: Inputs) -> None:
    ids = inputs.ids(range(9))
    plain = plain_transformer(inputs.model, ids.shape[1])
    expected = inputs.model.hook_activations(ids)
    torch.testing.assert_close(plain.activations(ids), expected, atol=2e-5, rtol=1e-4)
    assert plain.weights["positions"].shape[0] == ids.shape[1]
    assert not any(name.startswith("layers.0.mlp_out") for name in plain.weights)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("positional_embedding_type", "rotary", "its positions are rotary"),
        ("normalization_type", "RMS", "its norms are RMS"),
        ("act_fn", "solu_ln", "its activation function is solu_ln"),
        ("gated_mlp", True, "its MLPs are gated"),
        ("n_key_value_heads", 1, "its heads share keys"),
    ],
)
def test_other_architectures_are_refused_by_name(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, field: str, value: object, message: str
) -> None:
    monkeypatch.setattr(inputs.model.bridge.cfg, field, value)
    with pytest.raises(SourceError, match=message):
        plain_transformer(inputs.model, 24)


def test_a_model_that_computes_something_else_is_refused(
    tiny: TinyInputs, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    maxima = np.full(len(inputs.feature_ids), 20, np.float32)
    config = load_config(str(tiny.preset))
    assert live_model(inputs, maxima, config).settings.largest_error < 0.01
    monkeypatch.setattr(inputs.model.bridge.cfg, "act_fn", "relu")  # of plain steps alone
    with pytest.raises(LiveRefusalError, match="differ from the sweep's by"):
        live_model(inputs, maxima, config)


def test_a_model_that_is_too_large_is_left_out_and_reported(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--rows", "40", "--features", "0-5", "--set", "live.max_megabytes=0"]
    assert main(["run", str(tiny.preset), "--out", str(out), *arguments]) == 0
    assert (
        "the pages cannot run the model on a reader's text: the model's int16 weights need at least"
        in capsys.readouterr().err
    )
    assert not read_manifest(out / "data").live.is_there
    assert not (out / "site/load/live").exists()
    assert not (out / "site/active.html").exists()
    assert "active.html" not in (out / "site/index.html").read_text()
    assert "Try your own text" not in (out / "site/features/3.html").read_text()


def test_numbers_in_files_equal_those_of_the_encoder(tiny_output: Path, inputs: Inputs) -> None:
    model = read_live(tiny_output / "data")
    assert model is not None
    autoencoder = inputs.autoencoder
    values, scale = model.weights["encoder.weight"], model.weights["encoder.weight.scale"]
    assert values.dtype == np.int16
    exact = autoencoder.W_enc.T.numpy()
    error = np.abs(values * scale[:, None] - exact).max(1)
    assert (error <= np.abs(exact).max(1) / 32767 * 0.51).all()
    ids = inputs.ids(range(4))
    x = inputs.model.hook_activations(ids).flatten(0, 1)
    expected = (x - autoencoder.b_dec) @ autoencoder.W_enc + autoencoder.b_enc
    bias = torch.from_numpy(model.weights["encoder.bias"])
    torch.testing.assert_close(x @ autoencoder.W_enc + bias, expected, atol=1e-4, rtol=1e-4)


def test_the_expanded_tokenizer_definition_gives_the_same_ids() -> None:
    tokenizer = load_tokenizer(str(REPOSITORY / "demo/tokenizer"))
    spelt_out = Tokenizer.from_str(published_tokenizer(tokenizer).decode())
    texts = ["a  \u0085 1\u0663 \u2167\ufeff\n \u07c5", "word\n\n  12's", "\u3000 \u180e x"]
    found = [spelt_out.encode(text, add_special_tokens=False).ids for text in texts]
    assert found == tokenizer.encode(texts)


def test_special_names_are_plain_text(tiny_output: Path) -> None:
    definition = json.loads((tiny_output / "data/live/tokenizer.json").read_bytes())
    assert definition["added_tokens"] == []
    assert "<|BOS|>" in definition["model"]["vocab"] or len(definition["model"]["vocab"]) >= 330


def test_check_finds_what_is_missing_changed_or_strange(tiny_output: Path, tmp_path: Path) -> None:
    from sitegen.check import check_output
    from sitegen.output import open_output

    out = tmp_path / "out"
    for name, content in folder_bytes(tiny_output).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    live = out / "site/load/live"
    (live / "encoder/1.js").unlink()
    (live / "positions.js").write_bytes(b"sitegen.data()")
    (live / "encoder/9.js").write_bytes(b"")
    found = "\n".join(check_output(open_output(out)).findings)
    assert "site/load/live/encoder/1.js is missing" in found
    assert "site/load/live/positions.js is not what the data gives" in found
    assert "site/load/live/encoder/9.js belongs to nothing in the data" in found
    weights = out / "data/live/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    found = "\n".join(check_output(open_output(out)).findings)
    assert "data/live/weights.safetensors has another SHA-256" in found
    assert "weights.safetensors is damaged" in found


def test_the_live_export_is_reproducible(tiny_output: Path) -> None:
    first, second = (dict(live_scripts(tiny_output / "data", [0])) for _ in range(2))
    assert first == second
    assert len(first) == len(list((tiny_output / "site/load/live").rglob("*.js")))


def test_the_settings_fit_their_record(tiny_output: Path) -> None:
    model = read_live(tiny_output / "data")
    assert model is not None
    assert model.settings.model.hook == "mlp_post"
    assert model.settings.seq_len == 24
    # Rows of about 1,024 tokens
    assert model.settings.n_checked == 42 * 24


def test_the_vendored_library_is_the_published_one() -> None:
    listed = re.findall(
        r"`(tokenizers/\S+)` .*`([0-9a-f]{64})`",
        (REPOSITORY / "static/vendor/README.md").read_text(),
    )
    assert [name for name, _ in listed] == ["tokenizers/tokenizers.min.cjs"]
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() == listed[0][1]
