"""Accessibility of every kind of page in both colour schemes (axe-core), and validity of its markup (html-validate)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
MODULES = REPOSITORY / "node_modules"
PAGES = {
    "index.html": "#feature-list [data-ready]",
    "index.html?q=the": "#feature-list [data-ready]",
    "about.html": "main",
    "404.html": "main",
    "overview.html": "#feature-map[data-ready]",
    "active.html": "#active[data-ready]",
    "active.html?#text=The%20men%20cried%20out": "#active[data-ran]",
    "features/6.html?#text=The%20men%20cried%20out": ".try[data-ran]",
    "lists/ordinary.html": "main",
    "token.html?id=262": "#token[data-ready]",
    "features/5.html": "button.location",
    "features/7.html": "main",
}
PARTS = {
    "preload": False,
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}


def _violations(page: Page) -> list[str]:
    page.evaluate((MODULES / "axe-core/axe.min.js").read_text())
    found = page.evaluate("options => axe.run(document, options)", PARTS)
    return [
        f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
)
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_accessibility_problems(
    open_page: OpenPage, path: str, scheme: str, width: int
) -> None:
    page = open_page(path, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.wait_for_selector(PAGES[path])
    assert _violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_accessibility_problems_in_opened_parts(
    open_page: OpenPage, scheme: str
) -> None:
    page = open_page("features/5.html", color_scheme=scheme)
    page.locator("button.location").first.click()
    page.locator(".whole-row").wait_for()
    page.locator(".contexts mark").first.focus()
    page.locator(".token-card .identity").wait_for()
    assert _violations(page) == []
    page.keyboard.press("/")
    page.keyboard.type("th")
    page.get_by_role("option").first.wait_for()
    assert _violations(page) == []
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    assert _violations(page) == []


def test_axe_reports_a_planted_problem(open_page: OpenPage) -> None:
    page = open_page("about.html")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any(violation.startswith("button-name") for violation in _violations(page))


def test_markup_of_every_kind_of_page_is_valid(tiny_output: Path) -> None:
    site = tiny_output / "site"
    names = sorted({path.split("?")[0] for path in PAGES} | {"features/0.html", "index.html"})
    result = subprocess.run(
        [
            "node",
            MODULES / "html-validate/bin/html-validate.mjs",
            "--config",
            REPOSITORY / "tests/browser/html-validate.json",
            "--formatter",
            "json",
            *(site / name for name in names),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [
        f"{Path(report['filePath']).name}:{message['line']} {message['ruleId']}: {message['message']}"
        for report in json.loads(result.stdout)
        for message in report["messages"]
    ]
    assert found == []
