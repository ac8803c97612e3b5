"""Text settings stored with an autoencoder: they are the defaults of the rows, and differences are reported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sitegen.cli import main
from sitegen.config import CorpusConfig
from sitegen.errors import UsageError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.provenance import Provenance
from sitegen.sources.row_delimiters import row_delimiters
from sitegen.sources.text_defaults import text_differences, with_text_defaults
from sitegen.sources.tokenizer import load_tokenizer
from tests.conftest import REPOSITORY
from tests.tiny import TinyInputs

FILES = CorpusConfig(files=("text.jsonl",))


def trained_on(text: TextSettings) -> Autoencoder:
    weight = torch.zeros(1, 1)
    architecture = Architecture(text=text)
    return Autoencoder(
        weight,
        weight,
        weight[0],
        weight[0],
        Provenance("mine", None, ()),
        architecture=architecture,
    )


@pytest.mark.parametrize(
    ("tokenizer", "own", "expected"),
    [
        ("tokenizer", TextSettings(), {"seq_len": 128}),
        ("tokenizer", TextSettings(context_size=256), {"seq_len": 256}),
        ("tokenizer", TextSettings(True, separator="bos"), {"separator": "bos"}),
        ("tokenizer", TextSettings(True, separator="eos"), {}),
        ("tokenizer", TextSettings(True, separator="none"), {"separator": "none"}),
        ("tokenizer", TextSettings(False), {"bos": "none"}),
        ("tokenizer", TextSettings(False, None, "bos"), {"bos": "none", "separator": "<|BOS|>"}),
        ("qwen", TextSettings(True, separator="bos"), {}),  # it has no BOS
    ],
)
def test_unset_text_settings_come_from_the_autoencoder(
    tiny: TinyInputs, tokenizer: str, own: TextSettings, expected: dict[str, Any]
) -> None:
    loaded = load_tokenizer(str(tiny.folder / tokenizer))
    found = with_text_defaults(FILES, trained_on(own), loaded)
    assert found == dataclasses.replace(FILES, **{"seq_len": 128, **expected})
    row_delimiters(found, loaded)  # each delimiter is a token of the vocabulary


def test_text_settings_that_are_set_take_precedence(tiny: TinyInputs) -> None:
    tokenizer = load_tokenizer(str(tiny.tokenizer))
    own = trained_on(TextSettings(False, 256, "bos", "a/dataset"))
    corpus = CorpusConfig(dataset="another/one", seq_len=64, bos="<|BOS|>", separator="<|EOS|>")
    assert with_text_defaults(corpus, own, tokenizer) == corpus
    assert text_differences(corpus, row_delimiters(corpus, tokenizer), own, tokenizer) == [
        "mine was trained on rows of 256 tokens, but this run's rows have 64 tokens",
        "mine was trained on rows without BOS, but this run's rows are with BOS",
        "mine was trained on documents with bos between them, but this run's documents have '<|EOS|>' between "
        "them",
        "mine was trained on text of a/dataset, but this run reads another/one",
    ]
    same = with_text_defaults(CorpusConfig(), own, tokenizer)
    assert same.dataset == "a/dataset"
    assert not text_differences(same, row_delimiters(same, tokenizer), own, tokenizer)


def test_no_text_at_all_is_refused(tiny: TinyInputs) -> None:
    tokenizer = load_tokenizer(str(tiny.tokenizer))
    with pytest.raises(
        UsageError, match=r"mine declares no dataset: set corpus.files or corpus.dataset"
    ):
        with_text_defaults(CorpusConfig(), trained_on(TextSettings()), tokenizer)


def test_a_run_uses_saelens_settings_and_reports_differences(
    tiny: TinyInputs, gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sae"
    shutil.copytree(REPOSITORY / "tests/autoencoders/saelens-standard", folder)
    settings = json.loads((folder / "cfg.json").read_text())
    settings["metadata"] |= {
        "hook_name": "blocks.0.hook_resid_post",
        "prepend_bos": False,
        "context_size": 24,
        "sequence_separator_token": None,
        "dataset_path": "a/dataset",
    }
    (folder / "cfg.json").write_text(json.dumps(settings))
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'model.name = "{gpt2}"\nmodel.hook_point = "blocks.0.hook_resid_post"\n'
        f'autoencoder.source = "sae"\ncorpus.files = ["{tiny.corpus}"]\n'
        "autoencoder.accept_poor_fit = true\n"  # its weights are random
    )
    out = tmp_path / "out"
    assert main(["sweep", str(preset), "--out", str(out), "--rows", "96"]) == 0
    message = capsys.readouterr().err
    assert "sae was trained on text of a/dataset, but this run reads your own files" in message
    manifest = json.loads((out / "data/manifest.json").read_text())
    corpus = manifest["config"]["corpus"]
    assert (corpus["seq_len"], corpus["bos"], corpus["separator"]) == (24, "none", "none")
    assert manifest["row_delimiters"] == {"bos_id": None, "separator_id": None}
