"""The documents of a corpus in their order: one column of a Hub dataset, or of files on this machine.

Files on this machine are opened by their own names and nothing but the column is looked at, so that what is read is
what was hashed, whatever characters are in the names and whatever else is in the files.
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
from sitegen.sources import hub
from sitegen.sources.hub_errors import hub_errors
from sitegen.sources.provenance import Provenance, local_provenance

RECORDS_AT_ONCE = 64


@dataclass(frozen=True)
class Documents:
    """A corpus before it is tokenized.

    n_bytes  of the files that hold it
    texts    yields each document's text in order, None for a null, anew with each call;
             raises SourceError where a document is no text, or what holds it cannot be read
    """

    provenance: Provenance
    n_bytes: int
    texts: Callable[[], Iterator[str | None]]


def open_documents(config: CorpusConfig) -> Documents:
    """The documents that a configuration names, their files' hashes known.

    raises  SourceError if there are no such files, dataset, split or column
    """
    if config.files:
        return _local_documents(config)
    return _hub_documents(config)


def cache_folder(kind: str) -> Path:
    """A folder of this program's own cache, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "sae-sitegen" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_key(facts: list[Any]) -> str:
    """What a file of the cache is named for: 32 hexadecimal digits of a hash of JSON values."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _local_documents(config: CorpusConfig) -> Documents:
    """Documents of files, one file after another; their order is the configuration's."""
    paths = [Path(name) for name in config.files]
    for path in paths:
        if not path.is_file():
            raise SourceError(f"{path}: no such corpus file")
        if path.suffix not in READERS:
            raise SourceError(f"{path.name}: a corpus file ends in {', '.join(READERS)}")
    kinds = {path.suffix for path in paths}
    if len(kinds) > 1:
        raise SourceError(
            f"corpus files of several kinds ({', '.join(sorted(kinds))}): give files of one"
        )
    provenance = local_provenance(", ".join(path.name for path in paths), paths)
    named = {str(path): path for path in paths}
    return Documents(provenance, _n_bytes(paths), lambda: _texts_of(named, config.column))


def _text_file(path: Path, column: str) -> Iterator[str]:
    """A file that is one document."""
    try:
        yield path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path.name} is no UTF-8 text (byte {error.start:,}): save it as UTF-8"
        ) from None


def _json_lines(path: Path, column: str) -> Iterator[str | None]:
    """A file with a JSON object a line; blank lines are passed over."""
    first: dict[str, Any] | None = None
    has_column = False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(codecs.BOM_UTF8).strip()
            if not content:
                continue
            where = f"{path.name}, line {number:,}"
            found = _json_object(content, where)
            first = first or found
            has_column = has_column or column in found
            yield _require_text(found.get(column), where, column)
    if first is not None and not has_column:
        raise _no_column(path.name, column, list(first))


def _json_object(content: bytes, where: str) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{where} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise SourceError(f"{where} is no JSON object: give one object a line")
    return found


def _parquet(path: Path, column: str) -> Iterator[str | None]:
    """A column of a Parquet file, a few rows in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise _no_column(path.name, column, names)
            batches = file.iter_batches(RECORDS_AT_ONCE, columns=[column])
            yield from _rows((batch.column(0).to_pylist() for batch in batches), path.name, column)
    except pa.ArrowException as error:
        raise SourceError(f"{path.name} cannot be read as Parquet: {_in_one_line(error)}") from None


READERS: dict[str, Callable[[Path, str], Iterator[str | None]]] = {
    ".txt": _text_file,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
HUB_KINDS = {".parquet", ".jsonl"}  # a .txt there is a document a line


def _rows(batches: Iterable[list[object]], name: str, column: str) -> Iterator[str | None]:
    """The texts of a table's column, which comes in parts."""
    for number, value in enumerate(itertools.chain.from_iterable(batches), 1):
        yield _require_text(value, f"{name}, row {number:,}", column)


def _require_text(value: object, where: str, column: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise SourceError(
        f"{where}: column {column!r} holds {type(value).__name__}, not text: set corpus.column"
    )


def _no_column(name: str, column: str, there: list[str]) -> SourceError:
    return SourceError(
        f"{name} has no column {column!r}; it has {', '.join(there)}: set corpus.column"
    )


def _in_one_line(error: BaseException) -> str:
    """All that an error says of its cause, cut where it grows long."""
    text = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:299]}…"


def _hub_documents(config: CorpusConfig) -> Documents:
    """A split of a Hub dataset, the hashes of its files known to hold.

    Parquet and JSON lines are read here, as files on this machine are: the split's files alone, and of them the column.
    What else there is, `datasets` reads.
    """
    from datasets.exceptions import DatasetNotFoundError

    name = config.dataset
    # Which `datasets` would ask for first, without patience; where the Hub is gone it need not ask at all
    hub.fetch(hub.HubFile(name, "README.md", "dataset", config.revision), is_optional=True)
    try:
        with hub_errors(name), hub.as_reached():
            return hub.patiently(name, lambda: _split_documents(config))
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError) as error:
        raise SourceError(
            f"{name}: no such dataset, or one that may not be read ({_in_one_line(error)}): check its name, and "
            "whether its page on the Hub asks to accept terms"
        ) from None
    except (SitegenError, OSError):
        raise
    except Exception as error:  # builders of many formats raise what they like
        raise SourceError(f"{name} cannot be read: {_said_by_datasets(error)}") from None


def _split_documents(config: CorpusConfig) -> Documents:
    name, noted = config.dataset, _noted_urls(config)
    builder = None
    if not (constants.is_offline_mode() and noted.is_file()):
        builder = _builder(config)
        with whole_file(noted) as partial:
            partial.write_text(json.dumps(_urls_of_split(builder, config)))
    urls = [url.split("@", 1)[1].partition("/") for url in json.loads(noted.read_text())]
    files = [hub.HubFile(name, file, "dataset", commit) for commit, _, file in urls]
    is_read_here = all(Path(file.name).suffix in HUB_KINDS for file in files)
    paths = _fetched(files, config, config.n_documents if is_read_here else 0)
    provenance = hub.cache_provenance(name, paths)
    if is_read_here:
        return Documents(
            provenance, _n_bytes(paths.values()), lambda: _texts_of(paths, config.column)
        )
    builder = builder or _builder(config)
    with written_in(Path(builder.cache_dir).parent):
        builder.download_and_prepare()
    table = builder.as_dataset(config.split)
    return _table_documents(table, provenance, _n_bytes(paths.values()), config.column)


def _fetched(files: list[hub.HubFile], config: CorpusConfig, n_documents: int) -> dict[str, Path]:
    """The paths in the cache of a split's files: all, or the first ones that hold so many documents."""
    paths: dict[str, Path] = {}
    for file in files:
        paths[file.name] = hub.fetch_needed(file)
        if n_documents:
            texts = _texts_of(paths, config.column)
            if sum(1 for _ in itertools.islice(texts, n_documents)) == n_documents:
                break
    return paths


def _builder(config: CorpusConfig) -> Any:
    from datasets import disable_progress_bars, load_dataset_builder

    disable_progress_bars()
    return load_dataset_builder(
        config.dataset, config.configuration or None, revision=config.revision
    )


def _noted_urls(config: CorpusConfig) -> Path:
    """Where it is noted of which files a split consists, so that it is known without the Hub too."""
    facts = [config.dataset, config.configuration, config.revision, config.split]
    return cache_folder("datasets") / f"{cache_key(facts)}.json"


def _urls_of_split(builder: Any, config: CorpusConfig) -> list[str]:
    """The split's files in order, as `hf://datasets/OWNER/NAME@COMMIT/path`."""
    splits = builder.config.data_files
    if splits is None:  # offline: `datasets` has its table, but not what that was built from
        raise SourceError(
            f"{config.dataset}: split {config.split!r} was never read here, and the Hub is switched off; "
            "unset HF_HUB_OFFLINE"
        )
    if config.split not in splits:
        raise SourceError(
            f"{config.dataset} has no split {config.split!r}; it has {', '.join(map(str, splits))}: set corpus.split"
        )
    return [str(url) for url in splits[config.split]]


def _texts_of(paths: dict[str, Path], column: str) -> Iterator[str | None]:
    """The documents of some files, each read as its name says."""
    for file, path in paths.items():
        yield from READERS[Path(file).suffix](path, column)


def _table_documents(dataset: Any, provenance: Provenance, n_bytes: int, column: str) -> Documents:
    """Those of a table that `datasets` has made."""
    if column not in dataset.column_names:
        raise _no_column(provenance.name, column, dataset.column_names)

    def texts() -> Iterator[str | None]:
        batches = dataset.select_columns([column]).iter(RECORDS_AT_ONCE)
        yield from _rows((batch[column] for batch in batches), provenance.name, column)

    return Documents(provenance, n_bytes, texts)


def _n_bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _said_by_datasets(error: Exception) -> str:
    """What is wrong with a dataset, and what to set."""
    reason = _in_one_line(error)
    if "Config name is missing" in reason:
        return f"{reason}: set corpus.configuration to one of these"
    if "scripts are no longer supported" in reason:
        return f"{reason}: give a dataset of Parquet or JSON files"
    return reason
