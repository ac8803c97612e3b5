"""Fixtures for tests in a real Chromium. A test fails on any console error and on any request that leaves the site."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.pages import ARGUMENTS, EXECUTABLES

QUIET_ARGUMENTS = [*ARGUMENTS, "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = next((path for path in map(shutil.which, EXECUTABLES) if path), None)
    assert executable, "no Chromium is installed: run `make test`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["file", "http"])
def site(request: pytest.FixtureRequest, tiny_output: Path, tmp_path: Path) -> Iterator[str]:
    """The base URL of the tiny site: from disk, and from a server under a sub-path."""
    if request.param == "file":
        yield f"file://{tiny_output}/site/"
        return
    shutil.copytree(tiny_output / "site", tmp_path / "some/where")
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/some/where/"
        server.shutdown()


@pytest.fixture
def broken_site(tiny_output: Path, tmp_path: Path, missing: str) -> Path:
    """A copy of the tiny site without the file that the test names as `missing`."""
    copy = tmp_path / "site"
    shutil.copytree(tiny_output / "site", copy)
    (copy / missing).unlink()
    return copy


class QuietHandler(SimpleHTTPRequestHandler):
    # As GitHub Pages serves scripts, though some of them are UTF-16
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "application/javascript; charset=utf-8"
    }

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """A function that opens a page of the site; at the end of the test, any error on it fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_(path: str, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: wrong.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((site, "blob:"))  # a worker's script is made by the page
                else wrong.append(request.url)
            ),
        )
        page.goto(site + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []
