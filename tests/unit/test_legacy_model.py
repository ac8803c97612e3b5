"""Models in TransformerLens' legacy layout, from the hashed files, equal those of its own loader to the bit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

from sitegen.sources.model_files import boot_model, run_with_points
from tests.gelu_hub import saved
from tests.hub_session import visit
from tests.loopback_hub import LoopbackHub
from tests.tiny import D_MODEL, TinyInputs, model_config, model_weights

NAME = "NeelNanda/GELU_1L512W_C4_Code"
OLD_NAME = "NeelNanda/SoLU_1L_v9_old"
D_VOCAB, N_CTX = 50, 24
POINTS = ("blocks.0.hook_resid_pre", "blocks.0.mlp.hook_post", "blocks.0.hook_resid_post")
BODY = re.compile("GET .*/(resolve|storage)/")
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def as_made(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights


def without_bias(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name != "unembed.b_U"}


def with_buffers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        **weights,
        "blocks.0.attn.mask": torch.ones(N_CTX, N_CTX, dtype=torch.bool).tril(),
        "blocks.0.attn.IGNORE": torch.tensor(-1e5),
    }


def in_half_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.half() for name, weight in weights.items()}


def the_other_way_round(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    turned = {
        name: weight.transpose(-2, -1).contiguous() if "W_" in name else weight
        for name, weight in weights.items()
    }
    return {name.replace("ln", "norm"): weight for name, weight in turned.items()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub().serving() as loopback:
        visit(loopback, tmp_path, monkeypatch)
        yield loopback


def require_same(name: str, hub: LoopbackHub, tiny: TinyInputs) -> None:
    """Assert that a model equals that of TransformerLens' own loader to the bit, and no file was requested twice."""
    tokenizer = AutoTokenizer.from_pretrained(str(tiny.tokenizer))
    found = boot_model(name, tokenizer, torch.device("cpu"))
    assert sum(bool(BODY.match(request)) for request in hub.requests) == 2
    assert not any("/api/models" in request for request in hub.requests)
    expected = TransformerBridge.boot_tl_legacy(name, tokenizer=tokenizer).eval()
    ids = torch.arange(2 * N_CTX).view(2, N_CTX) % D_VOCAB
    with torch.no_grad():
        here, logits = run_with_points(found.bridge, ids, POINTS)
        there, expected_logits = run_with_points(expected, ids, POINTS)
    assert torch.equal(logits, expected_logits)
    assert all(torch.equal(here[point], there[point]) for point in POINTS)
    assert here[POINTS[0]].shape == (2, N_CTX, D_MODEL)


def short_weights() -> dict[str, Tensor]:
    weights = model_weights(D_VOCAB)
    return {**weights, "pos_embed.W_pos": weights["pos_embed.W_pos"][:N_CTX].clone()}


def files(weights: dict[str, Tensor]) -> dict[str, bytes]:
    config = {**model_config(D_VOCAB), "n_ctx": N_CTX}
    return {"config.json": json.dumps(config).encode(), "model_final.pth": saved(weights)}


@pytest.mark.parametrize("change", [as_made, without_bias, with_buffers, in_half_precision])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_the_model_equals_that_of_transformerlens_to_the_bit(
    hub: LoopbackHub,
    tiny: TinyInputs,
    change: Change,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("torch.serialization.location_tag", lambda storage: device)
        hub.add("models", NAME, files(change(short_weights())))
    assert device.encode() in hub.repositories["models", NAME]["model_final.pth"]
    require_same(NAME, hub, tiny)


def test_the_older_layout_is_read_too(hub: LoopbackHub, tiny: TinyInputs) -> None:
    hub.add("models", OLD_NAME, files(the_other_way_round(short_weights())))
    require_same(OLD_NAME, hub, tiny)
