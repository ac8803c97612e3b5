"""The documents of a corpus in order: one column of a Hub dataset, or of files on this machine.

Files on this machine are opened directly by their paths and only the column is read. So the files that are read are
the files that were hashed, whatever characters are in their names and whatever else they hold.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import constants

from sitegen.config import CorpusConfig
from sitegen.errors import SitegenError, SourceError
from sitegen.files import whole_file, written_in
from sitegen.hub_errors import hub_errors
from sitegen.sources import hub
from sitegen.sources.provenance import Provenance, local_provenance

RECORDS_AT_ONCE = 64


@dataclass(frozen=True)
class Documents:
    """A corpus before it is tokenized.

    n_bytes  total size of its files
    texts    function that yields the text of each document in order, None for a null; every call starts again;
             raises SourceError where a document is not text, or its file cannot be read
    """

    provenance: Provenance
    n_bytes: int
    texts: Callable[[], Iterator[str | None]]


def open_documents(config: CorpusConfig) -> Documents:
    """Open the documents that a configuration names, and hash their files.

    raises  SourceError if there are no such files, dataset, split or column
    """
    if config.files:
        return _open_local_files(config)
    return _open_hub_dataset(config)


def cache_folder(kind: str) -> Path:
    """Folder for one kind of file in this program's own cache, created if it is absent."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "sae-sitegen" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_key(facts: list[Any]) -> str:
    """Name for a file in the cache: 32 hexadecimal digits of a hash of `facts`, which are JSON values."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _open_local_files(config: CorpusConfig) -> Documents:
    """Open files on this machine, in the order of the configuration."""
    paths = [Path(name) for name in config.files]
    for path in paths:
        if not path.is_file():
            raise SourceError(f"{path}: no such corpus file; correct corpus.files")
        if path.suffix not in READERS:
            raise SourceError(
                f"{path.name}: not a corpus file; give a file whose name ends in {', '.join(READERS)}"
            )
    kinds = {path.suffix for path in paths}
    if len(kinds) > 1:
        raise SourceError(
            f"corpus.files: files of several kinds ({', '.join(sorted(kinds))}); give files of one kind"
        )
    provenance = local_provenance(", ".join(path.name for path in paths), paths)
    by_name = {str(path): path for path in paths}
    return Documents(provenance, _total_bytes(paths), lambda: _read_texts(by_name, config.column))


def _read_text_file(path: Path, column: str) -> Iterator[str]:
    """Read a file that is one document."""
    try:
        yield path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path.name} is not UTF-8 text (byte {error.start:,}): save it as UTF-8"
        ) from None


def _read_json_lines(path: Path, column: str) -> Iterator[str | None]:
    """Read a file that has one JSON object per line; blank lines are skipped."""
    first: dict[str, Any] | None = None
    has_column = False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(codecs.BOM_UTF8).strip()
            if not content:
                continue
            where = f"{path.name}, line {number:,}"
            record = _parse_json_object(content, where)
            first = first or record
            has_column = has_column or column in record
            yield _require_text(record.get(column), where, column)
    # A single object may lack the column, which counts as a null; a file in which every object lacks it is refused
    if first is not None and not has_column:
        raise _missing_column(path.name, column, list(first))


def _parse_json_object(content: bytes, where: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"{where} cannot be read as JSON ({error}); give one JSON object per line"
        ) from None
    if not isinstance(parsed, dict):
        raise SourceError(f"{where} is not a JSON object; give one JSON object per line")
    return parsed


def _read_parquet(path: Path, column: str) -> Iterator[str | None]:
    """Read a column of a Parquet file with a few rows in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise _missing_column(path.name, column, names)
            batches = file.iter_batches(RECORDS_AT_ONCE, columns=[column])
            values = (batch.column(0).to_pylist() for batch in batches)
            yield from _column_texts(values, path.name, column)
    except pa.ArrowException as error:
        raise SourceError(
            f"{path.name} cannot be read as Parquet ({_one_line(error)}); write or download the file again"
        ) from None


READERS: dict[str, Callable[[Path, str], Iterator[str | None]]] = {
    ".txt": _read_text_file,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
# Kinds of dataset files that these readers read. Not .txt: `datasets` takes every line of it as a document, while a
# local .txt file is one document
HUB_KINDS = {".parquet", ".jsonl"}


def _column_texts(batches: Iterable[list[object]], name: str, column: str) -> Iterator[str | None]:
    """Yield the texts of a table's column from batches of its values."""
    for number, value in enumerate(itertools.chain.from_iterable(batches), 1):
        yield _require_text(value, f"{name}, row {number:,}", column)


def _require_text(value: object, where: str, column: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise SourceError(
        f"{where}: column {column!r} holds {type(value).__name__}, not text; set corpus.column"
    )


def _missing_column(name: str, column: str, columns: list[str]) -> SourceError:
    return SourceError(
        f"{name} has no column {column!r} (columns: {', '.join(columns)}); set corpus.column"
    )


def _one_line(error: BaseException) -> str:
    """Text of an error's cause, or else of the error itself, in one line of at most 300 characters."""
    text = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:299]}…"


def _open_hub_dataset(config: CorpusConfig) -> Documents:
    """Open a split of a Hub dataset and verify the hashes of its files.

    Parquet and JSON lines are read here, as files on this machine are: only the split's files, and only the column.
    The `datasets` library reads other formats.
    """
    from datasets.exceptions import DatasetNotFoundError

    name = config.dataset
    # `datasets` asks for this file first and without retries. Fetching it here retries, and finds out whether the Hub
    # answers: if not, `offline_if_lost` lets `datasets` use the cache at once
    hub.fetch(hub.HubFile(name, "README.md", "dataset", config.revision), is_optional=True)
    try:
        with hub_errors(name), hub.offline_if_lost():
            return hub.retry(name, lambda: _open_split(config))
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise SourceError(
            f"{name}: no such dataset, or no permission to read it ({_one_line(error)}): check its name, and "
            "whether its page on the Hub asks you to accept terms"
        ) from None
    except (SitegenError, OSError):
        raise
    # The many dataset builders have no error class in common
    except Exception as error:
        raise SourceError(f"{name} cannot be read: {_explain_dataset_error(error)}") from None


def _open_split(config: CorpusConfig) -> Documents:
    """Fetch the files of a split and open them."""
    # The list of the split's files is cached, because `datasets` cannot resolve it while it is offline
    name, urls_path = config.dataset, _urls_path(config)
    builder = None
    if not (constants.is_offline_mode() and urls_path.is_file()):
        builder = _load_builder(config)
        with whole_file(urls_path) as partial:
            partial.write_text(json.dumps(_list_split_urls(builder, config)))
    # hf://datasets/OWNER/NAME@COMMIT/path: the commit in it fixes the version of every file
    urls = [url.split("@", 1)[1].partition("/") for url in json.loads(urls_path.read_text())]
    files = [hub.HubFile(name, file, "dataset", commit) for commit, _, file in urls]
    is_read_here = all(Path(file.name).suffix in HUB_KINDS for file in files)
    paths = _fetch_files(files, config, config.n_documents if is_read_here else 0)
    provenance = hub.cache_provenance(name, paths)
    if is_read_here:
        return Documents(
            provenance, _total_bytes(paths.values()), lambda: _read_texts(paths, config.column)
        )
    builder = builder or _load_builder(config)
    with written_in(Path(builder.cache_dir).parent):
        builder.download_and_prepare()
    table = builder.as_dataset(config.split)
    return _open_table(table, provenance, _total_bytes(paths.values()), config.column)


def _fetch_files(
    files: list[hub.HubFile], config: CorpusConfig, n_documents: int
) -> dict[str, Path]:
    """Fetch a split's files and return their paths in the cache.

    n_documents  stop at the file that completes this number of documents; 0: fetch all files
    """
    paths: dict[str, Path] = {}
    for file in files:
        paths[file.name] = hub.fetch_required(file)
        if n_documents:
            texts = _read_texts(paths, config.column)
            if sum(1 for _ in itertools.islice(texts, n_documents)) == n_documents:
                break
    return paths


def _load_builder(config: CorpusConfig) -> Any:
    from datasets import disable_progress_bars, load_dataset_builder

    disable_progress_bars()
    return load_dataset_builder(
        config.dataset, config.configuration or None, revision=config.revision
    )


def _urls_path(config: CorpusConfig) -> Path:
    """Path of the cached list of a split's files, which is needed when the Hub is offline."""
    facts = [config.dataset, config.configuration, config.revision, config.split]
    return cache_folder("datasets") / f"{cache_key(facts)}.json"


def _list_split_urls(builder: Any, config: CorpusConfig) -> list[str]:
    """List the split's files in order, as `hf://datasets/OWNER/NAME@COMMIT/path`."""
    splits = builder.config.data_files
    # Offline, `datasets` may have the table in its cache, but no list of the files that the table was built from
    if splits is None:
        raise SourceError(
            f"{config.dataset}: split {config.split!r} is not in the cache, and downloads are switched off: "
            "unset HF_HUB_OFFLINE"
        )
    if config.split not in splits:
        raise SourceError(
            f"{config.dataset} has no split {config.split!r} (splits: {', '.join(map(str, splits))}); set corpus.split"
        )
    return [str(url) for url in splits[config.split]]


def _read_texts(paths: dict[str, Path], column: str) -> Iterator[str | None]:
    """Yield the documents of files in order. The key of a path is the file's name, whose suffix selects the reader."""
    for file, path in paths.items():
        yield from READERS[Path(file).suffix](path, column)


def _open_table(dataset: Any, provenance: Provenance, n_bytes: int, column: str) -> Documents:
    """Open a table that `datasets` has built."""
    if column not in dataset.column_names:
        raise _missing_column(provenance.name, column, dataset.column_names)

    def texts() -> Iterator[str | None]:
        batches = dataset.select_columns([column]).iter(RECORDS_AT_ONCE)
        yield from _column_texts((batch[column] for batch in batches), provenance.name, column)

    return Documents(provenance, n_bytes, texts)


def _total_bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _explain_dataset_error(error: Exception) -> str:
    """Reason of an error of `datasets`, with the remedy where it is known."""
    reason = _one_line(error)
    if "Config name is missing" in reason:
        return f"{reason}: set corpus.configuration to one of these"
    if "scripts are no longer supported" in reason:
        return f"{reason}: give a dataset of Parquet or JSON files"
    return reason
