"""The demo's own site, as a reader meets it: from disk and from a server under a sub-path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def tiny_output(demo_output: Path) -> Path:
    """The demo in the place of the tiny subject, for the fixtures that serve a site."""
    return demo_output


def test_the_demo_is_found_read_and_left(open_page: OpenPage, tiny_output: Path) -> None:
    page = open_page("index.html")
    page.wait_for_selector("#feature-list [data-ready]")
    expect(page.locator(".status")).to_have_text("4,096 features")
    page.get_by_role("combobox", name="Search").fill("congress")
    last = page.locator("#found li").last
    expect(last).to_contain_text("show the list")
    n_found = int(str(last.inner_text()).split()[0].replace(",", ""))
    assert n_found > 10
    last.click()
    expect(page.locator(".status")).to_have_text(f"{n_found:,} of 4,096 features")
    page.locator(".live thead").get_by_role("button", name="Maximum").click()
    page.locator(".live tbody th a").first.click()
    page.wait_for_url("**/features/*.html")
    feature = int(page.url.split("/")[-1].removesuffix(".html"))
    record = json.loads((tiny_output / f"data/features/{feature:05d}.json").read_text())
    for mark in page.locator(".contexts-column .contexts mark").all()[:3]:
        mark.hover()
        expect(page.locator(".token-card")).to_contain_text("Promoted here")
    place = page.locator("button.place").first
    context = record["contexts"][0]
    expect(place).to_have_text(f"{context['row']}/{context['position']}")
    place.click()
    expect(page.locator(".whole-row")).to_be_visible()
    page.locator(".effects a").first.click()
    page.wait_for_selector("#token[data-ready]")
    promoting = page.locator("section", has=page.get_by_role("heading", name="Promotes it"))
    expect(promoting.get_by_role("link", name=str(feature), exact=True)).to_be_visible()


def test_every_line_of_some_features_splits_into_its_tokens(
    open_page: OpenPage, tiny_output: Path
) -> None:
    for feature in (0, 1000, 4095):
        record = json.loads((tiny_output / f"data/features/{feature:05d}.json").read_text())
        page = open_page(f"features/{feature}.html")
        lines = page.locator(".contexts-column .contexts > li > p")
        for i in range(lines.count()):
            lines.nth(i).hover()
            lines.nth(i).locator("[data-at]").first.wait_for()
            at = lines.nth(i).locator("[data-at]").evaluate_all("t => t.map(e => +e.dataset.at)")
            assert at[0] == 0
            assert at == sorted(at)
            assert at[-1] < len(record["contexts"][i]["tokens"])
