"""Rows: equal to the reference analysis, and determined by text and configuration alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sitegen.config import CorpusConfig
from sitegen.errors import SourceError
from sitegen.sources import corpus
from sitegen.sources.corpus import Rows, load_rows
from sitegen.sources.row_delimiters import row_delimiters
from sitegen.sources.tokenizer import TextTokenizer, load_tokenizer
from tests.brute_force import read_rows
from tests.tiny import SEQ_LEN, TinyInputs, documents


@pytest.fixture(scope="module")
def tokenizer(tiny: TinyInputs) -> TextTokenizer:
    return load_tokenizer(str(tiny.tokenizer))


@pytest.fixture(scope="module")
def config(tiny: TinyInputs) -> CorpusConfig:
    return CorpusConfig(files=(str(tiny.corpus),), seq_len=SEQ_LEN)


def rows_of(config: CorpusConfig, tokenizer: TextTokenizer) -> Rows:
    return load_rows(config, tokenizer, row_delimiters(config, tokenizer))


def test_memory_is_bounded_by_small_batches_of_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "DOCUMENTS_AT_ONCE", 3)
    monkeypatch.setattr(corpus, "CHARACTERS_AT_ONCE", 10)
    lengths = [1, 1, 1, 1, 4, 9, 30, 2, 20]
    n_taken = 0

    def texts() -> Iterator[str]:
        nonlocal n_taken
        for length in lengths:
            n_taken += 1
            yield "a" * length

    batches = []
    for batch in corpus._BatchReader(texts()).batches():
        batches.append(list(map(len, batch)))
        assert n_taken == sum(map(len, batches))  # no document is read before it is needed
    assert batches == [[1, 1, 1], [1, 4, 9], [30], [2, 20]]


def test_rows_equal_those_of_a_plain_implementation(
    tiny: TinyInputs, tokenizer: TextTokenizer, config: CorpusConfig
) -> None:
    expected = read_rows(tiny.corpus, tiny.tokenizer / "tokenizer.json", SEQ_LEN, 42)
    np.testing.assert_array_equal(rows_of(config, tokenizer).tokens, expected)


def test_a_special_token_s_name_in_a_text_is_plain_text(
    tokenizer: TextTokenizer, config: CorpusConfig
) -> None:
    rows = rows_of(config, tokenizer).tokens
    assert (rows[:, 0] == tokenizer.bos_id).all()
    assert not (rows[:, 1:] == tokenizer.bos_id).any()
    assert (rows == tokenizer.eos_id).sum() >= len(documents()) - 1
    assert "<|BOS|>" in "".join(tokenizer.tokenizer.decode(row) for row in rows[:, 1:].tolist())


@pytest.mark.parametrize("kind", ["parquet", "txt"])
def test_other_files_of_the_same_text_give_the_same_rows(
    kind: str, tmp_path: Path, tokenizer: TextTokenizer, config: CorpusConfig
) -> None:
    if kind == "parquet":
        pq.write_table(pa.table({"text": documents()}), tmp_path / "text.parquet")
        files = [tmp_path / "text.parquet"]
    else:
        files = [tmp_path / f"{i:03d}.txt" for i in range(len(documents()))]
        for path, text in zip(files, documents(), strict=True):
            path.write_bytes(text.encode())
    other = dataclasses.replace(config, files=tuple(map(str, files)))
    np.testing.assert_array_equal(
        rows_of(other, tokenizer).tokens, rows_of(config, tokenizer).tokens
    )


def test_a_damaged_cache_is_rebuilt(tokenizer: TextTokenizer, config: CorpusConfig) -> None:
    rows = rows_of(config, tokenizer)
    expected = rows.tokens.copy()
    path = Path(os.environ["XDG_CACHE_HOME"]) / "sae-sitegen/rows" / f"{rows.key}.npy"
    path.write_bytes(path.read_bytes()[:500])
    np.testing.assert_array_equal(rows_of(config, tokenizer).tokens, expected)


def test_first_rows_are_the_first_of_all(tokenizer: TextTokenizer, config: CorpusConfig) -> None:
    few = rows_of(dataclasses.replace(config, n_rows=9), tokenizer).tokens
    np.testing.assert_array_equal(few, rows_of(config, tokenizer).tokens[:9])


def test_changed_text_is_read_anew(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = tmp_path / "text.jsonl"
    config = CorpusConfig(files=(str(path),), seq_len=8)
    path.write_text('{"text": "one two three four five six"}\n')
    first = rows_of(config, tokenizer).tokens.copy()
    before = path.stat()
    path.write_text('{"text": "six five four three two one"}\n')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as cp -p and rsync -a leave it
    assert rows_of(config, tokenizer).tokens.tolist() != first.tolist()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("nothing.jsonl", "", "the corpus has 0 tokens, too few for one row"),
        ("nothing.txt", "", "too few for one row"),
        ("empty.jsonl", '{"text": ""}\n', "too few for one row"),
        ("short.jsonl", '{"text": "a"}\n', "too few for one row"),
        ("other.jsonl", '{"body": "a"}\n', r"no column 'text' \(columns: body\)"),
        ("numbers.jsonl", '{"text": 3}\n', "line 1: column 'text' holds int, not text"),
        ("broken.jsonl", '{"text": "a"}\n{"text": \n', "line 2 cannot be read as JSON"),
        ("list.jsonl", '["a"]\n', "line 1 is not a JSON object; give one JSON object per line"),
        ("nulls.jsonl", '{"text": null}\n', "too few for one row"),
        ("broken.parquet", "PAR1", "broken.parquet cannot be read as Parquet"),
        ("text.doc", "a", "give a file whose name ends in .txt, .jsonl, .parquet"),
    ],
)
def test_an_unusable_corpus_is_named(
    name: str, content: str, complaint: str, tmp_path: Path, tokenizer: TextTokenizer
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SourceError, match=complaint):
        rows_of(CorpusConfig(files=(str(path),), seq_len=SEQ_LEN), tokenizer)


def test_a_file_in_an_unknown_encoding_is_refused(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(SourceError, match=r"latin.txt is not UTF-8 text \(byte 3\)"):
        rows_of(CorpusConfig(files=(str(path),), seq_len=8), tokenizer)


@pytest.mark.parametrize(
    ("name", "decoy"),
    [
        ("part[1].jsonl", "part1.jsonl"),
        ("a*b/text.jsonl", "aXb/text.jsonl"),
        ("what?.jsonl", "whats.jsonl"),
        ("{one,two}.jsonl", "one.jsonl"),
        ("**/text.jsonl", "deep/er/text.jsonl"),
        ("a::b.jsonl", "b.jsonl"),
        ("with space %20.jsonl", "with space  .jsonl"),
    ],
)
@pytest.mark.parametrize("kind", [".jsonl", ".parquet", ".txt"])
def test_a_file_name_is_never_a_pattern(
    name: str, decoy: str, kind: str, tmp_path: Path, tokenizer: TextTokenizer
) -> None:
    """The file whose hash the provenance has is read, not another one that matches its name as a pattern."""
    texts = {name: "zebra " * 40, decoy: "apple " * 40}
    for file, text in texts.items():
        path = (tmp_path / file).with_suffix(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".parquet":
            pq.write_table(pa.table({"text": [text]}), path)
        else:
            path.write_text(json.dumps({"text": text}) if kind == ".jsonl" else text)
    chosen = (tmp_path / name).with_suffix(kind)
    rows = rows_of(CorpusConfig(files=(str(chosen),), seq_len=8), tokenizer)
    assert "zebra" in tokenizer.tokenizer.decode(rows.tokens[0])
    assert rows.provenance.files[0].sha256 == hashlib.sha256(chosen.read_bytes()).hexdigest()


def test_only_the_text_column_is_examined(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    """Other columns may be missing or have other types in each file, and lines may be blank."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_bytes(
        b'\xef\xbb\xbf{"text": "one two three", "n": 1}\n\n{"text": null}\n{"n": 2}\n{"text": ""}\n'
    )
    second.write_text('{"n": "three", "deep": {"text": 7}, "text": "four five six"}')
    config = CorpusConfig(files=(str(first), str(second)), seq_len=6)
    rows = rows_of(config, tokenizer)
    assert vars(rows.documents) == {"n_documents": 5, "n_empty": 1, "n_null": 2}
    plain = tmp_path / "plain.jsonl"
    plain.write_text('{"text": "one two three"}\n{"text": "four five six"}\n')
    same = rows_of(dataclasses.replace(config, files=(str(plain),)), tokenizer)
    np.testing.assert_array_equal(rows.tokens, same.tokens)
    again = rows_of(config, tokenizer)  # from the cache
    assert again.documents == rows.documents
    without = tmp_path / "without.jsonl"
    without.write_text('{"body": "seven"}\n')
    with pytest.raises(SourceError, match=r"without.jsonl has no column 'text' \(columns: body\)"):
        rows_of(dataclasses.replace(config, files=(str(first), str(without))), tokenizer)


def test_the_text_ends_after_the_given_number_of_documents(
    tmp_path: Path, tokenizer: TextTokenizer, config: CorpusConfig
) -> None:
    path = tmp_path / "fewer.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents()[:9]))
    expected = rows_of(dataclasses.replace(config, files=(str(path),)), tokenizer)
    found = rows_of(dataclasses.replace(config, n_documents=9), tokenizer)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    assert found.documents == expected.documents
    assert found.key != rows_of(config, tokenizer).key


def test_changed_bytes_of_a_cache_are_detected(
    tokenizer: TextTokenizer, config: CorpusConfig
) -> None:
    rows = rows_of(config, tokenizer)
    expected = rows.tokens.copy()
    path = Path(os.environ["XDG_CACHE_HOME"]) / "sae-sitegen/rows" / f"{rows.key}.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-100:-20] = bytes(80)  # 20 ids of the last row
    path.write_bytes(damaged)
    np.testing.assert_array_equal(rows_of(config, tokenizer).tokens, expected)
    path.with_suffix(".json").write_text("[]")
    np.testing.assert_array_equal(rows_of(config, tokenizer).tokens, expected)


def test_vocabulary_gives_every_byte_of_a_text(tokenizer: TextTokenizer) -> None:
    table = tokenizer.token_bytes()
    for text in documents():
        ids = tokenizer.encode([text])[0]
        assert b"".join(table[token] or b"?" for token in ids) == text.encode()
