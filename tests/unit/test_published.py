"""From a preset of six lines to a checked site, over a loopback Hub that serves published layouts as they are.

Each model is a tiny one of the right family, and each autoencoder is fitted to its activations as plain `transformers`
computes them, then stored as its authors store theirs.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from sitegen.cli import main
from tests.brute_force import read_rows
from tests.conftest import folder_bytes
from tests.families import LAYER, MLP_OUT, POST, Plain, build
from tests.gelu_hub import as_parquet, saved
from tests.hub_session import visit
from tests.loopback_hub import LoopbackHub
from tests.tiny import TinyInputs, documents

N_FEATURES, K, SEQ_LEN, N_ROWS = 60, 6, 32, 48
D_VOCAB = 333
MLP_INPUT = "mlp.hook_in"
Weights = dict[str, Tensor]
# The average length that Llama Scope's settings give; any number does, since it is folded into the weights
NORM = 3.5


@dataclass(frozen=True)
class Published:
    """A published autoencoder, and how a setting of its files is spoilt.

    family    of tests/families.py
    norm      module of a layer whose output is the MLP's input, of a transcoder; otherwise empty
    store     weights to the files of its repository, by path
    spoilt    weights to files in which a setting or a weight is wrong
    """

    family: str
    model: str
    repository: str
    source: str
    store: Callable[[Weights], dict[str, bytes]]
    spoilt: Callable[[Weights], dict[str, bytes]]
    norm: str = ""
    k: int = 0

    @property
    def points(self) -> tuple[str, str]:
        """The points in the layer that are read and reconstructed."""
        return (MLP_INPUT, MLP_OUT) if self.norm else (POST, POST)


def as_npz(weights: Weights) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: weight.numpy() for name, weight in weights.items()})
    return file.getvalue()


def in_gemma_scope(weights: Weights) -> dict[str, bytes]:
    return {"layer_1/width_16k/average_l0_9/params.npz": as_npz(weights)}


def in_gemma_scope_2(
    folder: str, settings: dict[str, Any]
) -> Callable[[Weights], dict[str, bytes]]:
    names = {"W_enc": "w_enc", "W_dec": "w_dec", "W_skip": "affine_skip_connection"}
    common = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"}

    def store(weights: Weights) -> dict[str, bytes]:
        renamed = {names.get(name, name): weight.contiguous() for name, weight in weights.items()}
        return {
            f"{folder}/params.safetensors": save(renamed),
            f"{folder}/config.json": json.dumps({**common, **settings}).encode(),
        }

    return store


def in_llama_scope(weights: Weights, said_norm: float = NORM) -> dict[str, bytes]:
    """Weights for inputs of an average length of sqrt(d_model), with one threshold.

    said_norm  the average length that the settings give
    """
    scale = 24**0.5 / NORM
    tensors = {
        "encoder.weight": (weights["W_enc"] / scale).T.contiguous(),
        "encoder.bias": weights["b_enc"],
        "decoder.weight": (weights["W_dec"] * scale).T.contiguous(),
        "decoder.bias": weights["b_dec"] * scale,
    }
    settings = {
        "d_model": 24,
        "d_sae": N_FEATURES,
        "hook_point_in": "blocks.1.hook_resid_post",
        "act_fn": "jumprelu",
        "jump_relu_threshold": float(weights["threshold"][0]) / scale,
        "dataset_average_activation_norm": {"in": said_norm, "out": said_norm},
    }
    folder = "Llama3_1-8B-Base-L1R-8x"
    return {
        f"{folder}/hyperparams.json": json.dumps(settings).encode(),
        f"{folder}/checkpoints/final.safetensors": save(tensors),
    }


def in_qwen_scope(weights: Weights) -> dict[str, bytes]:
    turned = {name: weights[name].T.contiguous() for name in ("W_enc", "W_dec")}
    return {"layer1.sae.pt": saved({**weights, **turned})}


RESIDUAL = in_gemma_scope_2(
    "resid_post/layer_1_width_16k_l0_small", {"hf_hook_point_in": "model.layers.1.output"}
)
RESIDUAL_OF_ANOTHER_LAYER = in_gemma_scope_2(
    "resid_post/layer_1_width_16k_l0_small", {"hf_hook_point_in": "model.layers.0.output"}
)
TRANSCODER = in_gemma_scope_2(
    "transcoder/layer_1_width_16k_l0_small_affine",
    {
        "hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output",
        "affine_connection": True,
    },
)


PUBLISHED = {
    "gemma-scope": Published(
        "gemma2",
        "google/gemma-2-2b",
        "google/gemma-scope-2b-pt-res",
        "layer_1/width_16k/average_l0_9",
        in_gemma_scope,
        lambda weights: in_gemma_scope(weights | {"threshold": 9 * weights["threshold"]}),
    ),
    "gemma-scope-2": Published(
        "gemma3_text",
        "google/gemma-3-1b-pt",
        "google/gemma-scope-2-1b-pt",
        "resid_post/layer_1_width_16k_l0_small",
        RESIDUAL,
        RESIDUAL_OF_ANOTHER_LAYER,
    ),
    "gemma-scope-2-transcoder": Published(
        "gemma3_text",
        "google/gemma-3-1b-pt",
        "google/gemma-scope-2-1b-pt",
        "transcoder/layer_1_width_16k_l0_small_affine",
        TRANSCODER,
        lambda weights: TRANSCODER(weights | {"W_skip": weights["W_skip"].T}),
        norm="pre_feedforward_layernorm",
    ),
    "llama-scope": Published(
        "llama",
        "meta-llama/Llama-3.1-8B",
        "fnlp/Llama3_1-8B-Base-LXR-8x",
        "Llama3_1-8B-Base-L1R-8x",
        in_llama_scope,
        lambda weights: in_llama_scope(weights, said_norm=4 * NORM),
    ),
    "qwen-scope": Published(
        "qwen3",
        "Qwen/Qwen3-1.7B-Base",
        "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6",
        "layer1.sae.pt",
        in_qwen_scope,
        lambda weights: in_qwen_scope(weights | {"W_enc": weights["W_enc"].T.reshape(24, -1)}),
        k=K,
    ),
}


@dataclass(frozen=True)
class Model:
    """A tiny model of a family on disk, and its activations on the first rows of the text."""

    folder: Path
    x: Tensor
    y: Tensor


def streams(one: Published, folder: Path, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What is read and what is reconstructed, [n_rows, seq_len, 24] each, by plain `transformers`."""
    plain = Plain(one.family, folder)
    found: dict[str, Tensor] = {}
    if one.norm:
        norm: nn.Module = plain.part(one.norm)
        norm.register_forward_hook(lambda _, args, out: found.update({MLP_INPUT: out.detach()}))
    found |= plain.capture(tokens)
    return found[one.points[0]], found[one.points[1]]


def encode(weights: Weights, x: Tensor, k: int) -> Tensor:
    pre = x @ weights["W_enc"] + weights["b_enc"]
    if k:
        top = pre.topk(k, -1)
        return torch.zeros_like(pre).scatter(-1, top.indices, top.values).relu()
    return torch.where(pre > weights["threshold"], pre, 0)


def fitted(x: Tensor, y: Tensor, one: Published) -> Weights:
    """Weights whose decoder (and skip connection) reconstruct `y` from `x`, [n, 24] each, as well as they can."""
    generator = torch.Generator().manual_seed(3)
    W_enc = torch.randn(24, N_FEATURES, generator=generator)
    pre = x @ W_enc
    # A threshold for all features, as Llama Scope has it: the biases make the features equally active
    # and none is so near to the threshold that rounding decides
    b_enc = 0.501 - torch.quantile(pre, 0.8, dim=0)
    weights = {"W_enc": W_enc, "b_enc": b_enc, "threshold": torch.full((N_FEATURES,), 0.5)}
    terms = [encode(weights, x, one.k), torch.ones(len(x), 1)]
    terms += [x] if one.norm else []
    joined = torch.cat(terms, 1).double()
    ridge = 1e-3 * torch.eye(joined.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(joined.T @ joined + ridge, joined.T @ y.double()).float()
    weights |= {"W_dec": solved[:N_FEATURES].contiguous(), "b_dec": solved[N_FEATURES].contiguous()}
    if one.norm:
        weights["W_skip"] = solved[N_FEATURES + 1 :].contiguous()
    if one.k:
        del weights["threshold"]
    return weights


@pytest.fixture(scope="module")
def tokens(tiny: TinyInputs) -> Tensor:
    rows = read_rows(tiny.corpus, tiny.tokenizer / "tokenizer.json", SEQ_LEN, 42)
    return torch.from_numpy(rows[:N_ROWS].astype("int64"))


@pytest.fixture(scope="module")
def models(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each family, with the tiny tokenizer in its folder."""
    folders = {}
    for family in {one.family for one in PUBLISHED.values()}:
        folder = tmp_path_factory.mktemp(family)
        build(family, vocab_size=D_VOCAB).save_pretrained(folder)
        for path in tiny.tokenizer.iterdir():
            shutil.copy(path, folder)
        folders[family] = folder
    return folders


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub().serving() as served:
        served.add(
            "datasets", "NeelNanda/pile-10k", {"data/train.parquet": as_parquet(documents())}
        )
        visit(served, tmp_path / "home", monkeypatch)
        yield served


def preset(one: Published, folder: Path) -> Path:
    """The preset of six lines: the hook point follows from the files."""
    path = folder / "mine.toml"
    path.write_text(
        f'model.name = "{one.model}"\n'
        f'autoencoder.repository = "{one.repository}"\n'
        f'autoencoder.source = "{one.source}"\n'
        'corpus.dataset = "NeelNanda/pile-10k"\n'
        f"corpus.seq_len = {SEQ_LEN}\n"
        f"corpus.n_rows = {N_ROWS}\n"
    )
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_six_lines_become_a_checked_site(
    name: str,
    models: dict[str, Path],
    tokens: Tensor,
    hub: LoopbackHub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = PUBLISHED[name]
    x, y = streams(one, models[one.family], tokens)
    weights = fitted(x.flatten(0, 1), y.flatten(0, 1), one)
    hub.add("models", one.model, folder_bytes(models[one.family]))
    hub.add("models", one.repository, one.store(weights))
    out = tmp_path / "out"
    assert main(["run", str(preset(one, tmp_path)), "--out", str(out)]) == 0
    assert "check: 0 findings" in capsys.readouterr().err

    activations = encode(weights, x, one.k)
    for feature in (0, 17, 59):
        record = json.loads((out / f"data/features/{feature:05d}.json").read_text())
        top = record["contexts"][0]
        expected = float(activations[top["row"], top["position"], feature])
        assert top["activation"] == pytest.approx(expected, rel=1e-4)
        assert record["n_active"] == int((activations[..., feature] > 0).sum())
    manifest = json.loads((out / "data/manifest.json").read_text())
    read, written = (f"blocks.{LAYER}.{point}" for point in one.points)
    assert manifest["config"]["model"]["hook_point"] == read
    assert manifest["config"]["model"]["output_hook_point"] == (written if one.norm else "")

    # With a wrong setting or weight the files fit worse, and the run stops before the sweep
    hub.add("models", one.repository, one.spoilt(weights))
    shutil.rmtree(tmp_path / "home")
    assert main(["sweep", str(preset(one, tmp_path)), "--out", str(tmp_path / "spoilt")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "does not fit blocks." in message
