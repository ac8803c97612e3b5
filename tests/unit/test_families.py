"""Activations at each hook point equal those of `transformers`, in every family that TransformerLens loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sitegen.errors import SourceError
from sitegen.maths.encoder import ActivationSearch, Encoder
from sitegen.sources.model import HookedModel, load_model
from sitegen.sources.replaced_losses import replaced_losses
from tests.families import (
    CPU,
    FAMILIES,
    HEADS,
    LAYER,
    MID,
    NOT_BUILT,
    POINTS,
    POST,
    PRE,
    Plain,
    build,
    effects,
    opened,
)
from tests.tiny import write_tokenizer

N_ROWS, SEQ_LEN = 2, 20
ATOL = 1e-5  # of activations of order 1


@dataclass(frozen=True)
class Inputs:
    """One family's model on disk, read by this package and by plain `transformers`."""

    name: str
    folder: Path
    tokenizer: Any

    @cached_property
    def plain(self) -> Plain:
        return Plain(self.name, self.folder)

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return self.plain.capture(tokens())

    @cached_property
    def read(self) -> dict[str, HookedModel | str]:
        return opened(self.folder, self.tokenizer)

    @property
    def models(self) -> dict[str, HookedModel]:
        return {
            point: model for point, model in self.read.items() if isinstance(model, HookedModel)
        }

    def processed(self, point: str, *processing: str) -> HookedModel:
        hook_point = f"blocks.{LAYER}.{point}"
        return load_model(str(self.folder), hook_point, self.tokenizer, CPU, processing)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Turn off progress bars, and warnings about configurations that no real model has."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()
    transformers.logging.set_verbosity(verbosity)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("words") / "tokenizer"
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Inputs:
    return saved(request.param, tokenizer, tmp_path_factory)


@pytest.fixture(scope="module")
def gpt2(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return saved("gpt2", tokenizer, tmp_path_factory)


def saved(name: str, tokenizer: Any, folders: pytest.TempPathFactory) -> Inputs:
    folder = folders.mktemp(name.replace("/", "-"))
    build(name).save_pretrained(folder)
    return Inputs(name, folder, tokenizer)


def tokens(n_rows: int = N_ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, 90, (n_rows, SEQ_LEN), generator=generator)


def near(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and distance(found, expected) <= ATOL


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value if that is above 1."""
    return float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def test_every_family_is_in_the_table() -> None:
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    loaded = {
        model_type
        for model_type, classes in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
        if set(SUPPORTED_ARCHITECTURES) & {classes, *(classes if type(classes) is tuple else ())}
    }
    built = {name.split("/")[0] for name in FAMILIES}
    assert loaded - set(NOT_BUILT) == built
    assert not built & set(NOT_BUILT)


def test_hook_points_are_offered_or_refused_in_one_line(family: Inputs) -> None:
    kind = FAMILIES[family.name]
    missing = {point: family.read[point] for point in sorted(kind.offered - set(family.models))}
    assert not missing
    assert not set(family.models) - kind.offered - kind.optional
    refusals = [line for line in family.read.values() if isinstance(line, str)]
    assert all(line and "\n" not in line for line in refusals)


def test_activations_equal_those_of_transformers(family: Inputs) -> None:
    wrong = {}
    for point, model in family.models.items():
        found, expected = model.hook_activations(tokens()), family.expected[point]
        if not near(found, expected):
            wrong[point] = (found.shape, distance(found, expected))
    assert not wrong


def test_losses_equal_those_of_transformers(family: Inputs) -> None:
    for model in list(family.models.values())[:1]:
        expected = losses_of(family.expected["logits"])
        torch.testing.assert_close(model.losses(tokens()), expected, atol=ATOL, rtol=0)


def test_losses_with_replaced_activations_equal_those_of_transformers(family: Inputs) -> None:
    wrong = {}
    generator = torch.Generator().manual_seed(3)
    for point, model in family.models.items():
        if point == MID and not FAMILIES[family.name].attn_out:
            continue  # the model of transformers has no module there whose values could be replaced
        found = family.expected[point]
        other = 0.5 * found + 0.3 * torch.randn(found.shape, generator=generator)
        expected = losses_of(family.plain.logits_with(tokens(), point, other))
        if not near(model.losses(tokens(), other), expected):
            wrong[point] = distance(model.losses(tokens(), other), expected)
    assert not wrong


def losses_of(logits: Tensor) -> Tensor:
    """Cross-entropy [n_rows, seq_len - 1] of each next token."""
    log_p = torch.log_softmax(logits, -1)[:, :-1]
    return -log_p.gather(2, tokens()[:, 1:, None])[..., 0]


def test_logit_effects_equal_those_of_the_weights(family: Inputs) -> None:
    if not family.models:
        return
    # The parts from which effects are computed are all parts after the last layer
    assert near(family.plain.logits_again(tokens()), family.expected["logits"])
    wrong = {}
    generator = torch.Generator().manual_seed(1)
    for point, model in family.models.items():
        rows = torch.randn(5, family.expected[point].shape[-1], generator=generator)
        expected = family.plain.logit_effects(point, rows)
        if not near(effects(model, rows), expected):
            wrong[point] = distance(effects(model, rows), expected)
    assert not wrong


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi"])
def test_centred_weights_remove_the_mean_of_the_stream(
    name: str, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inputs = saved(name, tokenizer, tmp_path_factory)
    for point in sorted({PRE, MID, POST} & FAMILIES[name].offered):
        stream = inputs.expected[point]
        expected = stream - stream.mean(-1, keepdim=True)
        model = inputs.processed(point, "center_writing_weights")
        assert near(model.hook_activations(tokens()), expected)
        assert not near(stream, expected)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen2"])
def test_folded_value_biases_are_removed_from_the_heads(
    name: str, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    inputs = saved(name, tokenizer, tmp_path_factory)
    model = inputs.processed(HEADS, "fold_value_biases")
    expected = inputs.expected[HEADS] - value_bias(inputs)
    assert near(model.hook_activations(tokens()), expected)
    assert not near(inputs.expected[HEADS], expected)


def value_bias(inputs: Inputs) -> Tensor:
    """Value biases [n_heads * d_head] of all heads; heads with common keys and values have common biases."""
    attention = inputs.plain.part(FAMILIES[inputs.name].attn_out)
    width = inputs.expected[HEADS].shape[-1]
    n_heads = inputs.plain.model.config.num_attention_heads
    d_head = width // n_heads
    if inputs.name == "gpt2":
        return attention.get_parameter("c_attn.bias").detach()[2 * width :]
    if inputs.name == "gpt_neox":
        bias = attention.get_parameter("query_key_value.bias").detach()
        return bias.view(n_heads, 3, d_head)[:, 2].flatten()
    shared = attention.get_parameter("v_proj.bias").detach().view(-1, d_head)
    return shared.repeat_interleave(n_heads // len(shared), 0).flatten()


@pytest.mark.parametrize("name", ["gpt_oss", "gpt_oss/ungrouped"])
def test_value_biases_that_attention_does_not_pass_whole_are_refused(
    name: str, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Attention sinks take a part of each head's weight, so that a value bias does not pass unchanged."""
    inputs = saved(name, tokenizer, tmp_path_factory)
    with pytest.raises(SourceError, match=r"^[^\n]*model\.processing[^\n]*$"):
        inputs.processed(HEADS, "fold_value_biases")


def test_features_are_active_where_plain_pytorch_finds_them(gpt2: Inputs) -> None:
    rows = tokens(n_rows=40)
    expected = gpt2.plain.capture(rows)[POST].flatten(0, 1)
    W_enc, b_enc, b_dec = autoencoder(expected)
    pre = (expected - b_dec) @ W_enc + b_enc
    raw = gpt2.models[POST].hook_activations(rows).flatten(0, 1)
    is_other = is_active(raw, W_enc, b_enc, b_dec) != (pre > 0)
    assert not (is_other & (pre.abs() > ATOL)).any()
    assert int(is_other.sum()) == 0
    assert 0.01 < float((pre > 0).float().mean()) < 0.5
    centred = gpt2.processed(POST, "center_writing_weights").hook_activations(rows).flatten(0, 1)
    assert int((is_active(centred, W_enc, b_enc, b_dec) != (pre > 0)).sum()) > 2000


def autoencoder(stream: Tensor, d_hidden: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """W_enc, b_enc and b_dec of features that are active on about a tenth of the tokens."""
    generator = torch.Generator().manual_seed(2)
    W_enc = torch.randn(stream.shape[1], d_hidden, generator=generator)
    b_dec = 0.3 * torch.randn(stream.shape[1], generator=generator)
    pre = (stream - b_dec) @ W_enc
    b_enc = -pre.mean(0) - 1.3 * pre.std(0)
    return W_enc, b_enc, b_dec


def is_active(stream: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor) -> Tensor:
    """Whether this package finds each feature active on each token, [n_tokens, d_hidden]."""
    found = ActivationSearch(Encoder(W_enc, b_enc, b_dec), "fp32").active_entries(stream)
    active = torch.zeros(len(stream), W_enc.shape[1], dtype=torch.bool)
    active[found.token, found.feature] = True
    return active


def test_all_hook_points_are_in_one_layer() -> None:
    assert set().union(*(kind.offered | kind.optional for kind in FAMILIES.values())) <= set(POINTS)


def test_losses_by_the_later_layers_equal_those_of_whole_passes(family: Inputs) -> None:
    """The first layer runs once, and not again for each replacement."""
    wrong = {}
    generator = torch.Generator().manual_seed(4)
    for point, model in family.models.items():
        n_runs: list[int] = []
        first_layer = model.bridge.blocks[0].original_component
        handle = first_layer.register_forward_pre_hook(lambda *_, n=n_runs: n.append(1))
        later = replaced_losses(model, None, tokens(1))
        n_runs.clear()
        x, target, own = later.start(tokens())
        other = 0.5 * target + 0.3 * torch.randn(target.shape, generator=generator)
        constant = target.mean((0, 1))
        found = [own, *later.losses(other, constant)]
        n_blocks_run = len(n_runs)
        handle.remove()
        expected = [model.losses(tokens(), value) for value in (None, other)]
        expected.append(model.losses(tokens(), constant.expand_as(target)))
        is_same = torch.equal(x, target) and near(target, family.expected[point])
        if not is_same or not all(map(near, found, expected)) or n_blocks_run != 1:
            wrong[point] = (is_same, n_blocks_run, [*map(distance, found, expected)])
    assert not wrong
