"""Autoencoders of other libraries: folders that these wrote, against results of their own code."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.errors import SourceError
from sitegen.maths.activation_functions import JumpReLU, TopK
from sitegen.maths.encoder import ActivationSearch, ActiveEntries, Encoder, PairReader
from sitegen.sources.architecture import DeclaredSettings, TextSettings
from sitegen.sources.autoencoder import Autoencoder, load_autoencoder
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sources.layouts import saelens
from sitegen.sources.model import load_model
from tests.conftest import REPOSITORY, folder_bytes
from tests.gelu_hub import as_parquet
from tests.hub_session import visit
from tests.loopback_hub import COMMIT, LoopbackHub
from tests.tiny import TinyInputs, activations_of, documents, fitted_weights, write_gpt2

FOLDERS = sorted(path.parent for path in (REPOSITORY / "tests/autoencoders").glob("*/expected*"))
CPU = torch.device("cpu")
RESIDUAL = "blocks.1.hook_resid_pre"


def load(source: Path | str) -> Autoencoder:
    return load_autoencoder(str(source), "NeelNanda/sparse_autoencoder", CPU)


def dense(entries: ActiveEntries, n_tokens: int, n_features: int) -> Tensor:
    """Dense activations [n_tokens, n_features] of active entries."""
    found = torch.zeros(n_tokens, n_features)
    found[entries.token, entries.feature] = entries.activation
    return found


def test_there_is_a_folder_of_every_architecture() -> None:
    assert len(FOLDERS) == 12
    architectures = {
        (load(folder).activation_function, load(folder).architecture) for folder in FOLDERS
    }
    assert {function for function, _ in architectures} == {"ReLU", "JumpReLU", "TopK"}
    assert {architecture.normalisation for _, architecture in architectures} == {
        "none",
        "layer_norm",
        "constant_norm_rescale",
    }
    assert {architecture.subtracts_b_dec for _, architecture in architectures} == {True, False}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_activations_and_output_equal_those_of_the_original_library(
    folder: Path, precision: str
) -> None:
    autoencoder, expected = load(folder), load_file(folder / "expected.safetensors")
    x, activations = expected["x"], expected["activations"]
    found = dense(
        ActivationSearch(autoencoder.encoder(), precision).active_entries(x), *activations.shape
    )
    assert torch.equal(found > 0, activations > 0)
    torch.testing.assert_close(found, activations, atol=2e-5, rtol=1e-5)
    output = autoencoder.normalise(x).undone(found @ autoencoder.W_dec + autoencoder.b_dec)
    torch.testing.assert_close(output, expected["output"], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_pairs_and_chosen_features_agree_with_all_features(folder: Path, precision: str) -> None:
    autoencoder, x = load(folder), load_file(folder / "expected.safetensors")["x"]
    n_tokens, d_hidden = len(x), autoencoder.d_hidden
    whole = dense(
        ActivationSearch(autoencoder.encoder(), precision).active_entries(x), n_tokens, d_hidden
    )
    feature = torch.arange(d_hidden).repeat_interleave(n_tokens)
    token = torch.arange(n_tokens).repeat(d_hidden)
    pairs = PairReader(autoencoder.encoder(), precision).activations(x, feature, token)
    assert torch.equal(pairs.view(d_hidden, n_tokens).T, whole)
    # As overlapping windows give them: pairs may be repeated, in any order
    order = torch.randint(len(token), (2 * len(token) + 1,))
    again = PairReader(autoencoder.encoder(), precision).activations(
        x, feature[order], token[order]
    )
    assert torch.equal(again, pairs[order])
    chosen = torch.tensor([0, 3, 17, 40])
    some = ActivationSearch(autoencoder.encoder(chosen), precision).active_entries(x)
    assert torch.equal(dense(some, n_tokens, len(chosen)), whole[:, chosen])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 12),
    step=st.sampled_from([0.0, 0.25, 1.0]),
    precision=st.sampled_from(["fp32", "bf16"]),
)
def test_top_k_with_ties_is_exact_in_every_precision(
    seed: int, k: int, step: float, precision: str
) -> None:
    """Coarse numbers make ties, which go to the first features, and bfloat16 errors larger than the gaps."""
    generator = torch.Generator().manual_seed(seed)
    x, W_enc = (torch.randn(shape, generator=generator) for shape in ((50, 19), (19, 61)))
    b_enc = torch.randn(61, generator=generator) - 3
    if step:
        x, W_enc, b_enc = ((values / step).round() * step for values in (x, W_enc, b_enc))
    encoder = Encoder(W_enc, b_enc, torch.zeros(19), TopK(k))
    entries = ActivationSearch(encoder, precision).active_entries(x)
    found = dense(entries, 50, 61)
    each = torch.arange(61).repeat_interleave(50), torch.arange(50).repeat(61)
    pre = encoder.pre_activations(encoder.centre(x), *each).view(61, 50).T
    torch.testing.assert_close(pre, x @ W_enc + b_enc, atol=1e-4, rtol=1e-4)
    order = pre.sort(descending=True, stable=True, dim=1).indices[:, :k]
    expected = torch.zeros(50, 61).scatter(1, order, pre.gather(1, order)).clamp(min=0)
    assert torch.equal(found, expected)
    # Entries are ordered by feature, then token
    key = entries.feature * 50 + entries.token
    assert (key.diff() > 0).all()


def test_thresholds_decide_exactly_in_every_precision() -> None:
    """A threshold equal to a pre-activation makes all larger ones active, and not that one."""
    generator = torch.Generator().manual_seed(2)
    x, W_enc = (torch.randn(shape, generator=generator) for shape in ((70, 33), (33, 50)))
    plain = Encoder(W_enc, torch.zeros(50), torch.zeros(33))
    each = torch.arange(50).repeat_interleave(70), torch.arange(70).repeat(50)
    pre = plain.pre_activations(plain.centre(x), *each).view(50, 70)
    threshold = pre.sort(1).values[:, 60].clamp(min=0)  # the tenth largest of 70
    function = JumpReLU(threshold)
    encoder = Encoder(W_enc, torch.zeros(50), torch.zeros(33), function)
    for precision in ("fp32", "bf16"):
        found = dense(ActivationSearch(encoder, precision).active_entries(x), 70, 50).T
        assert torch.equal(found, torch.where(pre > threshold[:, None], pre, 0))
    assert (found > 0).sum() == 9 * 50


def _settings(folder: Path, change: dict[str, Any]) -> None:
    path = folder / ("cfg.json" if (folder / "cfg.json").is_file() else "config.json")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **change}))


@pytest.mark.parametrize(
    ("folder", "change", "complaint"),
    [
        (
            "saelens-standard",
            {"architecture": "temporal"},
            "architecture 'temporal' is not supported",
        ),
        (
            "saelens-standard",
            {"architecture": "matching_pursuit"},
            "architecture 'matching_pursuit'",
        ),
        (
            "saelens-standard",
            {"activation_fn": "tanh-relu"},
            "activation function 'tanh-relu' is not supported",
        ),
        ("saelens-standard", {"architecture": "jumprelu"}, "lacks a threshold"),
        ("saelens-jumprelu", {"architecture": "standard"}, "has a threshold"),
        ("saelens-topk", {"k": "many"}, "k is 'many'; a whole number"),
        ("saelens-topk", {"k": 0}, "k is 0; a whole number"),
        (
            "saelens-topk",
            {"d_in": 23},
            "d_in is 23 in cfg.json, but sae_weights.safetensors has 24",
        ),
        ("saelens-topk", {"d_sae": "41"}, "d_sae is '41' in cfg.json"),
        (
            "saelens-topk",
            {"apply_b_dec_to_input": "false"},
            "apply_b_dec_to_input is 'false'; true",
        ),
        ("saelens-standard", {"normalize_activations": ["none"]}, "['none'] is not supported"),
        (
            "saelens-standard",
            {"activation_fn_str": "topk", "activation_fn_kwargs": [4]},
            "k is None; a whole number",
        ),
        ("saelens-topk", {"k": 42}, "k is 42, but the autoencoder has only 41 features"),
        (
            "saelens-standard",
            {"normalize_activations": "expected_average_only_in"},
            "fold_activation_norm_scaling_factor",
        ),
        ("saelens-standard", {"normalize_activations": "batch"}, "'batch' is not supported"),
        ("saelens-standard", {"finetuning_scaling_factor": True}, "finetuning_scaling_factor"),
        ("saelens-standard", {"metadata": {"hook_head_index": 3}}, "hook_head_index"),
        (
            "dictionary-learning-autoencoder",
            {"trainer": {"dict_class": "GatedAnnealing"}},
            "class 'GatedAnnealing' is not supported",
        ),
        ("dictionary-learning-autoencoder", {"trainer": None}, "class None is not supported"),
        (
            "dictionary-learning-jumprelu",
            {"trainer": {"dict_class": "AutoEncoderTopK"}},
            "its k or threshold is missing",
        ),
    ],
)
def test_unknown_settings_are_refused_by_name(
    folder: str, change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    copy = tmp_path / folder
    shutil.copytree(REPOSITORY / "tests/autoencoders" / folder, copy)
    load(copy)
    _settings(copy, change)
    with pytest.raises(SourceError) as refusal:
        load(copy)
    assert complaint in str(refusal.value)
    assert str(refusal.value).startswith(folder)
    assert "\n" not in str(refusal.value)


def test_a_folder_without_an_autoencoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(SourceError, match=r"or cfg\.json and sae_weights\.safetensors, or"):
        load(tmp_path)
    for text, complaint in (("{", "is not valid JSON"), ("[]", "is not a JSON object")):
        copy = tmp_path / f"copy{len(text)}"
        shutil.copytree(REPOSITORY / "tests/autoencoders/saelens-standard", copy)
        (copy / "cfg.json").write_text(text)
        with pytest.raises(SourceError, match=complaint):
            load(copy)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_weights_are_read_with_the_settings_beside_them(folder: Path, tmp_path: Path) -> None:
    weights = next(path for path in folder.iterdir() if path.name in ("ae.pt", saelens.WEIGHTS))
    assert load(weights).architecture == load(folder).architecture
    if weights.name == saelens.WEIGHTS:
        shutil.copy(weights, tmp_path)
        with pytest.raises(SourceError, match=r"its cfg\.json is missing"):
            load(tmp_path / weights.name)


@pytest.mark.parametrize(
    "k", [torch.tensor(0), torch.tensor(-2), torch.tensor(2.7), torch.tensor([1, 2])]
)
def test_a_k_that_is_no_whole_number_is_refused(k: Tensor, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(REPOSITORY / "tests/autoencoders/dictionary-learning-topk", folder)
    weights = torch.load(folder / "ae.pt", weights_only=True)
    torch.save({**weights, "k": k}, folder / "ae.pt")
    with pytest.raises(
        SourceError, match=r"^mine: k is .* a whole number of 1 or more is expected"
    ):
        load(folder)


@pytest.mark.parametrize(
    "weight", [torch.eye(3).to_sparse(), torch.empty(3, 3, device="meta")], ids=["sparse", "meta"]
)
def test_tensors_of_another_layout_are_refused(weight: Tensor, tmp_path: Path) -> None:
    torch.save({"W_enc": weight}, tmp_path / "odd.pt")
    with pytest.raises(SourceError, match=r"odd\.pt"):
        load(tmp_path / "odd.pt")


def test_deeply_nested_settings_are_refused(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "tests/autoencoders/saelens-standard", tmp_path / "deep")
    (tmp_path / "deep/cfg.json").write_text("[" * 200_000)
    with pytest.raises(SourceError, match=r"deep/cfg\.json is not valid JSON"):
        load(tmp_path / "deep")


def test_settings_from_saelens_before_version_6_are_read(tmp_path: Path) -> None:
    source = REPOSITORY / "tests/autoencoders/saelens-topk"
    shutil.copytree(source, tmp_path / "old")
    old = {
        "architecture": "standard",
        "d_in": 24,
        "d_sae": 41,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4},
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "normalize_activations": "none",
        "hook_name": RESIDUAL,
        "hook_head_index": None,
    }
    (tmp_path / "old/cfg.json").write_text(json.dumps(old))
    expected = dataclasses.replace(load(source).architecture, text=TextSettings(), model="")
    assert load(tmp_path / "old").architecture == expected


@pytest.mark.parametrize("name", ["autoencoder", "autoencoder-new"])
def test_a_state_dict_of_linear_layers_is_read_by_its_names(name: str, tmp_path: Path) -> None:
    folder = REPOSITORY / f"tests/autoencoders/dictionary-learning-{name}"
    shutil.copy(folder / "ae.pt", tmp_path / "mine.pt")
    with pytest.raises(SourceError, match=r"mine\.pt: a plain file .* set autoencoder\.activation"):
        load(tmp_path / "mine.pt")
    whole = load(folder)
    said = DeclaredSettings("relu", subtracts_b_dec=whole.architecture.subtracts_b_dec)
    alone = load_autoencoder(str(tmp_path / "mine.pt"), "", CPU, said)
    assert alone.architecture == whole.architecture
    for key in ("W_enc", "W_dec", "b_enc", "b_dec"):
        assert torch.equal(getattr(alone, key), getattr(whole, key))


D_SQUARE = (
    24  # as many features as the hook point is wide, so that shapes do not distinguish the axes
)


def square_weights(*names: str) -> dict[str, Tensor]:
    """Random weights: matrices that are not symmetric, and vectors for the names of biases."""
    generator = torch.Generator().manual_seed(11)
    shapes = {name: (D_SQUARE,) * (1 if "bias" in name or name[0] == "b" else 2) for name in names}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_square_matrices_are_read_as_sparsify_stores_them(tmp_path: Path) -> None:
    """Both [d_sae, d_in]; its forward pass, step by step.

    source  EleutherAI/sparsify, sparse_coder.py `SparseCoder.encode` and `decode`, fused_encoder.py
    """
    weights = square_weights("encoder.weight", "encoder.bias", "W_dec", "b_dec")
    save_file(weights, tmp_path / "sae.safetensors")
    (tmp_path / "cfg.json").write_text('{"activation": "topk", "k": 5, "d_in": 24}')
    read = load(tmp_path / "sae.safetensors")

    x = torch.randn(60, D_SQUARE, generator=torch.Generator().manual_seed(12))
    encoder = torch.nn.Linear(D_SQUARE, D_SQUARE)
    encoder.load_state_dict({part: weights[f"encoder.{part}"] for part in ("weight", "bias")})
    with torch.no_grad():
        top = encoder(x - weights["b_dec"]).relu().topk(5, dim=-1)
    expected, output = torch.zeros(60, D_SQUARE), weights["b_dec"].repeat(60, 1)
    for token, (features, values) in enumerate(zip(top.indices, top.values, strict=True)):
        for feature, value in zip(features, values, strict=True):
            expected[token, feature] = value
            output[token] += value * weights["W_dec"][feature]

    torch.testing.assert_close(read.encode(x), expected, atol=1e-5, rtol=1e-5)
    found = dense(ActivationSearch(read.encoder(), "fp32").active_entries(x), 60, D_SQUARE)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read.reconstruct(x)[0], output, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("names", "transposed"),
    [
        (("W_enc", "b_enc", "W_dec", "b_dec"), (False, False)),
        (("encoder.weight", "encoder.bias", "decoder.weight", "bias"), (True, True)),
        (("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"), (True, True)),
        (("encoder.weight", "encoder.bias", "decoder.weight", "b_dec"), (True, True)),
        (("encoder.weight", "encoder.bias", "W_dec", "b_dec"), (True, False)),
    ],
)
def test_square_matrices_are_read_by_names_not_shapes(
    names: tuple[str, ...], transposed: tuple[bool, bool], tmp_path: Path
) -> None:
    weights = square_weights(*names)
    save_file(weights, tmp_path / "mine.safetensors")
    said = DeclaredSettings("relu", subtracts_b_dec=True)
    read = load_autoencoder(str(tmp_path / "mine.safetensors"), "", CPU, said)
    for own, name, turned in zip((read.W_enc, read.W_dec), names[::2], transposed, strict=True):
        assert torch.equal(own, weights[name].T if turned else weights[name])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("W_dec", "decoder.weight and W_dec both hold W_dec"),
        ("W_enc", "encoder.weight and W_enc both hold W_enc"),
        ("b_dec", "bias and b_dec both hold b_dec"),
    ],
)
def test_two_tensors_for_one_weight_are_refused(
    more: str,
    message: str,
    tiny: TinyInputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = square_weights("encoder.weight", "encoder.bias", "decoder.weight", "bias", more)
    torch.save(weights, tmp_path / "mine.pt")
    fields = {"source": tmp_path / "mine.pt", "activation": "relu", "subtracts_b_dec": "true"}
    options = [
        part for name, value in fields.items() for part in ("--set", f"autoencoder.{name}={value}")
    ]
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"build.py: mine.pt: {message}: remove the one that is not in use"
    ]


def test_directions_at_the_heads_are_projected_through_W_O(gpt2: Path) -> None:
    """Adding a direction at the heads' hook point changes the attention's output by its product with W_O."""
    model = load_model(str(gpt2), "blocks.1.attn.hook_z", None, CPU)
    tokens = torch.arange(20).reshape(1, 20)
    assert model.d_hook == 24
    assert model.output.formula == "W_dec W_O W_U"
    x = model.hook_activations(tokens)
    outputs: list[Tensor] = []
    direction = torch.randn(24, generator=torch.Generator().manual_seed(3))
    for z in (x, x + direction):

        def replace_heads(found: Tensor, hook: object, z: Tensor = z) -> Tensor:
            return z.view_as(found)

        def keep_output(found: Tensor, hook: object) -> None:
            outputs.append(found)

        hooks = [
            ("blocks.1.attn.hook_z", replace_heads),
            ("blocks.1.hook_attn_out", keep_output),
        ]
        model.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    added = (outputs[1] - outputs[0])[0]
    assert model.W_out is not None
    expected = (direction @ model.W_out).expand_as(added)
    expected = expected - expected.mean(-1, keepdim=True)
    torch.testing.assert_close(added - added.mean(-1, keepdim=True), expected, atol=1e-5, rtol=1e-4)


def _moved(name: str, folder: Path, hook_point: str) -> Path:
    """A copy of a SAELens folder with another hook point in its settings."""
    copy = folder / name
    shutil.copytree(REPOSITORY / "tests/autoencoders" / name, copy)
    _settings(copy, {"metadata": {"hook_name": hook_point}})
    return copy


@pytest.mark.parametrize("name", ["saelens-jumprelu", "saelens-topk", "saelens-layer-norm"])
def test_a_folder_becomes_a_site(
    name: str, gpt2: Path, tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the last of two layers, where ablation is exact; each one equals the model without the feature."""
    hook_point = "blocks.1.hook_resid_post"
    folder = _moved(name, tmp_path, hook_point)
    preset = tmp_path / "foreign.toml"
    preset.write_text(
        f'model.name = "{gpt2}"\nmodel.hook_point = "{hook_point}"\nautoencoder.source = "{folder}"\n'
        f'corpus.files = ["{tiny.corpus}"]\ncorpus.seq_len = 32\n'
        "analysis.n_quality_rows = 100\nanalysis.batch_rows = 100\ncorpus.n_rows = 150\ncontexts.n_top = 5\n"
        "autoencoder.accept_poor_fit = true\n"
    )
    out = tmp_path / "out"
    assert main(["run", str(preset), "--out", str(out)]) == 0
    message = capsys.readouterr().err
    assert "check: 0 findings" in message
    fit = json.loads((out / "data/overview.json").read_text())["fit"]
    assert fit["objection"]  # the weights are random
    assert f"the pages warn that the autoencoder may not fit: {fit['objection']}" in message
    for page in [out / "site/overview.html", *(out / "site/features").glob("*.html")]:
        assert escape(fit["objection"], quote=False) in page.read_text(), page.name
    runs_live = (
        "the pages cannot run the model on a reader's text: pages know ReLU and JumpReLU"
        not in message
    )
    assert runs_live == (name != "saelens-topk") == (out / "site/active.html").exists()
    inputs = load_inputs(load_config(str(preset)))
    about = (out / "site/about.html").read_text()
    assert f"{inputs.autoencoder.activation_function}(" in about
    assert "W_dec W_U" in about
    plain = _Plain(inputs)
    quality = json.loads((out / "data/overview.json").read_text())["quality"]
    for figure, value in plain.quality(100).items():
        assert quality[figure]["mean"] == pytest.approx(value, rel=1e-4), figure
    n_checked = 0
    for feature in range(41):
        record, beside = (
            json.loads((out / f"data/{kind}/{feature:05d}.json").read_text())
            for kind in ("features", "evidence")
        )
        ablation = beside["ablation"]
        assert ablation is not None
        listed = zip(ablation["context"], ablation["offset"], ablation["loss_change"], strict=True)
        for index, offset, loss_change in [*listed][:3]:
            context = record["contexts"][index]
            row, position = context["row"], context["start"] + offset
            assert context["activations"][offset] == pytest.approx(
                plain.activations[row, position, feature].item(), rel=1e-4, abs=2e-5
            )
            if loss_change is not None:
                expected = plain.loss_change(row, position, feature)
                assert loss_change == pytest.approx(expected, abs=1e-4)
                n_checked += 1
    assert n_checked > 10


class _Plain:
    """Activations, quality and ablation by running the model with replaced activations, following the definitions."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs, autoencoder = inputs, inputs.autoencoder
        self._tokens = inputs.ids(range(150))
        self._x = inputs.model.hook_activations(self._tokens)
        self._input = autoencoder.normalise(self._x.flatten(0, 1))
        b_in = autoencoder.b_dec if autoencoder.architecture.subtracts_b_dec else 0
        found = (self._input.x - b_in) @ autoencoder.W_enc + autoencoder.b_enc
        if autoencoder.architecture.k:
            cut = found.topk(autoencoder.architecture.k, dim=1).values[:, -1:]
            found = torch.where(found >= cut, found, 0)
        if autoencoder.threshold is not None:
            found = torch.where(found > autoencoder.threshold, found, 0)
        self.activations = torch.relu(found).view(150, 32, -1)

    def quality(self, n_rows: int) -> dict[str, float]:
        autoencoder, x = self._inputs.autoencoder, self._x
        output = self.activations.flatten(0, 1) @ autoencoder.W_dec + autoencoder.b_dec
        reconstruction = (output * self._input.scale + self._input.shift).view_as(x)
        losses = self._inputs.model.losses(self._tokens[:n_rows], reconstruction[:n_rows])
        error = (x - reconstruction)[:n_rows].double().pow(2).sum(-1).mean().item()
        return {
            "loss_reconstructed": losses.double().mean().item(),
            "l0": (self.activations[:n_rows] > 0).sum(-1).double().mean().item(),
            "l2": error,
        }

    def loss_change(self, row: int, position: int, feature: int) -> float:
        """Change of the next token's loss when the feature's decoder output is subtracted at the hook point."""
        token = row * 32 + position
        written = self.activations[row, position, feature] * self._input.scale[token]
        without = self._x[row : row + 1].clone()
        without[0, position] -= written * self._inputs.autoencoder.W_dec[feature]
        tokens = self._tokens[row : row + 1]
        losses = [self._inputs.model.losses(tokens, x) for x in (without, self._x[row : row + 1])]
        return (losses[0] - losses[1])[0, position].item()


def test_a_hook_point_other_than_the_folder_s_is_refused(
    gpt2: Path, tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = REPOSITORY / "tests/autoencoders/saelens-standard"
    for hook_point, code in (("blocks.0.hook_resid_pre", 2), ("blocks.0.hook_resid_post", 0)):
        preset = tmp_path / "foreign.toml"
        preset.write_text(
            f'model.name = "{gpt2}"\nmodel.hook_point = "{hook_point}"\n'
            f'autoencoder.source = "{folder}"\ncorpus.files = ["{tiny.corpus}"]\n'
            "corpus.seq_len = 32\ncorpus.n_rows = 20\nautoencoder.accept_poor_fit = true\n"
        )
        assert main(["sweep", str(preset), "--out", str(tmp_path / "out")]) == code
    assert (
        "saelens-standard was trained on blocks.1.hook_resid_pre, not on blocks.0.hook_resid_pre: "
        "set model.hook_point = 'blocks.1.hook_resid_pre'" in capsys.readouterr().err
    )


def _examples() -> list[str]:
    text = (REPOSITORY / "docs/your-own-sae.md").read_text()
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


def test_local_files_can_be_used_as_documented(
    gpt2: Path, tiny: TinyInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second example of your-own-sae.md, verbatim, on a folder that SAELens wrote."""
    shutil.copytree(gpt2, tmp_path / "my-model")
    x = activations_of(gpt2, RESIDUAL, tiny.tokenizer, tiny.corpus)
    shutil.copytree(REPOSITORY / "tests/autoencoders/saelens-standard", tmp_path / "my-sae")
    save_file(fitted_weights(x, 41), tmp_path / "my-sae/sae_weights.safetensors")
    shutil.copy(tiny.corpus, tmp_path / "my-text.jsonl")
    example = _examples()[1]
    assert len(example.splitlines()) <= 6
    (tmp_path / "mine.toml").write_text(example)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "mine.toml", "--out", "out", "--rows", "100"]) == 0
    assert (tmp_path / "out/site/features/40.html").is_file()
    about = (tmp_path / "out/site/about.html").read_text()
    assert "ReLU((x \N{MINUS SIGN} b_dec) W_enc + b_enc)" in about
    assert "W_dec W_U" in about


@pytest.mark.slow
def test_hub_files_can_be_used_as_documented(
    tiny: TinyInputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first example, verbatim, on a Hub with those repositories: nine layers, BOS and EOS are the same token."""
    example = _examples()[0]
    assert len(example.splitlines()) <= 6
    write_gpt2(tmp_path / "gpt2", tiny.tokenizer, n_layers=9, n_ctx=128)
    special = {"tokenizer_class": "PreTrainedTokenizerFast"} | dict.fromkeys(
        ("bos_token", "eos_token"), "<|EOS|>"
    )
    (tmp_path / "gpt2/tokenizer_config.json").write_text(json.dumps(special))
    hook_point = "blocks.8.hook_resid_pre"
    x = activations_of(tmp_path / "gpt2", hook_point, tiny.tokenizer, tiny.corpus)
    before_6 = {
        "architecture": "standard",
        "d_in": 24,
        "d_sae": 41,
        "activation_fn_str": "relu",
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "normalize_activations": "none",
        "hook_name": hook_point,
        "hook_head_index": None,
        "prepend_bos": True,
    }
    files = {
        "cfg.json": json.dumps(before_6).encode(),
        "sae_weights.safetensors": save(fitted_weights(x, 41)),
        "sparsity.safetensors": b"",
    }
    hub = LoopbackHub()
    hub.add("models", "openai-community/gpt2", folder_bytes(tmp_path / "gpt2"))
    hub.add(
        "models",
        "jbloom/GPT2-Small-SAEs-Reformatted",
        {f"{hook_point}/{name}": content for name, content in files.items()},
    )
    hub.add("datasets", "NeelNanda/pile-10k", {"data/train.parquet": as_parquet(documents())})
    (tmp_path / "mine.toml").write_text(example)
    out = tmp_path / "out"
    preset = str(tmp_path / "mine.toml")
    with hub.serving():
        visit(hub, tmp_path / "home", monkeypatch)
        assert main(["run", preset, "--out", str(out)]) == 0
        assert "check: 0 findings" in capsys.readouterr().err
        wrong = ["--set", "autoencoder.source=blocks.9.hook_resid_pre"]
        assert main(["sweep", preset, "--out", str(out), *wrong]) == 2
    assert (
        "jbloom/GPT2-Small-SAEs-Reformatted: the repository has no autoencoder of a known layout in its folder "
        "blocks.9.hook_resid_pre: `build.py inspect jbloom/GPT2" in capsys.readouterr().err
    )
    sources = json.loads((out / "data/manifest.json").read_text())["sources"]
    assert sources["autoencoder"]["revision"] == COMMIT
    assert [file["name"] for file in sources["autoencoder"]["files"]] == [
        f"{hook_point}/cfg.json",
        f"{hook_point}/sae_weights.safetensors",
    ]
