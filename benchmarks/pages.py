"""How fast a browser handles a site of all features: opened from disk, searched, sorted and filtered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

EXECUTABLES = ("chromium-headless-shell", "chromium", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
READY = "#feature-list [data-ready]"
N_OPENED = 5
WATCH = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({type: 'longtask', buffered: true});
"""


def measure_pages(out: Path) -> dict[str, Any]:
    """Run `pages_in` in a new browser."""
    with chromium() as browser:
        return pages_in(browser, out)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser like that of the tests."""
    executable = next(path for path in map(shutil.which, EXECUTABLES) if path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


def pages_in(browser: Browser, out: Path) -> dict[str, Any]:
    """Milliseconds until pages can be used, and the longest time for which a page did not respond.

    A task of less than 50 ms is not reported by the browser and counts as 0.
    """
    index = (out / "site/index.html").as_uri()
    opened = [_opened(browser, index) for _ in range(N_OPENED)]
    return {
        "index_ready_ms": median(ready for ready, _ in opened),
        "index_longest_task_ms": median(longest for _, longest in opened),
        **_used(browser, index),
        "search_ms": _searched(browser, (out / "site/about.html").as_uri()),
    }


def open_watched(browser: Browser, url: str) -> Page:
    """A page of a laptop's size that records its longest task."""
    page = browser.new_page(viewport={"width": 1366, "height": 820})
    page.add_init_script(WATCH)
    page.goto(url)
    return page


def _opened(browser: Browser, url: str) -> tuple[float, float]:
    """Milliseconds from the start of the navigation until the list responds, and the longest task until then."""
    page = open_watched(browser, url)
    page.wait_for_selector(READY)
    ready = float(page.evaluate("performance.now()"))
    page.wait_for_timeout(300)
    longest = float(page.evaluate("window.longest"))
    page.close()
    return ready, longest


def _used(browser: Browser, url: str) -> dict[str, float]:
    """The longest task while sorting by each column, filtering while typing, and scrolling to the end."""
    page = open_watched(browser, url)
    page.wait_for_selector(READY)
    longest = {}
    for name in ("sort", "filter", "scroll"):
        page.wait_for_timeout(300)
        page.evaluate("window.longest = 0")
        if name == "sort":
            for button in page.locator(".live thead button").all():
                if button.is_visible():
                    button.click()
        elif name == "filter":
            page.get_by_label("Filter by token, label or word").press_sequentially("the", delay=60)
        else:
            for _ in range(20):
                page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(500)
        longest[f"{name}_longest_task_ms"] = float(page.evaluate("window.longest"))
    page.close()
    return longest


def _searched(browser: Browser, url: str) -> float:
    """Milliseconds from the first letter in the search field of a new page until a result is listed."""
    page = open_watched(browser, url)
    field = page.get_by_role("combobox", name="Search")
    field.focus()
    started = float(page.evaluate("performance.now()"))
    field.press_sequentially("th")
    page.get_by_role("option").first.wait_for()
    taken = float(page.evaluate("performance.now()")) - started
    page.close()
    return taken
