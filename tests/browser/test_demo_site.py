"""The demo's site in a browser, as readers see it: from disk and from a server under a sub-path."""

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
    """The demo's output in place of the tiny one, for the fixtures that serve a site."""
    return demo_output


def test_a_reader_finds_opens_and_leaves_a_feature_of_the_demo(
    open_page: OpenPage, tiny_output: Path
) -> None:
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
    page.locator(".live thead").get_by_role("button", name="Max activation").click()
    page.locator(".live tbody th a").first.click()
    page.wait_for_url("**/features/*.html")
    feature = int(page.url.split("/")[-1].removesuffix(".html"))
    record = json.loads((tiny_output / f"data/features/{feature:05d}.json").read_text())
    for mark in page.locator(".contexts-column .contexts mark").all()[:3]:
        mark.hover()
        expect(page.locator(".token-card")).to_contain_text("Promoted here")
    place = page.locator("button.location").first
    context = record["contexts"][0]
    expect(place).to_have_text(f"{context['row']}/{context['position']}")
    place.click()
    expect(page.locator(".whole-row")).to_be_visible()
    page.locator(".effects a").first.click()
    page.wait_for_selector("#token[data-ready]")
    promoting = page.locator("section", has=page.get_by_role("heading", name="Promote this token"))
    expect(promoting.get_by_role("link", name=str(feature), exact=True)).to_be_visible()


def test_every_context_of_some_features_splits_into_its_tokens(
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


def test_keys_move_through_the_features(open_page: OpenPage) -> None:
    page = open_page("features/1000.html")
    for key, url in (("j", "1001"), ("k", "1000"), ("k", "999")):
        page.keyboard.press(key)
        page.wait_for_url(f"**/features/{url}.html")
    page.evaluate("() => { Math.random = () => 0; }")  # the first feature, not that of a later step
    page.keyboard.press("r")
    page.wait_for_url("**/features/0.html")
    page.keyboard.press("g")
    page.keyboard.type("4095")
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/4095.html")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("2000")
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/2000.html")


def test_labels_are_written_filtered_exported_and_imported(open_page: OpenPage) -> None:
    page = open_page("features/7.html")
    page.keyboard.press("s")
    page.keyboard.press("l")
    page.keyboard.type("a label of mine")
    page.keyboard.press("Enter")
    page.goto(page.url.replace("features/7.html", "index.html?q=label of mine"))
    expect(page.locator(".status")).to_have_text("1 of 4,096 features")
    expect(page.locator(".live tbody")).to_contain_text("a label of mine")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export labels").click()
    elsewhere = open_page("index.html?starred=1")  # another reader's browser
    expect(elsewhere.locator(".status")).to_have_text("0 of 4,096 features")
    elsewhere.get_by_label("Labels file").set_input_files(download.value.path())
    expect(elsewhere.locator(".status")).to_have_text("1 of 4,096 features")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_text_can_be_tried_in_both_colour_schemes(open_page: OpenPage, scheme: str) -> None:
    page = open_page("features/1000.html", color_scheme=scheme)
    page.locator("button.location").first.click()
    page.get_by_role("button", name="Try this").click()
    expect(page.locator(".try .own-text button[style]").first).to_be_visible()
    page.get_by_role("link", name="All features active on this text").click()
    page.wait_for_selector("#active[data-ran]")
    found = page.locator("#active section").nth(1).get_by_role("link", name="1000", exact=True)
    expect(found).to_be_visible()


def test_everything_can_be_read_without_scripts(open_page: OpenPage) -> None:
    page = open_page("index.html", java_script_enabled=False)
    expect(page.get_by_role("rowheader")).to_have_count(256)
    page.get_by_role("link", name="16", exact=True).first.click()
    page.get_by_role("link", name="4095", exact=True).click()
    page.wait_for_url("**/features/4095.html")
    expect(page.locator(".contexts mark").first).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Map of all features")).to_be_visible()
