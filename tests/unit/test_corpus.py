"""Rows: what the reference analysis says of them, and a function of text and configuration alone."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sitegen.config import CorpusConfig
from sitegen.errors import SourceError
from sitegen.sources.corpus import Rows, load_rows
from sitegen.sources.row_marks import row_marks
from sitegen.sources.tokenizer import TextTokenizer, load_tokenizer
from tests.brute_force import read_rows
from tests.tiny import SEQ_LEN, TinySubject, documents


@pytest.fixture(scope="module")
def tokenizer(tiny: TinySubject) -> TextTokenizer:
    return load_tokenizer(str(tiny.tokenizer))


@pytest.fixture(scope="module")
def config(tiny: TinySubject) -> CorpusConfig:
    return CorpusConfig(files=(str(tiny.corpus),), seq_len=SEQ_LEN)


def rows_of(config: CorpusConfig, tokenizer: TextTokenizer) -> Rows:
    return load_rows(config, tokenizer, row_marks(config, tokenizer))


def test_rows_are_those_of_a_plain_reading(
    tiny: TinySubject, tokenizer: TextTokenizer, config: CorpusConfig
) -> None:
    expected = read_rows(tiny.corpus, tiny.tokenizer / "tokenizer.json", SEQ_LEN, 42)
    np.testing.assert_array_equal(rows_of(config, tokenizer).tokens, expected)


def test_special_token_in_a_text_is_text(tokenizer: TextTokenizer, config: CorpusConfig) -> None:
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


def test_damaged_cache_is_made_again(tokenizer: TextTokenizer, config: CorpusConfig) -> None:
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
        ("nothing.jsonl", "", "cannot be read as json"),
        ("nothing.txt", "", "too few for one row"),
        ("empty.jsonl", '{"text": ""}\n', "too few for one row"),
        ("short.jsonl", '{"text": "a"}\n', "too few for one row"),
        ("other.jsonl", '{"body": "a"}\n', "no column 'text'; it has body"),
        ("numbers.jsonl", '{"text": 3}\n', "holds int, not text"),
        ("broken.jsonl", '{"text": \n', "cannot be read as json"),
        ("text.doc", "a", "a corpus file ends in .txt, .jsonl, .parquet"),
    ],
)
def test_unfit_corpus_is_named(
    name: str, content: str, complaint: str, tmp_path: Path, tokenizer: TextTokenizer
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SourceError, match=complaint):
        rows_of(CorpusConfig(files=(str(path),), seq_len=SEQ_LEN), tokenizer)


def test_vocabulary_gives_every_byte_of_a_text(tokenizer: TextTokenizer) -> None:
    table = tokenizer.token_bytes()
    for text in documents():
        ids = tokenizer.encode([text])[0]
        assert b"".join(table[token] or b"?" for token in ids) == text.encode()
