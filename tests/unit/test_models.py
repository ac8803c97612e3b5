"""Models other than gelu-1l: several layers, another architecture, other hook points; a site from one TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, GPT2LMHeadModel

from sitegen.cli import main
from sitegen.sources.hook_points import MLP_INPUT
from sitegen.sources.model import HookedModel, load_model
from tests.tiny import TinyInputs, activations_of, fitted_weights

CPU = torch.device("cpu")
D_MODEL = 24


@pytest.mark.parametrize(
    ("hook_point", "is_exact"),
    [
        ("blocks.0.mlp.hook_post", False),
        ("blocks.1.mlp.hook_post", True),
        ("blocks.1.hook_resid_post", True),
        ("blocks.1.hook_resid_pre", False),
    ],
)
def test_ablation_is_exact_only_after_the_last_layer(
    gpt2: Path, hook_point: str, is_exact: bool
) -> None:
    model = load(gpt2, hook_point)
    tokens = torch.arange(20).reshape(1, 20)
    final = model.final_layer(tokens)
    assert (final is not None) == is_exact
    if final is not None:
        *_, residual = model.input_target_and_residual(tokens)
        log_p = torch.log_softmax(final.logits(residual), -1)[:, :-1]
        expected = -log_p.gather(2, tokens[:, 1:, None])[..., 0]
        torch.testing.assert_close(model.losses(tokens), expected, atol=1e-5, rtol=1e-5)


def load(folder: Path, hook_point: str) -> HookedModel:
    """A model at a hook point, as an autoencoder reads it; at an MLP's input, as a transcoder does."""
    layer = MLP_INPUT.fullmatch(hook_point)
    output_point = f"blocks.{layer[1]}.hook_mlp_out" if layer else ""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return load_model(str(folder), hook_point, tokenizer, CPU, output_point=output_point)


def test_second_layer_activations_equal_those_of_transformers(gpt2: Path) -> None:
    tokens = torch.arange(60).reshape(3, 20)
    plain = GPT2LMHeadModel.from_pretrained(gpt2).eval()
    found: dict[str, Tensor] = {}
    plain.transformer.h[1].mlp.act.register_forward_hook(
        lambda module, given, out: found.update(mlp=out)
    )
    hidden = plain(tokens, output_hidden_states=True).hidden_states
    mlp = load(gpt2, "blocks.1.mlp.hook_post")
    torch.testing.assert_close(
        mlp.hook_activations(tokens), found["mlp"].detach(), atol=1e-5, rtol=1e-4
    )
    assert mlp.d_hook == 4 * D_MODEL
    residual = load(gpt2, "blocks.1.hook_resid_pre")
    stream = residual.hook_activations(tokens)
    torch.testing.assert_close(stream, hidden[1].detach(), atol=1e-5, rtol=1e-5)
    assert residual.d_hook == D_MODEL


def test_stopping_at_the_hook_changes_no_bit(tiny: TinyInputs) -> None:
    model = load_model(str(tiny.model), "blocks.0.mlp.hook_post", None, CPU)
    tokens = torch.arange(48).reshape(2, 24)
    _, cache = model.bridge.run_with_cache(tokens)
    assert torch.equal(model.hook_activations(tokens), cache["blocks.0.mlp.hook_post"])


@pytest.mark.parametrize(
    ("hook_point", "width"), [("blocks.1.mlp.hook_post", 96), ("blocks.1.hook_resid_pre", 24)]
)
def test_one_toml_file_gives_a_site(
    gpt2: Path, tiny: TinyInputs, tmp_path: Path, hook_point: str, width: int
) -> None:
    x = activations_of(gpt2, hook_point, tiny.tokenizer, tiny.corpus)
    assert x.shape[1] == width
    weights = fitted_weights(x, 11)
    save_file(weights, tmp_path / "sae.safetensors")
    (tmp_path / "mine.toml").write_text(
        f'[model]\nname = "{gpt2}"\nhook_point = "{hook_point}"\n'
        '[autoencoder]\nsource = "sae.safetensors"\n'
        f'[corpus]\nfiles = ["{tiny.corpus}"]\nseq_len = 32\n'
        "[contexts]\nn_top = 5\nn_intervals = 2\nn_per_interval = 2\n"
    )
    assert (
        main(["run", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), "--rows", "96"])
        == 0
    )
    assert (tmp_path / "out/site/features/10.html").is_file()
