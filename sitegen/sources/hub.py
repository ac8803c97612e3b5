"""Files of the Hugging Face Hub, with their hashes checked and failures told in one line.

`huggingface_hub` compares sizes alone. The Hub's own hash of a file is the name of its blob in the cache: SHA-256 of
a large file, git's SHA-1 of a small one, so a damaged download is found without another request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sitegen.errors import SourceError
from sitegen.files import CHUNK_BYTES, sha256, written_in
from sitegen.sources.provenance import Provenance, SourceFile

SHA256_DIGITS = 64
GIT_SHA1_DIGITS = 40


def download(
    repository: str, names: list[str], optional: tuple[str, ...] = ()
) -> tuple[dict[str, Path], Provenance]:
    """({file name: path in the cache}, provenance) of files of a model repository; `optional` ones may be absent.

    raises  SourceError if the Hub, the repository or a file cannot be reached, or a file's hash is not the Hub's
    """
    paths = {}
    for name in [*names, *optional]:
        with hub_errors(f"{repository}/{name}"):
            try:
                paths[name] = Path(hf_hub_download(repository, name))
            except (EntryNotFoundError, LocalEntryNotFoundError):
                if name in optional:
                    continue
                raise
            verify_download(paths[name], repository, name)
    return paths, cache_provenance(repository, paths)


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(constants.HF_HUB_CACHE)


def cache_provenance(repository: str, paths: dict[str, Path]) -> Provenance:
    """Provenance of files in the Hub's cache, whose folder is named for the commit they belong to."""
    files = tuple(SourceFile(name, sha256(path)) for name, path in paths.items())
    revisions = {_snapshot_commit(path) for path in paths.values()}
    return Provenance(repository, revisions.pop() if len(revisions) == 1 else None, files)


def verify_download(path: Path, repository: str, name: str, repo_type: str = "model") -> None:
    """Compares a cached file with the hash that the Hub gave for it.

    raises  SourceError if they differ
    """
    blob = path.resolve()
    expected = blob.name if path.is_symlink() else _hash_by_request(repository, name, repo_type)
    if len(expected) == SHA256_DIGITS:
        found = sha256(blob)
    elif len(expected) == GIT_SHA1_DIGITS:
        found = _git_sha1(blob)
    else:
        raise SourceError(
            f"{repository}/{name}: the Hub gave no hash for it ({expected!r}), so it cannot be trusted"
        )
    if found != expected:
        raise SourceError(
            f"{repository}/{name}: the file in the cache has hash {found[:12]}…, the Hub says {expected[:12]}…; "
            f"delete {_shown(blob)} and run again"
        )


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turns the client's errors into one line that names what was asked for and the remedy.

    raises  SourceError, and OSError with the cache's folder where that is full
    """
    try:
        with written_in(cache_folder()):
            yield
    except RepositoryNotFoundError:
        raise SourceError(
            f"{what}: no such repository on the Hub, or it needs a login (`hf auth login`)"
        ) from None
    except RevisionNotFoundError:
        raise SourceError(f"{what}: the repository has no such revision") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.TransportError):
        raise SourceError(
            f"{what}: neither a file or folder here nor in the local cache, "
            f"and the Hub at {constants.ENDPOINT} cannot be reached; "
            "check the connection and HF_HUB_OFFLINE, or give local files"
        ) from None
    except EntryNotFoundError:
        raise SourceError(f"{what}: the repository has no such file") from None
    except HFValidationError:
        raise SourceError(
            f"{what}: neither a file or folder here nor a valid repository name"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = "log in (`hf auth login`)" if status in (401, 403) else "try again later"
        raise SourceError(f"{what}: the Hub answered {status}; {remedy}") from None


def _hash_by_request(repository: str, name: str, repo_type: str) -> str:
    """The Hub's hash where the cache has no links that are named for it."""
    url = hf_hub_url(repository, name, repo_type=repo_type)
    return (get_hf_file_metadata(url).etag or "").strip('"')


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
