"""The benchmarks of pages run; their results are not judged here."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.live import live_in
from benchmarks.pages import pages_in

pytestmark = pytest.mark.browser


def test_page_measurements_run(browser: Browser, tiny_output: Path) -> None:
    found = pages_in(browser, tiny_output)
    assert found["index_ready_ms"] > 0
    assert found["search_ms"] > 0
    assert {name for name in found if name.endswith("longest_task_ms")} == {
        f"{what}_longest_task_ms" for what in ("index", "sort", "filter", "scroll")
    }


def test_measurements_of_the_model_in_the_page_run(browser: Browser, demo_output: Path) -> None:
    found = live_in(browser, demo_output)
    assert found["n_tokens"] == 40
    assert 0 < found["first_use_bytes"] < found["export_bytes"]
    assert all(found[name] > 0 for name in found if name.endswith("_ms"))
