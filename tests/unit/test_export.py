"""Exports for other tools, read back by these tools or according to their published layouts."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from pydantic import BaseModel, ConfigDict

from sitegen.cli import main
from sitegen.export.circuit_tracer import cantor_pair
from sitegen.exports import EXPORTS
from sitegen.labels import read_labels
from tests.conftest import folder_bytes
from tests.tiny import D_HIDDEN


@pytest.fixture(scope="module")
def out(tiny_output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the tiny inputs, with labels, exported for every tool."""
    out = tmp_path_factory.mktemp("export") / "out"
    shutil.copytree(tiny_output, out)
    labels = out.parent / "mine.csv"
    labels.write_text("feature,label,author,score\n5,whales,me,0.5\n5,the sea,,\n7,dead,,\n")
    assert main(["render", str(out), "--labels", str(labels)]) == 0
    for tool in EXPORTS:
        assert main(["export", str(out), "--to", tool]) == 0
    return out


@pytest.fixture(scope="module")
def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "data/features").iterdir())]


@pytest.fixture(scope="module")
def vocab(out: Path) -> list[Any]:
    vocab: list[Any] = json.loads((out / "data/vocab.json").read_text())
    return vocab


def test_parquet_is_read_by_pandas_and_datasets(out: Path, records: list[dict[str, Any]]) -> None:
    features = pd.read_parquet(out / "export/parquet/features.parquet")
    assert len(features) == D_HIDDEN
    for name in ("feature_id", "density", "n_active", "max_activation", "mean_active", "kind"):
        assert features[name].tolist() == [record[name] for record in records]
    for end in ("top", "bottom"):
        listed = [[one["value"] for one in record["logits"][end]] for record in records]
        assert [list(row) for row in features[f"{end}_effect"]] == listed
    assert list(features["labels"][5]) == ["whales", "the sea"]
    files = str(out / "export/parquet/contexts.parquet")
    contexts = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(out.parent / "cache")
    )
    expected = [
        (record["feature_id"], context) for record in records for context in record["contexts"]
    ]
    assert len(contexts) == len(expected)
    for row, (feature_id, context) in zip(contexts, expected, strict=True):
        assert row["feature_id"] == feature_id
        assert row["token_ids"] == context["tokens"]
        assert row["activations"] == context["activations"]
        for name in ("group", "interval", "rank", "row", "position", "start", "copies"):
            assert row[name] == context[name]


def test_characters_of_several_tokens_are_exported_whole(
    out: Path, records: list[dict[str, Any]], vocab: list[Any]
) -> None:
    contexts = pd.read_parquet(out / "export/parquet/contexts.parquet")
    as_bytes = [
        bytes(token["bytes"]) if isinstance(token, dict) else (token or "").encode()
        for token in vocab
    ]
    n_whole = 0
    for row in contexts.itertuples():
        assert "\N{REPLACEMENT CHARACTER}" not in row.text
        assert "".join(row.tokens) == row.text
        whole = b"".join(as_bytes[token] for token in row.token_ids)
        if any(isinstance(vocab[token], dict) for token in row.token_ids):
            try:
                assert row.text == whole.decode()
                n_whole += 1
            except UnicodeDecodeError:  # cut off in the middle of a character
                assert "\N{MATHEMATICAL LEFT ANGLE BRACKET}" in row.text
        else:
            assert row.text == whole.decode()
    assert n_whole > 10


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_the_neuronpedia_export_has_its_columns_and_our_numbers(
    out: Path, records: list[dict[str, Any]], vocab: list[Any]
) -> None:
    folder = out / "export/neuronpedia"
    features = _lines(folder / "features/batch-0.jsonl.gz")
    # The columns of Neuronpedia's own export, without user ids and the columns for steering
    columns = (
        "modelId layer index maxActApprox frac_nonzero freq_hist_data_bar_heights hookName hasVector vector "
        "freq_hist_data_bar_values logits_hist_data_bar_heights logits_hist_data_bar_values neuron_alignment_indices "
        "neuron_alignment_l1 neuron_alignment_values correlated_neurons_indices correlated_neurons_l1 "
        "correlated_neurons_pearson decoder_weights_dist neg_str neg_values pos_str pos_values topkCosSimIndices "
        "topkCosSimValues"
    )
    assert [feature["index"] for feature in features] == [str(i) for i in range(D_HIDDEN)]
    for feature, record in zip(features, records, strict=True):
        assert set(feature) == set(columns.split())
        assert (feature["modelId"], feature["layer"]) == ("model", "0-tiny")
        assert feature["frac_nonzero"] == record["density"]
        assert feature["maxActApprox"] == record["max_activation"]
        assert feature["pos_values"] == [one["value"] for one in record["logits"]["top"]]
        assert all(type(token) is str for token in feature["pos_str"] + feature["neg_str"])
        for name in ("freq", "logits"):
            heights, values = (
                feature[f"{name}_hist_data_bar_{part}"] for part in ("heights", "values")
            )
            assert len(heights) == len(values)
    activations = _lines(folder / "activations/batch-0.jsonl.gz")
    contexts = [(record, context) for record in records for context in record["contexts"]]
    assert len({line["id"] for line in activations}) == len(activations) == len(contexts)
    for line, (record, context) in zip(activations, contexts, strict=True):
        assert line["index"] == str(record["feature_id"])
        assert line["values"] == context["activations"]
        assert len(line["tokens"]) == len(line["values"])
        assert line["values"][line["maxValueTokenIndex"]] == line["maxValue"]
        assert line["values"][line["qualifyingTokenIndex"]] == context["activation"]
        if context["interval"] is None:
            assert line["binContains"] == line["binMin"] == -1
        else:
            assert line["binMin"] * (1 - 1e-6) <= context["activation"]
            assert context["activation"] <= line["binMax"] * (1 + 1e-6)
            assert 0 <= line["binContains"] <= 1


def test_explanations_come_back_as_labels(out: Path, tmp_path: Path) -> None:
    found = read_labels(out / "export/neuronpedia")
    assert [(one.feature, one.label, one.author) for one in found] == [
        (5, "whales", "me"),
        (5, "the sea", "labels"),
        (7, "dead", "labels"),
    ]


class _Example(BaseModel):
    """The model of circuit_tracer 0.5.0's frontend/feature_models.py, with no other fields allowed."""

    model_config = ConfigDict(extra="forbid", strict=True)
    tokens_acts_list: list[float]
    train_token_ind: int
    is_repeated_datapoint: bool
    tokens: list[str]


class _ExamplesQuantile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    quantile_name: str
    examples: list[_Example]


class _Feature(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    transcoder_id: str
    index: int
    examples_quantiles: list[_ExamplesQuantile]
    top_logits: list[str]
    bottom_logits: list[str]
    act_min: float
    act_max: float
    quantile_values: list[float]
    histogram: list[float]
    activation_frequency: float


def test_circuit_tracer_reads_every_feature(out: Path, records: list[dict[str, Any]]) -> None:
    folder = out / "export/circuit-tracer/features"
    assert len([*folder.iterdir()]) == D_HIDDEN
    for record in records:
        number = cantor_pair(0, record["feature_id"])
        feature = _Feature.model_validate_json((folder / f"{number}.json").read_bytes())
        assert feature.index == record["feature_id"]
        assert feature.act_max == record["max_activation"]
        assert feature.activation_frequency == record["density"]
        examples = [one for part in feature.examples_quantiles for one in part.examples]
        assert len(examples) == len(record["contexts"])
        if record["contexts"]:
            assert feature.examples_quantiles[0].quantile_name == "Top activations"
            strongest = feature.examples_quantiles[0].examples[0]
            assert strongest.tokens_acts_list[strongest.train_token_ind] == feature.act_max


def test_one_number_stands_for_layer_and_feature() -> None:
    """Decoded as by circuit_tracer's `cantorUnpair`."""
    pairs = [(layer, feature) for layer in range(20) for feature in (0, 1, 5, 16_383)]
    for layer, feature in pairs:
        z = cantor_pair(layer, feature)
        w = int(((8 * z + 1) ** 0.5 - 1) // 2)
        y = z - (w * w + w) // 2
        assert (w - y, y) == (layer, feature)
    assert len({cantor_pair(*pair) for pair in pairs}) == len(pairs)


def test_exports_are_the_same_bytes_again_and_leave_no_trace_elsewhere(out: Path) -> None:
    before = folder_bytes(out)
    for tool in EXPORTS:
        assert main(["export", str(out), "--to", tool]) == 0
    assert folder_bytes(out) == before
    assert main(["check", str(out)]) == 0


def test_the_list_of_exports_has_the_names_of_their_files(out: Path) -> None:
    assert {path.name for path in (out / "export").iterdir()} == set(EXPORTS)
    for tool, listed in EXPORTS.items():
        names = folder_bytes(out / "export" / tool)
        assert all(re.fullmatch(listed.files, name) for name in names)


def test_exporting_without_data_gives_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path), "--to", "parquet"]) == 2
    assert "contains no data/manifest.json" in capsys.readouterr().err


def test_leftovers_of_a_killed_export_do_not_hinder_the_next(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "out")
    export = tmp_path / "out/export"
    shutil.copytree(export / "parquet", export / "parquet.partial")
    (export / "circuit-tracer").rename(export / "circuit-tracer.former")
    assert main(["export", str(tmp_path / "out"), "--to", "parquet"]) == 0
    assert folder_bytes(export) == folder_bytes(out / "export")


def test_foreign_files_among_exports_are_left_alone(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(out, tmp_path / "out")
    (tmp_path / "out/export/parquet/mine.txt").write_text("kept")
    assert main(["export", str(tmp_path / "out"), "--to", "parquet"]) == 2
    assert "contains something that no run writes (parquet/mine.txt)" in capsys.readouterr().err
    assert (tmp_path / "out/export/parquet/mine.txt").read_text() == "kept"
