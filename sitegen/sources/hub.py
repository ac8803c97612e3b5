"""Files of the Hugging Face Hub: fetched with patience, kept in its cache, their hashes checked.

Each file's headers are asked for first: once where the cache has the file, which is taken if no answer comes; with
growing pauses where it has not. `huggingface_hub` then downloads it, and takes up by itself what was cut off. It
compares sizes alone. The Hub's own hash of a file is the name of its blob in the cache: SHA-256 of a large file,
git's SHA-1 of a small one, so a damaged download is found without another request.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import (
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # exported when asked for
from tqdm import tqdm

from sitegen.errors import SourceError
from sitegen.files import CHUNK_BYTES, sha256, written_in
from sitegen.sources.hub_errors import (
    HUB_FAULTS,
    BrokenTransferError,
    hub_errors,
    passes,
    pause_asked_for,
    reason_of,
)
from sitegen.sources.provenance import Provenance, SourceFile
from sitegen.space import require_free

PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # between one try and the next; a fault that stays ends the last
SHA256_DIGITS = 64
GIT_SHA1_DIGITS = 40
COMMIT = re.compile(r"[0-9a-f]{40}")

LINE_EVERY_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, at a revision."""

    repository: str
    name: str
    repo_type: str = "model"
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}/{self.name}"

    @property
    def url(self) -> str:
        """Where it is asked for."""
        return hf_hub_url(
            self.repository, self.name, repo_type=self.repo_type, revision=self.revision
        )


@dataclass
class Connection:
    """Whether the Hub still answers. Once it has left a question open, no more are asked about what the cache has."""

    is_lost: bool = False

    def is_off(self) -> bool:
        """Whether to make do with the cache."""
        return self.is_lost or constants.is_offline_mode()


connection = Connection()


def download(
    repository: str, names: list[str], optional: tuple[str, ...] = ()
) -> tuple[dict[str, Path], Provenance]:
    """({file name: path in the cache}, provenance) of files of a model repository; `optional` ones may be absent.

    raises  SourceError if the Hub, the repository or a file cannot be reached, or a file's hash is not the Hub's
    """
    paths = {}
    for name in [*names, *optional]:
        file = HubFile(repository, name)
        path = fetch(file, is_optional=True) if name in optional else fetch_needed(file)
        if path is not None:
            paths[name] = path
    return paths, cache_provenance(repository, paths)


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(constants.HF_HUB_CACHE)


def fetch(file: HubFile, is_optional: bool = False) -> Path | None:
    """The path in the cache of a file whose hash is known to hold; None if the repository has no such file.

    is_optional  None also where the Hub is switched off and the cache has no such file
    raises       SourceError
    """
    with hub_errors(str(file), "name a file or folder here: this is none, nor is it in the cache"):
        kept = try_to_load_from_cache(
            file.repository, file.name, repo_type=file.repo_type, revision=file.revision
        )
        if kept is None and is_optional and constants.is_offline_mode():
            return None
        if kept is None or not _still_holds(file, kept):
            path = patiently(str(file), lambda: _transfer(file))
        else:
            path = Path(kept) if isinstance(kept, str) else None
        if path is not None:
            verify_download(path, file)
        return path


def fetch_needed(file: HubFile) -> Path:
    """The path in the cache of a file whose hash is known to hold.

    raises  SourceError, also if the repository has no such file
    """
    path = fetch(file)
    if path is None:
        raise SourceError(
            f"{file}: the repository has no such file (the Hub answered 404): check its name"
        )
    return path


def patiently(what: str, action: Callable[[], T]) -> T:
    """What an action comes to, tried again after a pause while what fails may pass. Each pause is told.

    raises  what the action raises, at once if it will not pass, else when the pauses are spent
    """
    for pause in PAUSES_S:
        try:
            return action()
        except (*HUB_FAULTS, BrokenTransferError, OSError) as error:
            if not passes(error):
                raise
            longer = max(pause, pause_asked_for(error))
            _tell(f"{what}: {reason_of(error)}: trying again in {longer:g} s")
            time.sleep(longer)
    return action()


@contextmanager
def as_reached() -> Iterator[None]:
    """Keeps other libraries from asking a Hub that does not answer: they make do with the cache, as when offline."""
    from datasets import config

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    if connection.is_lost:
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def _still_holds(file: HubFile, kept: object) -> bool:
    """Whether what the cache has of a file is what the Hub has; it is taken to be where the Hub does not answer.

    kept  the file's path, or the mark that the repository has none
    """
    if connection.is_off() or COMMIT.fullmatch(file.revision or ""):
        return True
    try:
        metadata = _ask(file)
    except RevisionNotFoundError:
        raise
    except HUB_FAULTS as error:
        connection.is_lost = passes(error)
        _tell(f"{file}: {reason_of(error)}: taking the copy in the cache")
        return True
    if metadata is None or not isinstance(kept, str):
        return metadata is None and not isinstance(kept, str)
    return metadata.commit_hash == _snapshot_commit(Path(kept))


def _ask(file: HubFile) -> HfFileMetadata | None:
    """What the Hub says of a file; None if the repository has no such file."""
    try:
        return get_hf_file_metadata(file.url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError as error:
        has_none = error.response.status_code == 404
        if has_none and not isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
            return None
        raise
    except HFValidationError:
        raise
    except ValueError as error:
        raise httpx.InvalidURL(f"the Hub redirects to no valid address ({error})") from None


def _transfer(file: HubFile) -> Path | None:
    """One try to have a file in the cache; None if the repository has no such file, which the cache notes too."""
    metadata = _ask(file)
    connection.is_lost = False
    if metadata is not None and not (metadata.etag and metadata.commit_hash):
        raise FileMetadataError
    if metadata is not None and metadata.size:
        otherwise = "or set HF_HOME to a folder on another disk"
        blobs = cache_folder() / repo_folder_name(repo_id=file.repository, repo_type=file.repo_type)
        there = sum(
            path.stat().st_size for path in blobs.glob(f"blobs/{metadata.etag}*.incomplete")
        )
        require_free(cache_folder(), metadata.size - there, str(file), otherwise)
    try:
        with _resumptions_told(str(file)), written_in(cache_folder()):
            path = hf_hub_download(
                file.repository,
                file.name,
                repo_type=file.repo_type,
                revision=file.revision,
                tqdm_class=None if sys.stderr.isatty() else lines_of(str(file)),
            )
        return Path(path)
    except EntryNotFoundError:
        if metadata is None:
            return None
        raise
    except (HfHubHTTPError, FileMetadataError, OfflineModeIsEnabled):
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: of the library behind large files
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join((str(error) or type(error).__name__).splitlines()[0].split())
        raise BrokenTransferError(f"what came is not whole ({reason[:160]})") from error


def lines_of(what: str) -> type[tqdm]:
    """A progress bar that is a line every ten seconds, since bars are silent where standard error is no terminal."""

    class Lines(tqdm):  # type: ignore[misc] # which has no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            own = {
                "desc": what,
                "bar_format": "{desc}: {n_fmt}B of {total_fmt}B, {rate_fmt}, {remaining} left",
                "mininterval": LINE_EVERY_S,
                "miniters": 1,
                "leave": False,
            }
            super().__init__(*arguments, **{**options, **own})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if msg is None and self.n not in (self.initial, self.total):  # as it comes and goes
                _tell(str(self))

    return Lines


@contextmanager
def _resumptions_told(what: str) -> Iterator[None]:
    """Tells in one line what huggingface_hub warns of in two when it goes on with what was cut off."""

    def tell(record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Error while downloading"):
            return True
        if "resume" in str(record.msg):  # else it gives up, and raises what it tells
            reason = record.args[-1] if isinstance(record.args, tuple) else ""
            _tell(f"{what}: the download was cut off ({reason}): going on")
        return False

    logger = logging.getLogger("huggingface_hub.file_download")
    logger.addFilter(tell)
    try:
        yield
    finally:
        logger.removeFilter(tell)


def _tell(line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr, flush=True)


def cache_provenance(repository: str, paths: dict[str, Path]) -> Provenance:
    """Provenance of files in the Hub's cache, whose folder is named for the commit they belong to."""
    files = tuple(SourceFile(name, sha256(path)) for name, path in paths.items())
    revisions = {_snapshot_commit(path) for path in paths.values()}
    return Provenance(repository, revisions.pop() if len(revisions) == 1 else None, files)


def verify_download(path: Path, file: HubFile) -> None:
    """Compares a cached file with the hash that the Hub gave for it, where that can be known.

    raises  SourceError if they differ
    """
    blob = path.resolve()
    expected = blob.name if path.is_symlink() else _hash_by_request(file)
    if expected is None:
        return
    if len(expected) == SHA256_DIGITS:
        found = sha256(blob)
    elif len(expected) == GIT_SHA1_DIGITS:
        found = _git_sha1(blob)
    else:
        raise SourceError(
            f"{file}: the Hub gave no hash for it ({expected!r}), so it cannot be trusted: "
            "check that HF_ENDPOINT is a Hub, and proxies on the way to it"
        )
    if found != expected:
        raise SourceError(
            f"{file}: the file in the cache has hash {found[:12]}…, the Hub says {expected[:12]}…: "
            f"delete {_shown(blob)} and run again"
        )


def _hash_by_request(file: HubFile) -> str | None:
    """The Hub's hash where the cache has no links that are named for it; None while the Hub does not answer."""
    if connection.is_off():
        return None
    metadata = patiently(str(file), lambda: _ask(file))
    return "" if metadata is None else metadata.etag or ""


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _snapshot_commit(path: Path) -> str | None:
    """The commit in `…/snapshots/COMMIT/file`."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _shown(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
