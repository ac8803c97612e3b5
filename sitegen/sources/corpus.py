"""The corpus: documents to rows of token ids, a function of the text and the configuration alone.

Documents are encoded one after another, the separator behind each, the run of ids is cut to rows that begin with BOS,
and the rows are shuffled; there may be no separator and no BOS. No part of that depends on the number of processes.
Rows are kept on disk under a key of all that determines them, and read as a memory map.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sitegen.config import CorpusConfig
from sitegen.errors import SourceError
from sitegen.files import whole_file
from sitegen.sources import hub
from sitegen.sources.hub_errors import hub_errors
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.row_marks import RowMarks
from sitegen.sources.tokenizer import TextTokenizer

ROWS_VERSION = 1  # raised when the way from text to rows changes, so that no older cache is read
DOCUMENTS_AT_ONCE = 256
FILE_KINDS = {".txt": "text", ".jsonl": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Rows:
    """Token rows [n_rows, seq_len] in shuffled order, a memory map of int32 ids; no padding."""

    tokens: np.ndarray
    marks: RowMarks  # what stands in them beside text
    provenance: Provenance
    key: str  # hash of all that determines the rows but how many of them are read


def load_rows(config: CorpusConfig, tokenizer: TextTokenizer, marks: RowMarks) -> Rows:
    """The corpus as rows with these marks, from the cache where it holds them.

    raises  SourceError if the text cannot be read, has no such column or split, or fills no row
    """
    dataset, provenance = _open_dataset(config)
    key = _rows_key(config, provenance, tokenizer, marks)
    path = _cache_folder("rows") / f"{key}.npy"
    tokens = _cached_rows(path, config.seq_len)
    if tokens is None:
        with whole_file(path) as partial:
            batches = (tokenizer.encode(texts) for texts in _texts(dataset, config))
            _write_rows(partial, batches, config, marks)
        tokens = np.load(path, mmap_mode="r")
    return Rows(tokens[: config.n_rows] if config.n_rows else tokens, marks, provenance, key)


def _cached_rows(path: Path, seq_len: int) -> np.ndarray | None:
    """The rows of a cache file; None where there is none, or it is cut off or damaged."""
    try:
        tokens: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return tokens if tokens.ndim == 2 and tokens.shape[1] == seq_len else None


def _open_dataset(config: CorpusConfig) -> tuple[Any, Provenance]:
    """(the `datasets` table, where it came from), its column known to be there."""
    from datasets import disable_progress_bars

    disable_progress_bars()
    dataset, provenance = _open_files(config) if config.files else _open_hub_dataset(config)
    if config.column not in dataset.column_names:
        raise SourceError(
            f"{provenance.name} has no column {config.column!r}; it has {', '.join(dataset.column_names)}: "
            "set corpus.column"
        )
    return dataset, provenance


def _open_files(config: CorpusConfig) -> tuple[Any, Provenance]:
    from datasets import load_dataset

    kind, paths = _local_files(config.files)
    provenance = local_provenance(", ".join(path.name for path in paths), paths)
    options = {"sample_by": "document"} if kind == "text" else {}
    # `datasets` knows its tables by path and time of change; a folder for the content keeps them apart
    tables = _cache_folder("tables") / _hash([file.sha256 for file in provenance.files])
    try:
        files = [str(path) for path in paths]
        return load_dataset(
            kind, data_files=files, split="train", cache_dir=str(tables), **options
        ), provenance
    except OSError:
        raise
    except Exception as error:  # whatever a reader makes of a file that is not what its name says
        raise SourceError(f"{provenance.name} cannot be read as {kind}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The first line of an error's cause."""
    text = str(error.__cause__ or error).strip() or type(error).__name__
    return text.splitlines()[0]


def _open_hub_dataset(config: CorpusConfig) -> tuple[Any, Provenance]:
    """A split of a Hub dataset. Its files' hashes are checked before a table is built from them."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    name = config.dataset
    # Which `datasets` would ask for first, without patience; where the Hub is gone it need not ask at all
    hub.fetch(hub.HubFile(name, "README.md", "dataset", config.revision), is_optional=True)
    try:
        with hub_errors(name), hub.as_reached():
            return hub.patiently(name, lambda: _build_hub_dataset(config))
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{name}: no such dataset, or one that may not be read ({reason}): check its name, and whether its page "
            "on the Hub asks to accept terms"
        ) from None
    except (DatasetGenerationError, ValueError) as error:
        raise SourceError(f"{name} cannot be read: {_reason(error)}") from None


def _build_hub_dataset(config: CorpusConfig) -> tuple[Any, Provenance]:
    """(the table of a split, its provenance), the hashes of the split's files known to hold."""
    from datasets import load_dataset_builder

    name = config.dataset
    builder = load_dataset_builder(name, config.configuration or None, revision=config.revision)
    paths = {}
    for url in _dataset_urls(builder, config):
        commit, _, file = url.split("@", 1)[1].partition("/")
        paths[file] = hub.fetch_needed(hub.HubFile(name, file, "dataset", commit))
    builder.download_and_prepare()
    return builder.as_dataset(config.split), hub.cache_provenance(name, paths)


def _dataset_urls(builder: Any, config: CorpusConfig) -> list[str]:
    """The split's files as `hf://datasets/OWNER/NAME@COMMIT/path`, noted so that they are known without the Hub too."""
    key = _hash([config.dataset, config.configuration, config.revision, config.split])
    noted = _cache_folder("datasets") / f"{key}.json"
    splits = builder.config.data_files
    if splits is None:  # offline: `datasets` has its table, but not what that was built from
        if not noted.is_file():
            raise SourceError(
                f"{config.dataset}: split {config.split!r} was never read here, and the Hub is switched off; "
                "unset HF_HUB_OFFLINE"
            )
        return [str(url) for url in json.loads(noted.read_text())]
    if config.split not in splits:
        raise SourceError(
            f"{config.dataset} has no split {config.split!r}; it has {', '.join(splits)}: set corpus.split"
        )
    urls = list(splits[config.split])
    with whole_file(noted) as partial:
        partial.write_text(json.dumps(urls))
    return urls


def _local_files(names: tuple[str, ...]) -> tuple[str, list[Path]]:
    """(the loader's name, the files), all of one kind."""
    paths = [Path(name) for name in names]
    for path in paths:
        if not path.is_file():
            raise SourceError(f"{path}: no such corpus file")
        if path.suffix not in FILE_KINDS:
            raise SourceError(f"{path.name}: a corpus file ends in {', '.join(FILE_KINDS)}")
    kinds = {FILE_KINDS[path.suffix] for path in paths}
    if len(kinds) > 1:
        raise SourceError(
            f"corpus files of several kinds ({', '.join(sorted(kinds))}): give files of one"
        )
    return kinds.pop(), paths


def _texts(dataset: Any, config: CorpusConfig) -> Iterator[list[str]]:
    """The documents, some at a time; empty ones are left out."""
    for batch in dataset.select_columns([config.column]).iter(DOCUMENTS_AT_ONCE):
        texts = batch[config.column]
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is not None or None in texts:
            raise SourceError(
                f"column {config.column!r} holds {type(wrong).__name__}, not text: set corpus.column"
            )
        yield [text for text in texts if text]


def _write_rows(
    path: Path, batches: Iterator[list[list[int]]], config: CorpusConfig, marks: RowMarks
) -> None:
    """The rows of all documents as a .npy file at `path`, without holding more than a batch of documents.

    batches  the ids of each document, some documents at a time
    """
    n_text = config.seq_len - marks.begin  # tokens of the run in a row
    stream_path = path.with_name(f"{path.name}.stream")
    try:
        n_tokens = _write_stream(stream_path, batches, marks)
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
                rows = np.full((len(chosen), config.seq_len), marks.bos_id or 0, np.int32)
                rows[:, marks.begin :] = stream[chosen]
                file.write(rows.tobytes())
    finally:
        stream_path.unlink(missing_ok=True)


def _write_stream(path: Path, batches: Iterator[list[list[int]]], marks: RowMarks) -> int:
    """The documents' ids one after another, the separator behind each, as int32 at `path`; returns how many."""
    separator = [] if marks.separator_id is None else [marks.separator_id]
    n_tokens = 0
    with path.open("wb") as stream:
        for documents in batches:
            for ids in documents:
                stream.write(np.array([*ids, *separator], np.int32).tobytes())
                n_tokens += len(ids) + len(separator)
    return n_tokens


def _rows_key(
    config: CorpusConfig, provenance: Provenance, tokenizer: TextTokenizer, marks: RowMarks
) -> str:
    """Hash of all that determines the rows: the files' own hashes, the tokenizer's, and how rows are made."""
    facts = [
        ROWS_VERSION,
        [file.sha256 for file in provenance.files],
        [config.configuration, config.split] if config.dataset else [],
        config.column,
        config.seq_len,
        config.seed,
        tokenizer.content_hash,
        marks.bos_id,
        marks.separator_id,
    ]
    return _hash(facts)


def _hash(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _cache_folder(kind: str) -> Path:
    """A folder of this program's own cache, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "sae-sitegen" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder
