"""Labels files: what is read, what is refused, and what a site shows."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas
import pytest

from sitegen.cli import main
from sitegen.errors import UsageError
from sitegen.labels import Label, read_labels, write_labels
from tests.tiny import TinyInputs

CSV = """feature,label,method,score
7,"ends ""of"" lines, in code",reader,0.8
3,<b>bold</b> & quotes,,
"""


def test_csv_and_json_give_the_same_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(CSV)
    entries = [
        {"feature": 7, "label": 'ends "of" lines, in code', "author": "reader", "score": 0.8},
        {"feature_id": 3, "label": "<b>bold</b> & quotes"},
    ]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    (tmp_path / "object.json").write_text(json.dumps({"labels": entries}))
    expected = [
        Label(3, "<b>bold</b> & quotes", "", None),
        Label(7, 'ends "of" lines, in code', "reader", 0.8),
    ]
    for name in ("labels.csv", "list.json", "object.json"):
        assert read_labels(tmp_path / name) == expected


def test_written_labels_are_read_back(tmp_path: Path) -> None:
    labels = [Label(1, "ünï \u2028 ⟨E2⟩", "me", -1.5), Label(1, "another", "", None)]
    write_labels(labels, "a subject", tmp_path / "labels.json")
    assert read_labels(tmp_path / "labels.json") == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ('{"label": 1}', "no list of labels"),
        ("[3]", "entry 1: feature is None"),
        ('[{"feature": "x", "label": "a"}]', "feature is 'x'"),
        ('[{"feature": -1, "label": "a"}]', "feature is -1"),
        ('[{"feature": 1.5, "label": "a"}]', "feature is 1.5"),
        ('[{"feature": "7.5", "label": "a"}]', "feature is '7.5'"),
        ('[{"feature": "7.05", "label": "a"}]', "feature is '7.05'"),
        ('[{"feature": "-7.0", "label": "a"}]', "feature is '-7.0'"),
        ('[{"feature": 1}]', "label is None"),
        ('[{"feature": 1, "label": " "}]', "label is ' '"),
        ('[{"feature": 1, "label": "a", "author": 3}]', "author is 3"),
        ('[{"feature": 1, "label": "a", "score": "high"}]', "score is 'high'"),
        ('[{"feature": 1, "label": "a", "score": "nan"}]', "score is 'nan'"),
        ('[{"feature": 1, "label": ""}]', "label is ''"),
        ('[{"feature": "1_0", "label": "a"}]', "feature is '1_0'"),
        ('[{"feature": "\u0661", "label": "a"}]', "feature is '\u0661'"),
        ('[{"feature": 1, "label": "a\\u0000b"}]', "remove its control characters"),
    ],
)
def test_a_bad_labels_file_is_refused_with_the_entry(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"labels\.json") as raised:
        read_labels(path)
    assert message in str(raised.value)


def test_files_written_by_pandas_are_read(tmp_path: Path) -> None:
    table = pandas.DataFrame({"feature": [7, None, 3], "label": ["whales", "b", "the sea"]})
    table = table[table["feature"].notna()]  # the column keeps a float type
    expected = [Label(3, "the sea", "", None), Label(7, "whales", "", None)]
    table.to_csv(tmp_path / "labels.csv")
    table.to_json(tmp_path / "list.json", orient="records")
    table.to_json(tmp_path / "lines.jsonl", orient="records", lines=True)
    assert "7.0" in (tmp_path / "labels.csv").read_text()
    for name in ("labels.csv", "list.json", "lines.jsonl"):
        assert read_labels(tmp_path / name) == expected


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n \r\n", "\n,,\n", "\n  , \n\n"])
def test_a_blank_line_is_no_label(end: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(f"feature,label\n7,whales{end}".encode())
    (tmp_path / "labels.jsonl").write_text('{"feature": 7, "label": "whales"}\n \n\n')
    for name in ("labels.csv", "labels.jsonl"):
        assert read_labels(tmp_path / name) == [Label(7, "whales", "", None)]


@pytest.fixture
def rendered(tiny_output: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_output, tmp_path / "out")
    return tmp_path / "out"


def test_labels_are_merged_kept_and_forgotten(rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text(CSV)
    page = rendered / "site/features/7.html"
    others = {path.name: path.stat().st_mtime_ns for path in (rendered / "site/features").iterdir()}
    before = page.read_bytes()
    assert main(["render", str(rendered), "--labels", str(tmp_path / "given.csv")]) == 0
    assert "ends &#34;of&#34; lines, in code" in page.read_text()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; quotes" in (rendered / "site/index.html").read_text()
    changed = {
        path.name
        for path in (rendered / "site/features").iterdir()
        if path.stat().st_mtime_ns != others[path.name]
    }
    assert changed == {"3.html", "7.html"}
    assert main(["check", str(rendered)]) == 0
    assert main(["render", str(rendered)]) == 0
    assert b"ends &#34;of&#34; lines" in page.read_bytes()
    assert main(["render", str(rendered), "--labels", "none"]) == 0
    assert page.read_bytes() == before


def test_a_label_of_an_unknown_feature_is_refused_and_nothing_changes(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given.json").write_text('[{"feature": 99999, "label": "a"}]')
    assert main(["render", str(rendered), "--labels", str(tmp_path / "given.json")]) == 2
    assert "feature 99999" in capsys.readouterr().err
    assert not (rendered / "labels.json").exists()
    assert main(["check", str(rendered)]) == 0


def test_a_star_without_a_label_is_no_label(tmp_path: Path) -> None:
    exported = {"labels": [{"feature": 7, "label": "", "author": "me", "starred": True}]}
    (tmp_path / "labels.json").write_text(json.dumps(exported))
    assert read_labels(tmp_path / "labels.json") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('feature,label\n1,"' + "a" * 200_000, "is not valid CSV"),
        ('feature,label\n1,"open\n2,x\n', "is not valid CSV"),
        (
            "feature,label\n3,birds\n7,cats, dogs and mice\n",
            "entry 2, has more cells than the header",
        ),
        (
            "feature;label\n1;a\n",
            r"has no column feature or feature_id or index \(columns: feature;label\)",
        ),
        ("feature,lable\n1,a\n", r"has no column label or description \(columns: feature, lable\)"),
    ],
)
def test_a_damaged_csv_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize("content", ["", "feature,label\n"])
def test_a_file_without_labels_removes_none(
    content: str, rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "given.csv"
    given.write_text(CSV)
    assert main(["render", str(rendered), "--labels", str(given)]) == 0
    kept = (rendered / "labels.json").read_bytes()
    given.write_text(content)
    assert main(["render", str(rendered), "--labels", str(given)]) == 2
    assert (
        "given.csv contains no labels: give another file, or --labels none"
        in capsys.readouterr().err
    )
    assert (rendered / "labels.json").read_bytes() == kept


def test_a_label_that_cannot_be_shown_is_reported_before_the_sweep(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given.csv").write_text(CSV)
    arguments = [str(tiny.preset), "--out", str(tmp_path / "out"), "--features", "0-3,8"]
    assert main(["run", *arguments, "--labels", str(tmp_path / "given.csv")]) == 2
    assert "a label belongs to feature 7, which was not swept" in capsys.readouterr().err
    assert not (tmp_path / "out/data").exists()


def test_labels_of_another_autoencoder_are_refused(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given.csv").write_text(CSV)
    assert main(["render", str(rendered), "--labels", str(tmp_path / "given.csv")]) == 0
    path = rendered / "data/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sources"]["autoencoder"]["name"] = "another"
    path.write_text(json.dumps(manifest))
    assert main(["render", str(rendered)]) == 2
    assert "another autoencoder" in capsys.readouterr().err
    (rendered / "labels.json").write_bytes(b'\xef\xbb\xbf[{"feature": 1, "label": "a"}]')
    assert main(["render", str(rendered)]) == 2
    assert "another autoencoder" in capsys.readouterr().err
    assert main(["render", str(rendered), "--labels", "none"]) == 0


def test_check_compares_the_labels(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given.csv").write_text(CSV)
    assert main(["render", str(rendered), "--labels", str(tmp_path / "given.csv")]) == 0
    (rendered / "site/labels.json").write_text("{}")
    assert main(["check", str(rendered)]) == 1
    assert "site/labels.json is not what the data gives" in capsys.readouterr().out


def _delphi(
    folder: Path, explanations: dict[str, str], scores: dict[str, Sequence[Mapping[str, object]]]
) -> Path:
    for name, content in {
        **{f"explanations/{name}": json.dumps(text) for name, text in explanations.items()},
        **{f"scores/{name}": json.dumps(examples) for name, examples in scores.items()},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def _answers(n_right: int, n_wrong: int, activating: bool) -> list[dict[str, object]]:
    right = {"activating": activating, "prediction": activating, "str_tokens": ["a"]}
    return [right] * n_right + [{**right, "prediction": not activating}] * n_wrong


def test_delphi_s_explanations_are_read_with_their_balanced_accuracy(tmp_path: Path) -> None:
    unanswered = {"activating": True, "prediction": None}
    folder = _delphi(
        tmp_path,
        {"layers.0.mlp_latent12.txt": "whales", "layers.0.mlp_latent3.txt": "the sea"},
        {
            "fuzz/layers.0.mlp_latent12.txt": [
                *_answers(3, 1, True),
                *_answers(1, 1, False),
                unanswered,
            ],
            "detection/layers.0.mlp_latent12.txt": [*_answers(1, 0, True), *_answers(0, 2, False)],
            "fuzz/layers.0.mlp_latent3.txt": [unanswered],
        },
    )
    assert read_labels(folder) == [
        Label(3, "the sea", "delphi", None),
        Label(12, "whales", "delphi, detection and fuzz", ((0.75 + 0.5) / 2 + 0.5) / 2),
    ]


def test_a_long_explanation_is_cut(tmp_path: Path) -> None:
    folder = _delphi(tmp_path, {"a_latent1.txt": "x" * 900}, {})
    assert [len(label.label) for label in read_labels(folder)] == [500]


@pytest.mark.parametrize(
    ("explanations", "message"),
    [
        ({}, "contains no labels: give a folder of Neuronpedia's export"),
        ({"a_latent1.txt": "x", "b_latent1.txt": "y"}, r"for several hook points \(a, b\)"),
        ({"a_latent1.txt": ""}, r"a_latent1\.txt: label is ''"),
        ({"a_latent1.txt": ["x"]}, r"a_latent1\.txt: label is \['x'\]"),
    ],
)
def test_a_bad_folder_is_refused_with_the_file(
    explanations: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        read_labels(_delphi(tmp_path, explanations, {}))


def test_neuronpedia_s_json_lines_and_lists_are_read(tmp_path: Path) -> None:
    entry = {"modelId": "gpt2-small", "layer": "0-res-jb", "index": "14"}
    entry |= {"description": "whales", "typeName": "oai_token-act-pair"}
    expected = [Label(14, "whales", "gpt-4o", None)]
    line = json.dumps({**entry, "explanationModelName": "gpt-4o"})
    (tmp_path / "explanations").mkdir()
    path = tmp_path / "explanations/batch-0.jsonl.gz"
    path.write_bytes(gzip.compress(f"{line}\n".encode()))
    (tmp_path / "one.jsonl").write_text(line)
    (tmp_path / "list.json").write_text(f"[{line}]")
    for source in (tmp_path, path, tmp_path / "one.jsonl", tmp_path / "list.json"):
        assert read_labels(source) == expected
    odd = json.dumps({**entry, "description": "a\u2028b"}, ensure_ascii=False)
    path.write_bytes(gzip.compress(f"{odd}\n\n{line}\n\n".encode()))
    assert [one.label for one in read_labels(path)] == ["a\u2028b", "whales"]
    for content, message in (
        (b"no gzip", "is not a complete gzip file"),
        (gzip.compress(b"{"), "line 1, is not valid JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            read_labels(tmp_path)
