"""A web server for a local preview of a site, on the loopback address only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from sitegen.errors import UsageError
from sitegen.output import OutputFolder

LOOPBACK = "127.0.0.1"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a line for each request would scroll the address out of sight."""


def serve_site(output: OutputFolder, port: int, say: Callable[[str], None]) -> None:
    """Serve `site/` until interrupted.

    say     prints a line, such as the address
    raises  OutputError if there is no site, UsageError if the port cannot be used
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
            f"--port {port} cannot be used ({reason}): give another port, or 0 for any free one"
        ) from None
    with server:
        say(
            f"serving {output.site} at http://{LOOPBACK}:{server.server_address[1]}/ (stop with Ctrl-C)"
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")
