"""Browsers without DecompressionStream: pages say what is missing, and everything else on them can be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
REASON = "this browser cannot decompress the site's data"


@pytest.fixture
def open_without(open_page: OpenPage) -> OpenPage:
    """A function that opens a page in a browser that cannot decompress."""

    def open_(path: str) -> Page:
        page = open_page("404.html")
        page.add_init_script("delete window.DecompressionStream")
        page.goto(page.url.replace("404.html", path))
        assert page.evaluate("typeof DecompressionStream") == "undefined"
        return page

    return open_


def test_a_feature_page_says_why_details_are_missing(open_without: OpenPage) -> None:
    page = open_without("features/5.html")
    page.locator(".contexts mark").first.hover()
    card = page.locator(".token-card")
    expect(card).to_contain_text(f"Details are not available: {REASON}")
    expect(card).to_contain_text("Chrome 80, Firefox 113, Safari 16.4 and later")
    page.locator("button.location").first.click()
    expect(page.locator(".row-panel")).to_contain_text(f"The row cannot be shown: {REASON}")
    page.get_by_role("textbox", name="Your own text").focus()
    expect(page.locator(".try")).to_contain_text(f"The model cannot run: {REASON}")
    expect(page.locator(".contexts-column .contexts p").first).to_be_visible()


def test_the_index_says_why_it_cannot_be_sorted_and_lists_all_features(
    open_without: OpenPage,
) -> None:
    page = open_without("index.html")
    expect(page.locator("#feature-list [role=status]")).to_contain_text(
        f"The list cannot be sorted or filtered: {REASON}"
    )
    expect(page.get_by_role("rowheader")).to_have_count(93)
    page.get_by_role("combobox", name="Search").fill("whale")
    expect(page.get_by_role("option")).to_contain_text(f"The search failed: {REASON}")


def test_a_token_page_says_why_it_is_empty(open_without: OpenPage) -> None:
    page = open_without("token.html?id=7")
    expect(page.locator("#token")).to_contain_text(
        f"The features of this token cannot be shown: {REASON}"
    )
