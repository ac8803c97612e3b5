"""Faults of the Hub and of the connection to it: which are temporary, and a one-line message for each.

`huggingface_hub` raises the errors of its HTTP library, which has changed before and may change again; it exports
the one in use as `huggingface_hub.utils.httpx`.
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
TEMPORARY_STATUS = (408, 429, 500, 502, 503, 504)
PERMANENT_FAULTS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
LONGEST_PAUSE_S = 300  # the Hub counts requests over five minutes
AGAIN = "run the same command again"


class BrokenTransferError(SourceError):
    """A download that ended without delivering the whole file; the message is the reason."""


def root_error(error: BaseException) -> BaseException:
    """Error of the Hub or the connection that another error was raised from; the given error if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (httpx.HTTPError, OfflineModeIsEnabled, FileMetadataError)):
            return cause
        cause = cause.__cause__
    return error


def is_temporary(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    root = root_error(error)
    if isinstance(root, HfHubHTTPError):
        return root.response.status_code in TEMPORARY_STATUS
    return isinstance(root, (httpx.TransportError, httpx.DecodingError, BrokenTransferError)) and (
        not isinstance(root, PERMANENT_FAULTS)
    )


def requested_pause_s(error: BaseException) -> float:
    """Seconds that the Hub asks clients to wait before the next request, at most 300; 0 if it does not ask."""
    root = root_error(error)
    if not isinstance(root, HfHubHTTPError):
        return 0
    limit = parse_ratelimit_headers(root.response.headers)
    if limit is not None and limit.remaining == 0:
        return min(limit.reset_in_seconds + 1, LONGEST_PAUSE_S)
    wait = root.response.headers.get("Retry-After", "")
    return min(int(wait), LONGEST_PAUSE_S) if wait.isdigit() else 0


def error_reason(error: BaseException) -> str:
    """Reason of an error, without the remedy."""
    return _explain(root_error(error))[0]


@contextmanager
def hub_errors(what: str, without_hub: str = "") -> Iterator[None]:
    """Turn the Hub client's errors into a SourceError of one line: what was requested, the reason and the remedy.

    what         name of the requested file or repository
    without_hub  alternative remedy, added if the Hub cannot be reached
    raises       SourceError for an error of the client; other errors as they are
    """
    try:
        yield
    except BrokenTransferError as error:
        raise SourceError(
            f"{what}: {error}: {AGAIN}; if the error remains, the file on the Hub or a proxy is at fault"
        ) from None
    # Not only the client's own classes: other libraries raise their own errors from one of the client's
    except Exception as error:
        root = root_error(error)
        if not isinstance(root, HUB_ERRORS):
            raise
        reason, remedy = _explain(root)
        alternative = f", or {without_hub}" if without_hub and isinstance(root, UNREACHED) else ""
        raise SourceError(f"{what}: {reason}: {remedy}{alternative}") from None


def _explain(error: BaseException) -> tuple[str, str]:
    """(reason, remedy) of an error. The order matters: some classes are derived from ones that come later."""
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error)
    if isinstance(error, httpx.TransportError):
        return _explain_connection(error)
    if isinstance(error, httpx.TooManyRedirects):
        return "the Hub redirects in a circle", "check HF_ENDPOINT and the proxy settings"
    if isinstance(error, FileMetadataError):
        return (
            "the Hub's answer lacks the file's hash or commit, so the file cannot be verified",
            "check that HF_ENDPOINT is the address of a Hub, and the proxy settings",
        )
    if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        return (
            "it is neither on this machine nor in the local cache, and downloads are switched off",
            "unset HF_HUB_OFFLINE, or give local files",
        )
    if isinstance(error, HFValidationError):
        return (
            "it is neither a file or folder on this machine nor a valid repository name",
            "give one of them",
        )
    if isinstance(error, EntryNotFoundError):
        return "the repository has no such file", "check its name"
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return reason, "check HF_ENDPOINT and the proxy settings"


def _explain_answer(error: HfHubHTTPError) -> tuple[str, str]:
    """(reason, remedy) of an error status that the Hub answered with."""
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
        return f"the repository has no such revision {answered}", "set another revision"
    if isinstance(error, DisabledRepoError):
        return f"the Hub has disabled this repository {answered}", "give another repository"
    explanations = {
        401: ("the Hub asks for a login", "log in (`hf auth login`), or correct HF_TOKEN"),
        403: (
            "this account has no access on the Hub",
            "ask the owner for access, or log in with another account (`hf auth login`)",
        ),
        404: ("the repository has no such file", "check its name"),
        429: (
            "the Hub has received too many requests from this machine or account",
            f"wait some minutes or log in (`hf auth login`), then {AGAIN}",
        ),
    }
    if status in explanations:
        reason, remedy = explanations[status]
        return f"{reason} {answered}", remedy
    if status in TEMPORARY_STATUS or status >= 500:
        return f"the Hub is out of order {answered}", f"wait some minutes, then {AGAIN}"
    return f"the Hub refuses the request {answered}", "check HF_ENDPOINT and the proxy settings"


def _page(error: RepositoryNotFoundError) -> str:
    """Path of a repository's page on the Hub."""
    kind = "" if error.repo_type in (None, "model") else f"{error.repo_type}s/"
    return f"{kind}{error.repo_id or ''}"


def _explain_connection(error: httpx.TransportError) -> tuple[str, str]:
    """(reason, remedy) of a connection that failed."""
    host = _host(error)
    if isinstance(error, UNREACHED):
        return (
            f"{host} cannot be reached",
            "check the connection",
        )
    remedy = f"check the connection, then {AGAIN}"
    if isinstance(error, httpx.TimeoutException):
        return (
            f"{host} stopped sending",
            f"{remedy}; to wait longer, set HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT (seconds)",
        )
    return f"the connection to {host} broke", remedy


def _host(error: httpx.RequestError) -> str:
    """Scheme, host and port of the request."""
    try:
        url = error.request.url
    except RuntimeError:
        # httpx raises this for an error that occurred before there was a request
        return f"the Hub at {constants.ENDPOINT}"
    return f"{url.scheme}://{url.netloc.decode()}"
