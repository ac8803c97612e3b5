"""The corpus: documents to rows of token ids, a function of the text and the configuration alone.

Documents are encoded one after another, the separator behind each, the run of ids is cut to rows that begin with BOS,
and the rows are shuffled; there may be no separator and no BOS. No part of that depends on the number of processes.
Rows are kept on disk under a key of all that determines them, with a hash of what they are, and read as a memory map.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sitegen.config import CorpusConfig
from sitegen.errors import SourceError
from sitegen.files import sha256, whole_file
from sitegen.sources.documents import cache_folder, cache_key, open_documents
from sitegen.sources.provenance import Provenance
from sitegen.sources.row_delimiters import RowDelimiters
from sitegen.sources.tokenizer import TextTokenizer
from sitegen.space import require_free

ROWS_VERSION = 1  # raised when the way from text to rows changes, so that no older cache is read
DOCUMENTS_AT_ONCE = 256
# That rows take while they are made, for each byte of text: a token is 4 bytes of text, and is held twice as 4 bytes
ROWS_BYTES = 2
CHARACTERS_AT_ONCE = (
    1 << 22
)  # a tokenizer takes some 30 bytes for a character of what it reads at once


@dataclass(frozen=True)
class DocumentCounts:
    """What became of the corpus' documents."""

    n_documents: int  # read, those left out included
    n_empty: int  # left out: without a character
    n_null: int  # left out: a null in the place of a text


@dataclass(frozen=True)
class Rows:
    """Token rows [n_rows, seq_len] in shuffled order, a memory map of int32 ids; no padding."""

    tokens: np.ndarray
    delimiters: RowDelimiters  # what stands in them beside text
    documents: DocumentCounts  # that all rows were made of
    provenance: Provenance
    key: str  # hash of all that determines the rows but how many of them are read


def load_rows(config: CorpusConfig, tokenizer: TextTokenizer, delimiters: RowDelimiters) -> Rows:
    """The corpus as rows with these marks, from the cache where it holds them.

    raises  SourceError if the text cannot be read, has no such column or split, or fills no row
    """
    documents = open_documents(config)
    key = _rows_key(config, documents.provenance, tokenizer, delimiters)
    path = cache_folder("rows") / f"{key}.npy"
    counts = _counts_of_cached(path)
    if counts is None:
        texts = documents.texts()
        if not config.n_documents:
            needed = ROWS_BYTES * documents.n_bytes
            require_free(
                path.parent, needed, "the text as rows", "or set XDG_CACHE_HOME to another"
            )
        else:
            texts = itertools.islice(texts, config.n_documents)
        reading = _Reading(texts)
        with whole_file(path) as partial:
            batches = (tokenizer.encode(some) for some in reading.batches())
            _write_rows(partial, batches, config, delimiters)
            digest = sha256(partial)
        counts = reading.counts
        with whole_file(path.with_suffix(".json")) as partial:
            partial.write_text(json.dumps({"sha256": digest, **dataclasses.asdict(counts)}))
    tokens = np.load(path, mmap_mode="r")
    chosen = tokens[: config.n_rows] if config.n_rows else tokens
    return Rows(chosen, delimiters, counts, documents.provenance, key)


def _counts_of_cached(path: Path) -> DocumentCounts | None:
    """What was noted beside a file of rows; None where there is none, or the file has changed since it was made."""
    try:
        noted = json.loads(path.with_suffix(".json").read_text())
        if noted.pop("sha256") == sha256(path):
            return DocumentCounts(**noted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


class _Reading:
    """The documents that have text, some at a time, with a count of all."""

    def __init__(self, texts: Iterator[str | None]) -> None:
        self._texts = texts
        self.counts = DocumentCounts(0, 0, 0)

    def batches(self) -> Iterator[list[str]]:
        """Lists of texts, bounded in number and in characters but for a single longer one."""
        batch: list[str] = []
        n_read = n_empty = n_null = n_characters = 0
        for text in self._texts:
            n_read += 1
            n_null += text is None
            n_empty += text == ""
            if text:
                batch.append(text)
                n_characters += len(text)
            if len(batch) == DOCUMENTS_AT_ONCE or n_characters >= CHARACTERS_AT_ONCE:
                yield batch
                batch, n_characters = [], 0
        self.counts = DocumentCounts(n_read, n_empty, n_null)
        if batch:
            yield batch


def _write_rows(
    path: Path, batches: Iterator[list[list[int]]], config: CorpusConfig, delimiters: RowDelimiters
) -> None:
    """The rows of all documents as a .npy file at `path`, without holding more than a batch of documents.

    batches  the ids of each document, some documents at a time
    """
    n_text = config.seq_len - delimiters.begin  # tokens of the run in a row
    stream_path = path.with_name(f"{path.name}.stream")
    try:
        n_tokens = _write_stream(stream_path, batches, delimiters)
        n_rows = n_tokens // n_text
        if n_rows == 0:
            raise SourceError(
                f"the corpus has {n_tokens} tokens, too few for one row of {config.seq_len}: give more text"
            )
        stream = np.memmap(stream_path, np.int32, "r")[: n_rows * n_text].reshape(n_rows, n_text)
        order = np.random.default_rng(config.seed).permutation(n_rows)
        with path.open("wb") as file:
            header = {"descr": stream.dtype.str, "fortran_order": False}
            np.lib.format.write_array_header_2_0(
                file, {**header, "shape": (n_rows, config.seq_len)}
            )
            for start in range(0, n_rows, 4096):
                chosen = order[start : start + 4096]
                rows = np.full((len(chosen), config.seq_len), delimiters.bos_id or 0, np.int32)
                rows[:, delimiters.begin :] = stream[chosen]
                file.write(rows.tobytes())
    finally:
        stream_path.unlink(missing_ok=True)


def _write_stream(path: Path, batches: Iterator[list[list[int]]], delimiters: RowDelimiters) -> int:
    """The documents' ids one after another, the separator behind each, as int32 at `path`; returns how many."""
    separator = [] if delimiters.separator_id is None else [delimiters.separator_id]
    n_tokens = 0
    with path.open("wb") as stream:
        for documents in batches:
            for ids in documents:
                stream.write(np.array([*ids, *separator], np.int32).tobytes())
                n_tokens += len(ids) + len(separator)
    return n_tokens


def _rows_key(
    config: CorpusConfig,
    provenance: Provenance,
    tokenizer: TextTokenizer,
    delimiters: RowDelimiters,
) -> str:
    """Hash of all that determines the rows: the files' own hashes, the tokenizer's, and how rows are made."""
    facts: list[Any] = [
        ROWS_VERSION,
        [file.sha256 for file in provenance.files],
        [config.configuration, config.split] if config.dataset else [],
        config.column,
        config.seq_len,
        config.seed,
        tokenizer.content_hash,
        delimiters.bos_id,
        delimiters.separator_id,
    ]
    if config.n_documents:
        facts.append(config.n_documents)
    return cache_key(facts)
