"""Files of the Hugging Face Hub: downloaded with retries, kept in the Hub's cache, verified by their hashes.

Each file begins with a request for its headers. If the cache holds the file, there is one request, and the cached copy
is used if no answer comes. Otherwise the request is repeated with growing pauses, and `huggingface_hub` then downloads
the file and resumes an interrupted download by itself. It compares only sizes. So the hash is verified here: the
name of a file's blob in the cache is the Hub's own hash of it (SHA-256 for a large file, git's SHA-1 for a small one),
which finds a damaged download without another request.
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
from typing import IO, Any, TypeVar, cast

from huggingface_hub import (
    HfApi,
    HfFileMetadata,
    HfFileSystem,
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
from sitegen.hub_errors import (
    HUB_FAULTS,
    BrokenTransferError,
    error_reason,
    hub_errors,
    is_temporary,
    requested_pause_s,
)
from sitegen.progress import tell
from sitegen.sources.provenance import Provenance, SourceFile
from sitegen.space import require_free

PAUSES_S = (
    1.0,
    2.0,
    4.0,
    8.0,
)  # between attempts; the error of the attempt after the last pause is raised
SHA256_DIGITS = 64
GIT_SHA1_DIGITS = 40
COMMIT = re.compile(r"[0-9a-f]{40}")
WITHOUT_HUB = "give a file or folder on this machine (there is none of this name)"
LINE_EVERY_S = 4.0  # between two progress lines of a download

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
        """Address that the file is requested from."""
        return hf_hub_url(
            self.repository, self.name, repo_type=self.repo_type, revision=self.revision
        )


@dataclass
class Connection:
    """Whether the Hub still answers. After one request without an answer, cached files are used without asking."""

    is_lost: bool = False

    def is_off(self) -> bool:
        """Whether to use the cache without asking the Hub."""
        return self.is_lost or constants.is_offline_mode()


connection = Connection()


def download(
    repository: str, names: list[str], optional: tuple[str, ...] = ()
) -> tuple[dict[str, Path], Provenance]:
    """Download files of a model repository, or take them from the cache.

    names     of files that have to be there
    optional  names of files that may be absent
    returns   ({file name: path in the cache}, provenance)
    raises    SourceError if the Hub, the repository or a file cannot be reached, or a file's hash is not the Hub's
    """
    paths = {}
    for name in [*names, *optional]:
        file = HubFile(repository, name)
        path = fetch(file, is_optional=True) if name in optional else fetch_required(file)
        if path is not None:
            paths[name] = path
    return paths, cache_provenance(repository, paths)


def cache_folder() -> Path:
    """Folder that downloads are kept in."""
    return Path(constants.HF_HUB_CACHE)


def fetch(file: HubFile, is_optional: bool = False) -> Path | None:
    """Fetch a file, verify its hash and return its path in the cache; None if the repository has no such file.

    is_optional  return None also if the Hub is switched off and the cache has no such file
    raises       SourceError if the file cannot be reached, or its hash is not the Hub's
    """
    with hub_errors(
        str(file),
        "give a file or folder on this machine (there is none of this name, nor a cached copy)",
    ):
        # A path, None if nothing is known of the file, or a marker object for a file that the repository lacks
        cached = try_to_load_from_cache(
            file.repository, file.name, repo_type=file.repo_type, revision=file.revision
        )
        if cached is None and is_optional and constants.is_offline_mode():
            return None
        if cached is None or not _is_current(file, cached):
            path = retry(str(file), lambda: _transfer(file))
        else:
            path = Path(cached) if isinstance(cached, str) else None
        if path is not None:
            verify_download(path, file)
        return path


def is_cached(file: HubFile) -> bool:
    """Tell whether the cache holds a file, without asking the Hub."""
    cached = try_to_load_from_cache(
        file.repository, file.name, repo_type=file.repo_type, revision=file.revision
    )
    return isinstance(cached, str)


def has_file(file: HubFile) -> bool:
    """Tell whether a repository has a file, without downloading it; if the Hub is switched off, whether the cache has.

    raises  SourceError if the repository cannot be reached
    """
    with hub_errors(str(file), WITHOUT_HUB):
        if is_cached(file):
            return True
        return not connection.is_off() and retry(str(file), lambda: _ask(file)) is not None


@contextmanager
def open_remote(file: HubFile) -> Iterator[IO[bytes]]:
    """Open a file of a model repository on the Hub to read parts of it; only these are transferred.

    raises  SourceError if it cannot be reached
    """
    with (
        hub_errors(str(file), WITHOUT_HUB),
        HfFileSystem().open(f"{file.repository}/{file.name}", "rb", block_size=1 << 16) as opened,
    ):
        yield cast(IO[bytes], opened)


def list_files(repository: str) -> list[str]:
    """List the names of all files of a model repository.

    raises  SourceError if it cannot be reached
    """
    with hub_errors(repository, WITHOUT_HUB):
        return retry(repository, lambda: HfApi().list_repo_files(repository))


def fetch_required(file: HubFile) -> Path:
    """Fetch a file, verify its hash and return its path in the cache.

    raises  SourceError as `fetch` does, and if the repository has no such file
    """
    path = fetch(file)
    if path is None:
        raise SourceError(
            f"{file}: the repository has no such file (the Hub answered 404): check its name"
        )
    return path


def retry(what: str, action: Callable[[], T]) -> T:
    """Return the result of an action; repeat it after a pause while its error is temporary.

    Each pause is announced in one line.

    what    name of the requested file, for that line
    raises  the error of the action: at once if it is not temporary, otherwise after the last pause
    """
    for pause in PAUSES_S:
        try:
            return action()
        except (*HUB_FAULTS, BrokenTransferError, OSError) as error:
            if not is_temporary(error):
                raise
            pause_s = max(pause, requested_pause_s(error))
            _print_line(f"{what}: {error_reason(error)}: trying again in {pause_s:g} s")
            time.sleep(pause_s)
    return action()


@contextmanager
def offline_if_lost() -> Iterator[None]:
    """Switch other libraries to offline mode for the block if the Hub has stopped answering.

    They then use the cache at once, instead of waiting for their own requests to time out.
    """
    from datasets import config

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    if connection.is_lost:
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def _is_current(file: HubFile, cached: object) -> bool:
    """Whether the cache agrees with the Hub on a file; assumed where the Hub does not answer.

    cached  the file's path in the cache, or the marker object for a file that the repository lacks
    """
    # The files of a commit never change, so nothing has to be asked about them
    if connection.is_off() or COMMIT.fullmatch(file.revision or ""):
        return True
    try:
        metadata = _ask(file)
    except RevisionNotFoundError:
        raise
    except HUB_FAULTS as error:
        connection.is_lost = is_temporary(error)
        _print_line(f"{file}: {error_reason(error)}: using the copy in the cache")
        return True
    if metadata is None or not isinstance(cached, str):
        return metadata is None and not isinstance(cached, str)
    return metadata.commit_hash == _snapshot_commit(Path(cached))


def _ask(file: HubFile) -> HfFileMetadata | None:
    """Ask the Hub for a file's metadata; None if the repository has no such file."""
    try:
        return get_hf_file_metadata(file.url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError as error:
        is_absent = error.response.status_code == 404
        if is_absent and not isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
            return None
        raise
    except HFValidationError:
        raise
    except ValueError as error:
        raise httpx.InvalidURL(f"the Hub redirects to an invalid address ({error})") from None


def _transfer(file: HubFile) -> Path | None:
    """Try once to download a file to the cache; None if the repository has no such file, which the cache then notes."""
    metadata = _ask(file)
    connection.is_lost = False
    if metadata is not None and not (metadata.etag and metadata.commit_hash):
        raise FileMetadataError
    if metadata is not None and metadata.size:
        alternative = "or set HF_HOME to a folder on another disk"
        blobs = cache_folder() / repo_folder_name(repo_id=file.repository, repo_type=file.repo_type)
        # An interrupted download is resumed, so the part that it left needs no more room
        n_present = sum(
            path.stat().st_size for path in blobs.glob(f"blobs/{metadata.etag}*.incomplete")
        )
        require_free(cache_folder(), metadata.size - n_present, str(file), alternative)
    # Called even if the repository has no such file: it then notes that in the cache
    try:
        with _resumptions_in_one_line(str(file)), written_in(cache_folder()):
            path = hf_hub_download(
                file.repository,
                file.name,
                repo_type=file.repo_type,
                revision=file.revision,
                tqdm_class=None if sys.stderr.isatty() else progress_line_class(str(file)),
            )
        return Path(path)
    except EntryNotFoundError:
        if metadata is None:
            return None
        raise
    except (HfHubHTTPError, FileMetadataError, OfflineModeIsEnabled):
        raise
    # Without an errno it is no fault of this machine's disk: huggingface_hub raises a plain OSError for a wrong size,
    # and the library that transfers large files raises RuntimeError
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join((str(error) or type(error).__name__).splitlines()[0].split())
        raise BrokenTransferError(f"the download is incomplete ({reason[:160]})") from error


def progress_line_class(what: str) -> type[tqdm]:
    """Make a progress bar class that prints a line every four seconds.

    For standard error that is not a terminal, where the usual bars of `huggingface_hub` print nothing.
    """

    class ProgressLine(tqdm):  # type: ignore[misc] # tqdm has no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            line_options = {
                "desc": what,
                "bar_format": "{desc}: {n_fmt}B of {total_fmt}B, {rate_fmt}, {remaining} left",
                "mininterval": LINE_EVERY_S,
                "miniters": 1,
                "leave": False,
            }
            super().__init__(*arguments, **{**options, **line_options})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            # tqdm also displays the bar when it is created and closed; those lines would say nothing
            if msg is None and self.n not in (self.initial, self.total):
                _print_line(str(self))

    return ProgressLine


@contextmanager
def _resumptions_in_one_line(what: str) -> Iterator[None]:
    """Replace the two-line warning that huggingface_hub logs when it resumes a download by one line."""

    def keep_record(record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Error while downloading"):
            return True
        # Without the word it gives up, and raises the same reason as an error
        if "resume" in str(record.msg):
            reason = record.args[-1] if isinstance(record.args, tuple) else ""
            _print_line(f"{what}: the download was interrupted ({reason}): resuming")
        return False

    logger = logging.getLogger("huggingface_hub.file_download")
    logger.addFilter(keep_record)
    try:
        yield
    finally:
        logger.removeFilter(keep_record)


def _print_line(line: str) -> None:
    tell(" ".join(line.split()))


def cache_provenance(repository: str, paths: dict[str, Path]) -> Provenance:
    """Provenance of files in the Hub's cache; the cache's folder is named after the commit that they belong to."""
    files = tuple(SourceFile(name, sha256(path)) for name, path in paths.items())
    revisions = {_snapshot_commit(path) for path in paths.values()}
    return Provenance(repository, revisions.pop() if len(revisions) == 1 else None, files)


def verify_download(path: Path, file: HubFile) -> None:
    """Compare a cached file with the Hub's hash of it; skipped if that hash cannot be obtained.

    raises  SourceError if they differ
    """
    # In the cache a file is a link to a blob that is named after the Hub's hash. Where the file system has no links
    # it is a plain file, and the Hub has to be asked for the hash
    blob = path.resolve()
    expected = blob.name if path.is_symlink() else _request_hash(file)
    if expected is None:
        return
    if len(expected) == SHA256_DIGITS:
        found = sha256(blob)
    elif len(expected) == GIT_SHA1_DIGITS:
        found = _git_sha1(blob)
    else:
        raise SourceError(
            f"{file}: the Hub gave no hash of the file ({expected!r}), so the file cannot be verified: "
            "check that HF_ENDPOINT is the address of a Hub, and the proxy settings"
        )
    if found != expected:
        raise SourceError(
            f"{file}: the file in the cache has hash {found[:12]}…, but the Hub's hash is {expected[:12]}…: "
            f"delete {_abbreviate(blob)} and run the same command again"
        )


def _request_hash(file: HubFile) -> str | None:
    """Ask the Hub for its hash of a file; empty if it has none, None while it does not answer."""
    if connection.is_off():
        return None
    metadata = retry(str(file), lambda: _ask(file))
    return "" if metadata is None else metadata.etag or ""


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _snapshot_commit(path: Path) -> str | None:
    """Commit in a path `…/snapshots/COMMIT/file`; None for another path."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _abbreviate(path: Path) -> str:
    """Write a path in the home folder with `~`."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
