"""Planted faults, and whether the fit check before the sweep finds them. docs/fit.md has the table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from sitegen.analysis.fit import measure_fit
from sitegen.config import Config, build_config
from sitegen.errors import SourceError
from sitegen.records import Fit
from sitegen.sources.architecture import Architecture
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.corpus import load_rows
from sitegen.sources.inputs import Inputs
from sitegen.sources.model import HookedModel, load_model
from sitegen.sources.provenance import Provenance
from sitegen.sources.row_delimiters import row_delimiters
from sitegen.sources.tokenizer import load_tokenizer
from tests.conftest import REPOSITORY
from tests.families import build
from tests.tiny import TinyInputs

CPU = torch.device("cpu")
WIDTH, D_HIDDEN, N_ROWS, SEQ_LEN = 24, 96, 80, 32
PRE, MID, POST = "blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.1.hook_resid_post"
ATTN_OUT, MLP_OUT = "blocks.1.hook_attn_out", "blocks.1.hook_mlp_out"
HEADS, NEURONS = "blocks.1.attn.hook_z", "blocks.1.mlp.hook_post"
BEFORE, AFTER = "blocks.0.hook_resid_pre", "blocks.2.hook_resid_post"
NAMED, STOPPED, MISSED = "named", "stopped", "not found"


@dataclass(frozen=True)
class Trained:
    """An autoencoder fitted to the activations of a model at one hook point."""

    point: str = POST
    family: str = "gpt2"
    activation: str = "relu"  # or jumprelu, topk
    subtracts_b_dec: bool = True
    normalisation: str = "none"
    scale: float = 1.0  # of its inputs
    is_centred: bool = False
    is_square: bool = False


@dataclass(frozen=True)
class Fault:
    """A wrong configuration for an autoencoder.

    found  outcome of the check: it names the right configuration, it stops the run, or it does not find the fault
    names  text that the message must contain if it names the right configuration
    """

    description: str
    trained: Trained
    found: str
    names: str = ""
    point: str = ""  # configured hook point; empty: the right one
    family: str = ""  # configured model family; empty: the right one
    architecture: dict[str, Any] = dataclasses.field(default_factory=dict)  # changed settings
    loses_threshold: bool = False
    swaps: str = ""  # a matrix that is transposed
    declared: dict[str, float] = dataclasses.field(default_factory=dict)


def at(point: str, **more: Any) -> Trained:
    return Trained(point=point, **more)


def misread(trained: str, read: str, found: str = NAMED, family: str = "gpt2") -> Fault:
    description = f"{family}: trained at `{trained}`, read at `{read}`"
    return Fault(description, at(trained, family=family), found, trained, point=read)


def undeclared(
    description: str, trained: Trained, found: str, names: str = "", **more: Any
) -> Fault:
    return Fault(description, trained, found, names, **more)


FAULTS = [
    misread(PRE, BEFORE),
    misread(PRE, POST),
    misread(PRE, AFTER),
    misread(MID, PRE),
    misread(MID, POST),
    misread(POST, PRE),
    misread(POST, MID),
    misread(POST, AFTER),
    misread(ATTN_OUT, MLP_OUT),
    misread(MLP_OUT, ATTN_OUT),
    misread(ATTN_OUT, MID),
    misread(MLP_OUT, POST),
    misread(HEADS, ATTN_OUT),
    misread(ATTN_OUT, HEADS),
    misread(PRE, POST, family="llama/scaled"),
    misread(POST, PRE, family="llama/scaled"),
    misread(MID, POST, family="llama/scaled"),
    misread(MLP_OUT, ATTN_OUT, family="llama/scaled"),
    misread(PRE, AFTER, family="gpt_neox"),
    misread(MLP_OUT, ATTN_OUT, family="gpt_neox"),
    *(
        undeclared(
            f"trained on the stream at `{point}` with centred weights, read without",
            at(point, is_centred=True),
            NAMED,
            "center_writing_weights",
        )
        for point in (PRE, MID, POST)
    ),
    undeclared("`b_dec` subtracted in training, not in reading", at(POST), NAMED, "b_dec subtracted",
           architecture={"subtracts_b_dec": False}),
    undeclared("`b_dec` not subtracted in training, subtracted in reading",
           at(POST, subtracts_b_dec=False), NAMED, "b_dec not subtracted",
           architecture={"subtracts_b_dec": True}),
    undeclared("the same at an MLP's neurons", at(NEURONS, subtracts_b_dec=False), NAMED,
           "b_dec not subtracted", architecture={"subtracts_b_dec": True}),
    undeclared("`b_dec` subtracted in training, not in reading, at the heads", at(HEADS), NAMED,
           "b_dec subtracted", architecture={"subtracts_b_dec": False}),
    undeclared("thresholds of a JumpReLU lost", at(POST, activation="jumprelu"), STOPPED,
           loses_threshold=True),
    undeclared("thresholds of a JumpReLU lost, at an MLP's neurons",
           at(NEURONS, activation="jumprelu"), STOPPED, loses_threshold=True),
    undeclared("thresholds of a JumpReLU lost, at the heads", at(HEADS, activation="jumprelu"),
           STOPPED, loses_threshold=True),
    undeclared("k of a TopK lost", at(POST, activation="topk"), STOPPED, architecture={"k": 0}),
    undeclared("k of a TopK lost, at an MLP's neurons", at(NEURONS, activation="topk"), STOPPED,
           architecture={"k": 0}),
    undeclared("k of a TopK four times too large", at(POST, activation="topk"), STOPPED,
           architecture={"k": 32}),
    undeclared("k of a TopK a fourth of what it is", at(POST, activation="topk"), MISSED,
           architecture={"k": 2}),
    undeclared("layer_norm lost", at(POST, normalisation="layer_norm"), NAMED, "layer_norm",
           architecture={"normalisation": "none"}),
    undeclared("constant_norm_rescale lost", at(POST, normalisation="constant_norm_rescale"), NAMED,
           "constant_norm_rescale", architecture={"normalisation": "none"}),
    undeclared("layer_norm where there was none", at(POST), NAMED, "not normalised",
           architecture={"normalisation": "layer_norm"}),
    undeclared("constant_norm_rescale where there was none", at(POST), NAMED, "not normalised",
           architecture={"normalisation": "constant_norm_rescale"}),
    undeclared("layer_norm for constant_norm_rescale", at(POST, normalisation="constant_norm_rescale"),
           NAMED, "constant_norm_rescale", architecture={"normalisation": "layer_norm"}),
    undeclared("a square decoder transposed", at(POST, is_square=True), NAMED, "decoder transposed",
           swaps="W_dec"),
    undeclared("a square encoder transposed", at(POST, is_square=True), NAMED, "encoder transposed",
           swaps="W_enc"),
    undeclared("both transposed", at(POST, is_square=True), STOPPED, swaps="both"),
    undeclared("another model of the same width", at(POST), STOPPED, family="gpt_neo"),
    undeclared("another model of the same width, of another architecture", at(POST), STOPPED,
           family="llama/scaled"),
    undeclared("a model of the same shape with other weights", at(NEURONS), STOPPED,
           family="gpt-sw3"),
    undeclared("inputs scaled in training to an average length of sqrt(width), not in reading",
           at(MLP_OUT, scale=0.0), NAMED, "scaled to an average length"),
    undeclared("inputs ten times larger in training", at(POST, scale=10.0), STOPPED),
    undeclared("inputs a tenth in training", at(POST, scale=0.1), STOPPED),
    undeclared("twice as many active features declared", at(POST), STOPPED, declared={"l0": 40.0}),
    undeclared("more variance explained declared than can be", at(PRE, activation="topk"), MISSED,
           declared={"explained_variance": 0.9}),
]  # fmt: skip


@pytest.fixture(scope="module")
def bench(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tiny, tmp_path_factory.mktemp("fit"))


class Bench:
    """Models by family, loaded once, and autoencoders fitted to them."""

    def __init__(self, tiny: TinyInputs, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder
        self.tokenizer = load_tokenizer(str(tiny.tokenizer))
        config = self.config(POST)
        rows = load_rows(
            config.corpus, self.tokenizer, row_delimiters(config.corpus, self.tokenizer)
        )
        # The models have a smaller vocabulary than the tokenizer
        self.rows = dataclasses.replace(rows, tokens=rows.tokens % 97)
        self.model = cache(self._model)
        self.autoencoder = cache(self._autoencoder)

    def config(self, point: str, **autoencoder: Any) -> Config:
        table = {
            "model": {"name": "tiny", "hook_point": point},
            "autoencoder": {"source": "sae.safetensors", **autoencoder},
            "corpus": {"files": [str(self.tiny.corpus)], "seq_len": SEQ_LEN, "n_rows": N_ROWS},
        }
        return build_config("planted", table, self.folder, {})

    def _model(self, family: str, point: str) -> HookedModel:
        folder = self.folder / family.replace("/", "-")
        if not folder.exists():
            build(family, seed=4 if family == "gpt-sw3" else 0).save_pretrained(folder)
        words = AutoTokenizer.from_pretrained(self.tiny.tokenizer)
        return load_model(str(folder), point, words, CPU)

    def _activations(self, trained: Trained) -> Tensor:
        """Activations [n, width] that the autoencoder is fitted to, without each row's first token."""
        model = self.model(trained.family, trained.point)
        tokens = torch.from_numpy(self.rows.tokens[:N_ROWS].astype("int64"))
        x = model.hook_activations(tokens)[:, 1:].flatten(0, 1)
        return x - x.mean(1, keepdim=True) if trained.is_centred else x

    def _autoencoder(self, trained: Trained) -> Autoencoder:
        x = self._activations(trained)
        scale = trained.scale or x.shape[1] ** 0.5 / float(x.norm(dim=1).mean())
        x = x * scale
        n = x.shape[1] if trained.is_square else D_HIDDEN
        architecture = Architecture(
            trained.subtracts_b_dec,
            8 if trained.activation == "topk" else 0,
            trained.normalisation,
        )
        generator = torch.Generator().manual_seed(7)
        empty = Autoencoder(
            torch.randn(x.shape[1], n, generator=generator),
            torch.zeros(n, x.shape[1]),
            torch.zeros(n),
            torch.zeros(x.shape[1]),
            Provenance("planted", None, ()),
            architecture=architecture,
        )
        given = empty.normalise(x)
        b_dec = given.x.mean(0)
        pre = (given.x - b_dec if trained.subtracts_b_dec else given.x) @ empty.W_enc
        share = {"relu": 0.85, "jumprelu": 0.4, "topk": 0.3}[trained.activation]
        b_enc = -torch.quantile(pre, share, dim=0)
        threshold = None
        if trained.activation == "jumprelu":
            threshold = torch.quantile((pre + b_enc).relu(), 0.9, dim=0)
        own = dataclasses.replace(empty, b_enc=b_enc, b_dec=b_dec, threshold=threshold)
        features = own.encode(x).double()
        ridge = 1e-3 * torch.eye(n, dtype=torch.float64)
        gram = features.T @ features
        W_dec = torch.linalg.solve(gram + ridge, features.T @ (given.x - b_dec).double())
        return dataclasses.replace(own, W_dec=W_dec.float())

    def inputs(self, autoencoder: Autoencoder, model: HookedModel) -> Inputs:
        features = list(range(autoencoder.d_hidden))
        config = self.config(model.hook_point)
        return Inputs(config, model, (autoencoder,), self.tokenizer, self.rows, features, CPU)

    def fit(self, fault: Fault | None, trained: Trained) -> Fit:
        """The measured fit of the right configuration, or of one with a fault.

        raises  SourceError if the check stops the run
        """
        own = self.autoencoder(trained)
        if fault is None:
            model = self.model(trained.family, trained.point)
            return measure_fit(self.inputs(own, model), self.config(trained.point))
        own = dataclasses.replace(
            own, architecture=dataclasses.replace(own.architecture, **fault.architecture)
        )
        if fault.loses_threshold:
            own = dataclasses.replace(own, threshold=None)
        for name in ("W_enc", "W_dec"):
            if fault.swaps in (name, "both"):
                own = dataclasses.replace(own, **{name: getattr(own, name).T.contiguous()})
        point = fault.point or trained.point
        model = self.model(fault.family or trained.family, point)
        return measure_fit(self.inputs(own, model), self.config(point, **fault.declared))


def test_there_are_fifty_distinct_faults() -> None:
    assert len(FAULTS) == len({fault.description for fault in FAULTS}) == 50


# An unprocessed model does not give centred and scaled activations
RIGHT = sorted(
    {
        fault.trained
        for fault in FAULTS
        if not fault.trained.is_centred and fault.trained.scale == 1
    },
    key=str,
)


@pytest.mark.parametrize("trained", RIGHT, ids=str)
def test_the_correct_configuration_passes_the_fit_check(bench: Bench, trained: Trained) -> None:
    fit = bench.fit(None, trained)
    assert not fit.objection
    assert fit.explained_variance > 0.3


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.description)
def test_each_planted_fault_has_the_expected_outcome(bench: Bench, fault: Fault) -> None:
    if fault.found == MISSED:
        assert not bench.fit(fault, fault.trained).objection
        return
    with pytest.raises(SourceError) as refusal:
        bench.fit(fault, fault.trained)
    message = str(refusal.value)
    assert "\n" not in message
    assert "autoencoder.accept_poor_fit = true" in message
    if fault.found == NAMED:
        same_place = "blocks.0.hook_resid_post" if fault.names == PRE else fault.names
        assert fault.names in message or same_place in message


def test_the_documented_table_of_faults_equals_the_tested_one() -> None:
    document = (REPOSITORY / "docs/fit.md").read_text("utf-8")
    rows = [line for line in document.splitlines() if line.startswith("| ") and "`" in line]
    for fault in FAULTS:
        assert f"| {fault.description} | {fault.found} |" in document, fault.description
    assert len(rows) <= len(FAULTS)
