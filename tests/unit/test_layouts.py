"""Layouts of published autoencoders: miniatures of repositories, against results of the libraries that own them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sitegen.cli import main
from sitegen.errors import SourceError
from sitegen.maths.encoder import ActivationSearch
from sitegen.sources.architecture import DeclaredSettings
from sitegen.sources.autoencoder import Autoencoder, load_autoencoder
from sitegen.sources.hook_points import is_declared_as, to_hook_point
from sitegen.sources.layouts.registry import find_source, known_layouts, recognise
from sitegen.sources.layouts.table import DOCUMENT, with_table
from tests.conftest import REPOSITORY, folder_bytes
from tests.hub_session import visit
from tests.loopback_hub import LoopbackHub

CPU = torch.device("cpu")
OUR_FILES = ("about.json", "expected.safetensors")
# Refused by name: the activation function keeps the largest of each group of features
GROUPMAX = "sparsify-groupmax"
# Nothing in the files or their names tells the model
MODEL_UNKNOWN = ("kissane-hook-z", "llama-scope-r1-distill")


@dataclass(frozen=True)
class Miniature:
    """A published repository at a small size; tests/autoencoders/write_published.py made it."""

    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = json.loads((self.folder / "about.json").read_text())
        return about

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return load_file(self.folder / "expected.safetensors")

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the repository, by path."""
        found = folder_bytes(self.folder)
        return {name: content for name, content in found.items() if name not in OUR_FILES}

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_on_hub(self) -> bool:
        """Whether it is a repository of the Hub; OpenAI's files are elsewhere."""
        return "/" in self.about["repository"]

    @property
    def place(self) -> tuple[str, str]:
        """(source, repository) as a preset gives them: a path on disk if it is not on the Hub."""
        if self.is_on_hub:
            return self.about["source"], self.about["repository"]
        return str(self.folder / self.about["source"]), "nowhere/at-all"


ALL = [
    Miniature(path.parent)
    for path in sorted((REPOSITORY / "tests/autoencoders/published").glob("*/about.json"))
]
MINIATURES = [one for one in ALL if one.name != GROUPMAX]
ON_HUB = [one for one in ALL if one.is_on_hub]
each_miniature = pytest.mark.parametrize("one", MINIATURES, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def serving() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    for one in ON_HUB:
        hub.add("models", one.about["repository"], {})
    for one in ON_HUB:
        hub.repositories["models", one.about["repository"]].update(one.files)
    with hub.serving():
        yield hub


@pytest.fixture
def hub(serving: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    visit(serving, tmp_path, monkeypatch)
    serving.requests.clear()
    serving.ranges.clear()
    return serving


def load(one: Miniature) -> Autoencoder:
    declared = DeclaredSettings(input_scale=one.about.get("input_scale", 0.0))
    return load_autoencoder(*one.place, CPU, declared)


@each_miniature
def test_activations_and_output_equal_those_of_the_owning_library(
    one: Miniature, hub: LoopbackHub
) -> None:
    autoencoder, x = load(one), one.expected["x"]
    activations = one.expected["activations"]
    for precision in ("fp32", "bf16"):
        entries = ActivationSearch(autoencoder.encoder(), precision).active_entries(x)
        found = torch.zeros_like(activations)
        found[entries.token, entries.feature] = entries.activation
        assert torch.equal(found > 0, activations > 0), precision
        torch.testing.assert_close(found, activations, atol=2e-5, rtol=1e-4)
    output, _ = autoencoder.reconstruct(x)
    torch.testing.assert_close(output, one.expected["output"], atol=2e-4, rtol=1e-4)


@each_miniature
def test_the_hook_point_and_the_model_follow_from_the_files(
    one: Miniature, hub: LoopbackHub
) -> None:
    architecture, about = load(one).architecture, one.about
    for found, expected in (
        (architecture.hook_point, about["hook_point"]),
        (architecture.output_hook_point, about["hook_point_out"]),
    ):
        # SAELens names the input of Gemma 3's MLPs hook_mlp_in, which is before the norm in TransformerLens
        expected = expected.replace("hook_mlp_in", "mlp.hook_in")
        known = to_hook_point(found) or found
        assert is_declared_as(expected, known) if expected else not found
    assert architecture.is_transcoder == bool(about["hook_point_out"])
    if one.name in MODEL_UNKNOWN:
        assert not architecture.model
    else:
        # GPT-2 small has two names
        name = about["model"].rpartition("/")[2].replace("gpt2-small", "gpt2")
        assert architecture.model.rpartition("/")[2].replace("gpt2-small", "gpt2") == name


@each_miniature
def test_inspect_says_what_it_is_without_downloading_it(
    one: Miniature, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    about, (source, repository) = one.about, one.place
    arguments = [repository, source] if one.is_on_hub else [source]
    assert main(["inspect", *arguments]) == 0
    said, _, preset = capsys.readouterr().out.partition("\n\n")
    _, layout = recognise(find_source(source, repository, shapes_only=True))
    assert layout is not None
    assert layout.name in said
    n_features = one.expected["activations"].shape[1]
    assert f"features      {n_features} reading activations of width 24" in said.replace(",", "")
    assert ("transcoder" in said) == bool(about["hook_point_out"])
    fields = tomllib.loads(preset)
    expected = {"source": source} | ({"repository": repository} if one.is_on_hub else {})
    assert fields["autoencoder"] == expected
    assert {"name", "hook_point"} <= fields["model"].keys()
    assert "corpus" in fields


def test_a_repository_without_a_source_is_listed(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    for repository in {one.about["repository"] for one in ON_HUB}:
        main(["inspect", repository])
        out = capsys.readouterr().out
        for one in ON_HUB:
            if one.about["repository"] == repository:
                assert one.about["source"].rpartition("/")[2] in out


def test_every_layout_that_can_be_read_has_a_miniature(hub: LoopbackHub) -> None:
    sources = (find_source(*one.place) for one in MINIATURES)
    found = {layout.name for source in sources if (layout := recognise(source)[1])}
    assert found == {layout.name for layout in known_layouts() if not layout.refusal}


def test_a_folder_may_be_named_like_a_file(hub: LoopbackHub) -> None:
    """As 12 folders in SAELens' registry are."""
    one = next(one for one in ALL if one.name == "saelens-5-topk")
    folder = one.about["source"]
    files = {name.replace(folder, f"{folder}.pt"): content for name, content in one.files.items()}
    hub.add("models", "some/odd-names", files)
    found = load_autoencoder(f"{folder}.pt", "some/odd-names", CPU)
    assert found.architecture == load(one).architecture
    assert main(["inspect", "some/odd-names", f"{folder}.pt"]) == 0


def test_an_unknown_activation_function_is_refused_by_name(hub: LoopbackHub) -> None:
    one = next(one for one in ALL if one.name == GROUPMAX)
    with pytest.raises(SourceError, match="sparsify's activation of 'groupmax' is not supported"):
        load(one)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("W_enc_3.safetensors", "a cross-layer transcoder writes to several layers"),
        ("clt/width_262k/params_layer_3.safetensors", "a cross-layer transcoder"),
        ("layer_3/temporal/latest_ckpt.safetensors", "activations depend on earlier tokens"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(
    name: str, reason: str, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before gigabytes are downloaded."""
    hub.add("models", "some/one", {name: b"", "layer_3/temporal/conf.yaml": b"sae: 1"})
    assert main(["inspect", "some/one", name]) == 2
    assert reason in capsys.readouterr().err
    assert not hub.ranges


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    document = DOCUMENT.read_text("utf-8")
    assert with_table(document) == document, "run python -m sitegen.sources.layouts.table"


def test_nearly_all_registered_autoencoders_can_be_read() -> None:
    total = sum(layout.n_all for layout in known_layouts())
    refused = sum(layout.n_all for layout in known_layouts() if layout.refusal)
    assert total == 13_857
    assert refused / total < 0.01
