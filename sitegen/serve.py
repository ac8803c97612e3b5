"""A local preview of a site, on the loopback address alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from sitegen.errors import UsageError
from sitegen.output import OutputFolder

LOOPBACK = "127.0.0.1"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a line for each request would bury the address."""


def serve_site(output: OutputFolder, port: int, say: Callable[[str], None]) -> None:
    """Serves `site/` until interrupted; `say` is told the address.

    raises  OutputError if there is no site, UsageError if the port cannot be had
    """
    output.require_site()
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: give a number from 0 to 65535")
    try:
        server = ThreadingHTTPServer(
            (LOOPBACK, port), partial(_QuietHandler, directory=str(output.site))
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"--port {port} cannot be had ({reason}): give another one, or 0 for any"
        ) from None
    with server:
        say(
            f"serving {output.site} at http://{LOOPBACK}:{server.server_address[1]}/ (stop with Ctrl-C)"
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")
