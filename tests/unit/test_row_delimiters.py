"""Rows of tokenizers without BOS or EOS, and row delimiters set in a configuration: from the ids to the pages."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sitegen.analysis.live import live_model
from sitegen.cli import main
from sitegen.config import CorpusConfig, load_config
from sitegen.errors import SourceError, UsageError
from sitegen.records import RowDelimitersRecord
from sitegen.render.packing import value_of
from sitegen.sources.corpus import Rows, load_rows
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sources.row_delimiters import RowDelimiters, row_delimiters
from sitegen.sources.tokenizer import load_tokenizer
from sitegen.store import read_live, read_live_settings, read_manifest
from sitegen.verify.numbers import verify
from tests.brute_force import BruteForce, read_rows
from tests.tiny import D_HIDDEN, QWEN_SPECIALS, SEQ_LEN, TinyInputs, documents

END, START, STOP = 327, 328, 329  # the special tokens of the tokenizer without BOS
LINE_END = 198


@pytest.fixture(scope="module")
def corpus(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text of the tiny inputs, with empty documents at both ends and in the middle."""
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    texts = ["", *documents()[:60], "", "", *documents()[60:], ""]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n")
    return path


def rows_of(tokenizer: Path, corpus: Path, bos: str = "", separator: str = "") -> Rows:
    config = CorpusConfig(files=(str(corpus),), seq_len=SEQ_LEN, bos=bos, separator=separator)
    loaded = load_tokenizer(str(tokenizer))
    return load_rows(config, loaded, row_delimiters(config, loaded))


@pytest.mark.parametrize(
    ("tokenizer", "bos", "separator", "expected"),
    [
        ("tokenizer", "", "", RowDelimiters(1, 0)),
        ("tokenizer", "none", "", RowDelimiters(None, 0)),
        ("tokenizer", "none", "none", RowDelimiters(None, None)),
        ("tokenizer", "", "bos", RowDelimiters(1, 1)),
        ("tokenizer", "<|EOS|>", "<|PAD|>", RowDelimiters(0, 2)),
        ("qwen", "", "", RowDelimiters(None, END)),
        ("qwen", "none", "none", RowDelimiters(None, None)),
        ("qwen", "<|endoftext|>", "", RowDelimiters(END, END)),
        ("qwen", "<|im_start|>", "<|im_end|>", RowDelimiters(START, STOP)),
        ("qwen", "<|im_start|>", "bos", RowDelimiters(START, START)),
        ("qwen", "", "\n", RowDelimiters(None, LINE_END)),
        ("bare", "", "", RowDelimiters(None, None)),
        ("bare", "<|endoftext|>", "", RowDelimiters(END, None)),
    ],
)
def test_rows_equal_those_of_a_plain_implementation(
    tiny: TinyInputs,
    corpus: Path,
    tokenizer: str,
    bos: str,
    separator: str,
    expected: RowDelimiters,
) -> None:
    rows = rows_of(tiny.folder / tokenizer, corpus, bos, separator)
    assert rows.delimiters == expected
    plain = read_rows(
        corpus,
        tiny.folder / tokenizer / "tokenizer.json",
        *(SEQ_LEN, 42),
        bos=expected.bos_id,
        separator=expected.separator_id,
    )
    np.testing.assert_array_equal(rows.tokens, plain)


def test_rows_may_be_as_short_as_two_tokens(tiny: TinyInputs, tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "abc"}\n')
    tokenizer = load_tokenizer(str(tiny.bare))
    a, b, c = (tokenizer.id_of(text) for text in "abc")
    assert tokenizer.encode(["abc"]) == [[a, b, c]]
    for bos, expected in (("none", [[a, b]]), ("<|endoftext|>", [[END, a], [END, b], [END, c]])):
        config = CorpusConfig(files=(str(path),), seq_len=2, bos=bos)
        rows = load_rows(config, tokenizer, row_delimiters(config, tokenizer))
        assert sorted(rows.tokens.tolist()) == expected
    with pytest.raises(UsageError, match=r"corpus.seq_len is 1: a row needs two tokens at least"):
        CorpusConfig(files=(str(path),), seq_len=1, bos="none")
    config = CorpusConfig(files=(str(path),), seq_len=4)
    with pytest.raises(SourceError, match="the corpus has 3 tokens, too few for one row of 4"):
        load_rows(config, tokenizer, row_delimiters(config, tokenizer))


def test_rows_that_were_cached_before_stay_valid(tiny: TinyInputs) -> None:
    """A configuration without named delimiters has the same cache key as before delimiters could be configured."""
    rows = rows_of(tiny.tokenizer, tiny.corpus)
    facts = [
        1,
        [hashlib.sha256(tiny.corpus.read_bytes()).hexdigest()],
        [],
        "text",
        SEQ_LEN,
        42,
        load_tokenizer(str(tiny.tokenizer)).content_hash,
        1,
        0,
    ]
    assert rows.key == hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def test_rows_with_other_delimiters_have_another_key(tiny: TinyInputs) -> None:
    asked_for = [("", ""), ("none", ""), ("", "none"), ("<|EOS|>", ""), ("", "<|PAD|>")]
    keys = {rows_of(tiny.tokenizer, tiny.corpus, *delimiters).key for delimiters in asked_for}
    assert len(keys) == len(asked_for)
    named = rows_of(tiny.tokenizer, tiny.corpus, "<|BOS|>", "<|EOS|>")
    assert named.key == rows_of(tiny.tokenizer, tiny.corpus).key


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"corpus.bos": "<|nothing|>"},
            "corpus.bos is '<|nothing|>', which is not a token of qwen: give the text of a single token of its",
        ),
        (
            {"corpus.separator": "two words"},
            "corpus.separator is 'two words', which is not a token",
        ),
        (
            {"corpus.separator": "bos"},
            "corpus.separator is bos, but rows have no BOS: set corpus.bos to a token of qwen",
        ),
        ({"corpus.bos": "none", "corpus.separator": "bos"}, "but rows have no BOS"),
        ({"corpus.seq_len": "1"}, "corpus.seq_len is 1: a row needs two tokens at least"),
    ],
)
def test_an_unusable_row_delimiter_is_refused(
    tiny: TinyInputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
    complaint: str,
) -> None:
    options = [part for item in settings.items() for part in ("--set", "=".join(item))]
    assert main(["sweep", str(tiny.qwen_preset), "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("build.py: ")
    assert complaint in error[-1]
    assert not (tmp_path / "out/data").exists()


@pytest.fixture(scope="module")
def output(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished output folder of the tiny inputs with the tokenizer that has no BOS."""
    out = tmp_path_factory.mktemp("run") / "qwen"
    assert main(["run", str(tiny.qwen_preset), "--out", str(out)]) == 0
    return out


def record_of(out: Path, feature: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / f"data/features/{feature:05d}.json").read_text())
    return record


def check(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["check", str(out)]) == 0
    assert "0 findings" in "".join(capsys.readouterr())


def test_a_tokenizer_without_bos_gives_a_complete_site(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(output, capsys)
    manifest = read_manifest(output / "data")
    assert manifest.rows.startswith(
        "documents joined with EOS behind each, cut to rows that begin with text, the rest dropped"
    )
    assert manifest.row_delimiters == RowDelimitersRecord(None, END)
    assert manifest.special_ids == [END, START, STOP]
    about = (output / "site/about.html").read_text()
    assert "cut to rows that begin with text" in about
    assert "on which the feature is active, including the token between documents." in about
    notes = [path.read_text() for path in (output / "site/features").iterdir()]
    message = [found[0] for note in notes if (found := re.search("such as the one.*?\\(", note))]
    assert message
    assert set(message) == {"such as the one between documents ("}


def test_every_number_without_bos_equals_brute_force(tiny: TinyInputs, output: Path) -> None:
    """The first position of a row is like any other: it may be a peak."""
    rows = read_rows(tiny.corpus, tiny.qwen / "tokenizer.json", SEQ_LEN, 42, None, END)
    features = list(range(D_HIDDEN))
    plain = BruteForce.compute(tiny.model, tiny.autoencoder, rows, features, 5, 3)
    n_first = 0
    for feature in features:
        record = record_of(output, feature)
        plain.check(record, [END, START, STOP], n_top=6, intervals=(4, 3))
        on_text = np.where(rows == END, 0, plain.activations[feature])
        row, position = np.unravel_index(on_text.argmax(), on_text.shape)
        if position == 0 and on_text[row, 0] > 0:
            strongest = record["contexts"][0]
            assert (strongest["position"], strongest["start"]) == (0, 0)
            assert strongest["activation"] == pytest.approx(on_text[row, 0], rel=1e-4)
            n_first += 1
    assert n_first > 0


def test_a_tokenizer_with_neither_token_gives_a_complete_site(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rows", "60", "--features", "0-9", "--set", f"model.tokenizer={tiny.bare}"]
    assert main(["run", str(tiny.preset), "--out", str(tmp_path), *options]) == 0
    check(tmp_path, capsys)
    manifest = read_manifest(tmp_path / "data")
    assert manifest.rows.startswith(
        "documents joined with nothing between them, cut to rows that begin with text,"
    )
    assert manifest.row_delimiters == RowDelimitersRecord(None, None)
    assert manifest.special_ids == []
    assert "on which the feature is active.</dd>" in (tmp_path / "site/about.html").read_text()
    records = [record_of(tmp_path, feature) for feature in range(10)]
    assert not any(record["special"]["n_active"] for record in records)


def test_named_delimiters_are_special_tokens_and_reported(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line end that separates documents is never a peak, even where it is part of the text."""
    options = ["--set", "corpus.bos=<|im_end|>", "--set", "corpus.separator=\n"]
    assert main(["run", str(tiny.qwen_preset), "--out", str(tmp_path), *options]) == 0
    check(tmp_path, capsys)
    manifest = read_manifest(tmp_path / "data")
    assert manifest.rows.startswith(
        r"documents joined with '\n' behind each, cut to rows that begin with '<|im_end|>',"
    )
    assert manifest.special_ids == [LINE_END, END, START, STOP]
    assert manifest.config.corpus.separator == "\n"
    rows = read_rows(tiny.corpus, tiny.qwen / "tokenizer.json", SEQ_LEN, 42, STOP, LINE_END)
    features = [0, 5, 20]
    plain = BruteForce.compute(tiny.model, tiny.autoencoder, rows, features, 5, 3)
    for feature in features:
        record = record_of(tmp_path, feature)
        plain.check(record, manifest.special_ids, n_top=6, intervals=(4, 3))


@pytest.fixture(scope="module")
def inputs(tiny: TinyInputs) -> Inputs:
    return load_inputs(load_config(str(tiny.qwen_preset)))


def test_the_live_model_adds_nothing_before_a_text(
    tiny: TinyInputs, inputs: Inputs, output: Path
) -> None:
    maxima = np.full(len(inputs.feature_ids), 20, np.float32)
    settings = live_model(inputs, maxima, load_config(str(tiny.qwen_preset))).settings
    assert (settings.bos_id, settings.seq_len, settings.n_text_tokens) == (None, SEQ_LEN, SEQ_LEN)
    assert settings.largest_error < 0.01
    model = read_live(output / "data")
    assert model is not None
    assert model.settings == read_live_settings(output / "data")
    assert model.settings.bos_id is None
    assert b"<|endoftext|>" not in model.tokenizer
    _, settings_json = value_of((output / "site/load/live/settings.js").read_bytes())
    assert b'"bos_id":null' in settings_json
    assert f"A text may have up to {SEQ_LEN} tokens" in (output / "site/active.html").read_text()


def test_published_numbers_are_computed_without_bos(tiny: TinyInputs, inputs: Inputs) -> None:
    text = "The whale rose"
    ids = inputs.tokenizer.encode([text])[0]
    plain = BruteForce.compute(tiny.model, tiny.autoencoder, np.array([ids]), [5], 5, 3)
    published = {
        "tokens": {"text": text, "ids": ids},
        "activations": [
            {"feature": 5, "text": text, "value": plain.activations[5][0, -1], "tolerance": 1e-4}
        ],
    }
    numbers = list(verify(inputs, load_config(str(tiny.qwen_preset)), published))
    assert [number.holds for number in numbers] == [True, True]
    assert numbers[1].name == f"feature 5 at the end of {text}"


@pytest.mark.parametrize("tokenizer", ["qwen", "bare"])
def test_the_model_s_loader_adds_no_token(gpt2: Path, tiny: TinyInputs, tokenizer: str) -> None:
    """TransformerLens adds BOS and EOS to a tokenizer without them; the rows do not contain them."""
    before = load_tokenizer(str(tiny.folder / tokenizer))
    options = {
        "model.name": str(gpt2),
        "model.tokenizer": str(tiny.folder / tokenizer),
        "model.hook_point": "blocks.1.hook_resid_pre",
        "autoencoder.source": str(Path(__file__).parent.parent / "autoencoders/saelens-standard"),
        "other.source": "",
        "corpus.n_rows": 20,
    }
    inputs = load_inputs(load_config(str(tiny.preset), options))
    assert inputs.tokenizer.special_ids == before.special_ids
    assert inputs.tokenizer.definition == before.definition
    assert inputs.tokenizer.token_bytes() == before.token_bytes()
    assert inputs.rows.delimiters.bos_id is None
    assert inputs.special_ids == ((END, START, STOP) if tokenizer == "qwen" else ())


def test_tokens_are_found_by_their_text(tiny: TinyInputs) -> None:
    tokenizer = load_tokenizer(str(tiny.qwen))
    ids = [tokenizer.id_of(text) for text in (*QWEN_SPECIALS, "\n", " the", "\u010a", "")]
    assert ids[:4] == [END, START, STOP, LINE_END]
    assert tokenizer.encode([" the"]) == [[ids[4]]]
    assert ids[5:] == [None, None]  # the byte-level form of a line end is not its text
    assert tokenizer.text_of(LINE_END) == "\n"
    assert load_tokenizer(str(tiny.tokenizer)).id_of("<|BOS|>") == 1
