"""The benchmark of pages still runs; what it measures is not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.pages import pages_in

pytestmark = pytest.mark.browser


def test_pages_are_measured(browser: Browser, tiny_output: Path) -> None:
    found = pages_in(browser, tiny_output)
    assert found["index_ready_ms"] > 0
    assert found["search_ms"] > 0
    assert {name for name in found if name.endswith("longest_task_ms")} == {
        f"{what}_longest_task_ms" for what in ("index", "sort", "filter", "scroll")
    }
