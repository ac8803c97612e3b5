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
from huggingface_hub import constants
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
# Refused, each with a reason: an activation function that keeps the largest of each group of features, and a hook point
# that is in no layer
REFUSED = {
    "sparsify-groupmax": "sparsify's activation of 'groupmax' is not supported",
    "gemma-scope-embedding": "reads a hook point that is in no layer",
}
# Training scaled the input by a factor that is not in the files
SCALE_UNKNOWN = ("saelens-2-scaled", "saelens-2-without-scale")
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
MINIATURES = [one for one in ALL if one.name not in REFUSED]
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
    unknown_scale = {"input_scale": 0.0} if one.name in SCALE_UNKNOWN else {}
    assert fields["autoencoder"] == expected | unknown_scale
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


def test_a_cached_folder_needs_no_hub(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file is asked about, without an answer; everything else comes from the cache."""
    one = next(one for one in ALL if one.name == "saelens-6-gated")
    expected = load(one)
    closed = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", closed)
    assert torch.equal(load(one).W_enc, expected.W_enc)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "using the copy in the cache" in lines[0]


def test_a_repository_may_be_the_autoencoder(
    hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The preset that inspect prints names the file of weights, since a root has no name."""
    one = next(one for one in ALL if one.name == "saelens-6-gated")
    files = {Path(name).name: content for name, content in one.files.items()}
    hub.add("models", "some/root", files)
    assert main(["inspect", "some/root"]) == 0
    source = tomllib.loads(capsys.readouterr().out.partition("\n\n")[2])["autoencoder"]["source"]
    found = load_autoencoder(source, "some/root", CPU)
    assert found.architecture == load(one).architecture


def test_numbers_and_runs_are_names_in_other_repositories(hub: LoopbackHub) -> None:
    one = next(one for one in ALL if one.name == "saelens-6-gated")
    folder = one.about["source"]
    for name in ("3", "run1"):
        files = {path.replace(folder, name): content for path, content in one.files.items()}
        hub.add("models", f"some/{name}", files)
        found = load_autoencoder(name, f"some/{name}", CPU)
        assert found.architecture == load(one).architecture


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("ae.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("ae.safetensors", b"\xff" * 40, "cannot be read as a file of plain tensors"),
        ("ae.pt", b"PK damaged", "cannot be read as a file of plain tensors"),
        ("nowhere.pt", None, "has no file or folder nowhere.pt"),
    ],
)
def test_inspect_names_what_is_wrong_with_a_file(
    name: str,
    content: bytes | None,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["inspect", str(tmp_path), name]) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        # The expected number of active features, of an autoencoder with thresholds
        (DeclaredSettings(k=7), (0, 7.0)),
        (DeclaredSettings(activation="jumprelu"), (0, 102.0)),
        (DeclaredSettings(activation="batchtopk", k=7), (0, 7.0)),
        (DeclaredSettings(activation="topk", k=7), (7, 102.0)),
    ],
)
def test_a_declared_k_makes_no_topk_of_a_jumprelu(
    declared: DeclaredSettings, expected: tuple[int, float], hub: LoopbackHub
) -> None:
    one = next(one for one in ALL if one.name == "gemma-scope-res")
    found = load_autoencoder(*one.place, CPU, declared).architecture
    assert (found.k, found.declared_l0) == expected


def test_a_declared_k_of_a_relu_is_refused(hub: LoopbackHub) -> None:
    one = next(one for one in ALL if one.name == "saelens-2-standard")
    with pytest.raises(SourceError, match=r"autoencoder\.k is set, but it is no TopK"):
        load_autoencoder(*one.place, CPU, DeclaredSettings(k=7))


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


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_site_cannot_show_is_refused_with_the_reason(name: str, hub: LoopbackHub) -> None:
    one = next(one for one in ALL if one.name == name)
    with pytest.raises(SourceError, match=REFUSED[name]):
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
    total = sum(layout.n_all + layout.n_refused for layout in known_layouts())
    refused = total - sum(layout.n_all for layout in known_layouts() if not layout.refusal)
    assert total == 13_857
    assert refused / total < 0.01
