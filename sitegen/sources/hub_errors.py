"""What the Hub, or the way to it, can get wrong: which faults pass, and how each is told in one line.

`huggingface_hub` raises the errors of its HTTP library, which was another one before and may be again; it exports
whichever it uses as `huggingface_hub.utils.httpx`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined] # exported when asked for
    httpx,
    parse_ratelimit_headers,
)

from sitegen.errors import SourceError

HUB_FAULTS = (httpx.HTTPError, httpx.InvalidURL, EntryNotFoundError, OfflineModeIsEnabled)
HUB_ERRORS = (*HUB_FAULTS, FileMetadataError, HFValidationError)
UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
PASSING_STATUS = (408, 429, 500, 502, 503, 504)
LASTING_FAULTS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
LONGEST_PAUSE_S = 300  # the Hub counts requests over five minutes
AGAIN = "run the same command again"


class BrokenTransferError(SourceError):
    """A download that came to its end, but not whole; the message is the reason."""


def root_of(error: BaseException) -> BaseException:
    """The error of the Hub or the connection that another one was raised from; that itself if there is none."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, (httpx.HTTPError, OfflineModeIsEnabled, FileMetadataError)):
            return found
        found = found.__cause__
    return error


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        return root.response.status_code in PASSING_STATUS
    return isinstance(root, (httpx.TransportError, httpx.DecodingError, BrokenTransferError)) and (
        not isinstance(root, LASTING_FAULTS)
    )


def pause_asked_for(error: BaseException) -> float:
    """Seconds that the Hub asks to be left alone; 0 if it does not say."""
    root = root_of(error)
    if not isinstance(root, HfHubHTTPError):
        return 0
    limit = parse_ratelimit_headers(root.response.headers)
    if limit is not None and limit.remaining == 0:
        return min(limit.reset_in_seconds + 1, LONGEST_PAUSE_S)
    wait = root.response.headers.get("Retry-After", "")
    return min(int(wait), LONGEST_PAUSE_S) if wait.isdigit() else 0


def reason_of(error: BaseException) -> str:
    """What went wrong, without what to do about it."""
    return _told(root_of(error))[0]


@contextmanager
def hub_errors(what: str, without_hub: str = "") -> Iterator[None]:
    """Turns the client's errors into one line that names what was asked for, the reason and the remedy.

    without_hub  another remedy, for a Hub that cannot be reached
    """
    try:
        yield
    except BrokenTransferError as error:
        raise SourceError(
            f"{what}: {error}: {AGAIN}; if it stays so, the Hub's file or a proxy on the way to it is at fault"
        ) from None
    except Exception as error:  # also another library's, raised from one of the client's
        root = root_of(error)
        if not isinstance(root, HUB_ERRORS):
            raise
        reason, remedy = _told(root)
        other = f", or {without_hub}" if without_hub and isinstance(root, UNREACHED) else ""
        raise SourceError(f"{what}: {reason}: {remedy}{other}") from None


def _told(error: BaseException) -> tuple[str, str]:
    """(what went wrong, what to do about it)."""
    if isinstance(error, HfHubHTTPError):
        return _answer_told(error)
    if isinstance(error, httpx.TransportError):
        return _connection_told(error)
    if isinstance(error, httpx.TooManyRedirects):
        return "the Hub redirects in a circle", "check HF_ENDPOINT and proxies"
    if isinstance(error, FileMetadataError):
        return (
            "the Hub's answer lacks the file's hash or commit, so it cannot be trusted",
            "check that HF_ENDPOINT is a Hub, and proxies on the way to it",
        )
    if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        return (
            "neither a file or folder here nor in the local cache, and the Hub is switched off",
            "unset HF_HUB_OFFLINE, or give local files",
        )
    if isinstance(error, HFValidationError):
        return "neither a file or folder here nor a valid repository name", "give one of them"
    if isinstance(error, EntryNotFoundError):
        return "the repository has no such file", "check its name"
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return reason, "check HF_ENDPOINT and proxies"


def _answer_told(error: HfHubHTTPError) -> tuple[str, str]:
    """What the Hub's own refusal means."""
    status = error.response.status_code
    answered = f"(the Hub answered {status})"
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{_page(error)}"
        return (
            f"the repository is gated {answered}",
            f"accept its terms at {page}, and log in (`hf auth login`)",
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"no such repository on the Hub, or it needs a login {answered}",
            "check its name, or log in (`hf auth login`)",
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no such revision {answered}", "set another"
    if isinstance(error, DisabledRepoError):
        return f"the Hub has shut this repository {answered}", "give another"
    refusals = {
        401: ("the Hub asks for a login", "log in (`hf auth login`), or correct HF_TOKEN"),
        403: (
            "the Hub does not allow it to this account",
            "ask its owner for access, or log in as another (`hf auth login`)",
        ),
        404: ("the repository has no such file", "check its name"),
        429: (
            "the Hub has had too many requests from here",
            f"wait some minutes or log in (`hf auth login`), then {AGAIN}",
        ),
    }
    if status in refusals:
        reason, remedy = refusals[status]
        return f"{reason} {answered}", remedy
    if status in PASSING_STATUS or status >= 500:
        return f"the Hub is out of order {answered}", f"wait some minutes, then {AGAIN}"
    return f"the Hub refuses it {answered}", "check HF_ENDPOINT and proxies"


def _page(error: RepositoryNotFoundError) -> str:
    """The path of a repository's page."""
    kind = "" if error.repo_type in (None, "model") else f"{error.repo_type}s/"
    return f"{kind}{error.repo_id or ''}"


def _connection_told(error: httpx.TransportError) -> tuple[str, str]:
    """What became of the connection, and to which host."""
    host = _host(error)
    if isinstance(error, UNREACHED):
        return (
            f"{host} cannot be reached",
            "check the connection",
        )
    again = f"check the connection, then {AGAIN}"
    if isinstance(error, httpx.TimeoutException):
        return (
            f"{host} stopped sending",
            f"{again}; HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT give it more seconds",
        )
    return f"the connection to {host} broke", again


def _host(error: httpx.RequestError) -> str:
    """Scheme, host and port that were asked."""
    try:
        url = error.request.url
    except RuntimeError:  # an error that was raised before there was a request
        return f"the Hub at {constants.ENDPOINT}"
    return f"{url.scheme}://{url.netloc.decode()}"
