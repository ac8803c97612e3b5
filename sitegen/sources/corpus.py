"""The corpus: documents to rows of token ids, determined by the text and the configuration alone.

Documents are encoded and joined in order, with the separator after each. The resulting sequence of ids is cut into
rows, each of which starts with BOS, and the rows are shuffled. Separator and BOS are optional. The result does not
depend on the number of processes. Rows are cached on disk under a key that hashes everything that determines them,
together with their own hash, and are read as a memory map.
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

# Part of the cache key: increase it when the way from text to rows changes, so that no older cache is read
ROWS_VERSION = 1
DOCUMENTS_AT_ONCE = 256
# Disk space for making rows, in bytes per byte of text: 4 bytes of text make about one token, which is stored twice (in
# the sequence and in a row) as 4 bytes
ROWS_BYTES = 2
# Limits memory: a tokenizer needs about 30 bytes for each character of the texts that it encodes at once
CHARACTERS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class DocumentCounts:
    """Number of documents in the corpus, and how many of them were left out."""

    n_documents: int  # all that were read, those left out included
    n_empty: int  # left out because the text is empty
    n_null: int  # left out because the text is null


@dataclass(frozen=True)
class Rows:
    """Token rows in shuffled order, without padding.

    tokens      [n_rows, seq_len] int32 ids, a memory map
    delimiters  ids in the rows that are not from the text
    documents   counts of the documents that all rows were made of
    provenance  of the text
    key         hash of everything that determines the rows, except how many of them are read
    """

    tokens: np.ndarray
    delimiters: RowDelimiters
    documents: DocumentCounts
    provenance: Provenance
    key: str


def load_rows(config: CorpusConfig, tokenizer: TextTokenizer, delimiters: RowDelimiters) -> Rows:
    """Make the corpus into rows with these row delimiters, or read the rows from the cache if it holds them.

    raises  SourceError if the text cannot be read, has no such column or split, or is too short for one row
    """
    documents = open_documents(config)
    key = _rows_key(config, documents.provenance, tokenizer, delimiters)
    path = cache_folder("rows") / f"{key}.npy"
    counts = _read_cached_counts(path)
    if counts is None:
        texts = documents.texts()
        if not config.n_documents:
            needed = ROWS_BYTES * documents.n_bytes
            require_free(
                path.parent,
                needed,
                "the text as rows",
                "or set XDG_CACHE_HOME to a folder on another disk",
            )
        else:
            texts = itertools.islice(texts, config.n_documents)
        reader = _BatchReader(texts)
        with whole_file(path) as partial:
            batches = (tokenizer.encode(batch) for batch in reader.batches())
            _write_rows(partial, batches, config, delimiters)
            digest = sha256(partial)
        counts = reader.counts
        # Written last, so an interruption leaves rows without it; such rows, or rows with another hash, are made again
        with whole_file(path.with_suffix(".json")) as partial:
            partial.write_text(json.dumps({"sha256": digest, **dataclasses.asdict(counts)}))
    tokens = np.load(path, mmap_mode="r")
    tokens = tokens[: config.n_rows] if config.n_rows else tokens
    return Rows(tokens, delimiters, counts, documents.provenance, key)


def _read_cached_counts(path: Path) -> DocumentCounts | None:
    """Read the counts that were written with a file of rows; None if it is absent or has changed since."""
    try:
        counts = json.loads(path.with_suffix(".json").read_text())
        if counts.pop("sha256") == sha256(path):
            return DocumentCounts(**counts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Absent, damaged or written by another version: the rows are made again
        pass
    return None


class _BatchReader:
    """Reads the documents that have text in batches; its counts are complete when all batches have been read."""

    def __init__(self, texts: Iterator[str | None]) -> None:
        self._texts = texts
        self.counts = DocumentCounts(0, 0, 0)

    def batches(self) -> Iterator[list[str]]:
        """Yield lists of texts, limited in number and in characters; a single long text may exceed the limit."""
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
    """Write the rows of all documents to `path` as a .npy file, with at most one batch of documents in memory.

    batches  batches of documents, each document a list of ids
    """
    # A shuffled row can come from anywhere in the text, so the whole sequence is written to disk first and then read
    # through a memory map. The .npy header is written by hand for the same reason: the array never exists in memory.
    n_text = config.seq_len - delimiters.text_start  # tokens of the sequence in each row
    stream_path = path.with_name(f"{path.name}.stream")
    try:
        n_tokens = _write_stream(stream_path, batches, delimiters)
        n_rows = n_tokens // n_text
        if n_rows == 0:
            raise SourceError(
                f"the corpus has {n_tokens} tokens, too few for one row of {config.seq_len}: give more text, or set a "
                "smaller corpus.seq_len"
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
                rows[:, delimiters.text_start :] = stream[chosen]
                file.write(rows.tobytes())
    finally:
        stream_path.unlink(missing_ok=True)


def _write_stream(path: Path, batches: Iterator[list[list[int]]], delimiters: RowDelimiters) -> int:
    """Write the ids of all documents to `path` as int32, with the separator after each; return how many ids."""
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
    """Hash of everything that determines the rows: the hashes of the files and the tokenizer, and the settings."""
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
    # Left out at its default of 0, so that the cached rows of a whole corpus keep the key without it
    if config.n_documents:
        facts.append(config.n_documents)
    return cache_key(facts)
