"""A feature's page: tokens, rows, links to a context, a reader's own labels, keys; from disk and from a server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from sitegen.render.text import visible
from sitegen.store import read_vocab

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
FEATURE = 5


@pytest.fixture(scope="module")
def vocab(tiny_output: Path) -> list[str]:
    return [visible(token) for token in read_vocab(tiny_output / "data")]


@pytest.fixture(scope="module")
def record(tiny_output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (tiny_output / f"data/features/{FEATURE:05d}.json").read_text()
    )
    return found


def _line(page: Page, i: int) -> Locator:
    return page.locator(".contexts-column .contexts > li").nth(i)


def test_an_inactive_token_looks_different(
    open_page: OpenPage, record: dict[str, Any], vocab: list[str]
) -> None:
    context = record["contexts"][0]
    at = next(i for i, value in enumerate(context["activations"]) if not value)
    page = open_page(f"features/{FEATURE}.html")
    line = _line(page, 0).locator(":scope > p")
    before = line.inner_text()
    line.hover()
    token = line.locator(f'[data-at="{at}"]')
    token.wait_for()
    assert line.inner_text() == before
    assert line.locator("[data-at]").count() == len(context["tokens"])
    token.hover()
    card = page.locator(".token-card")
    place = context["start"] + at
    expect(card).to_contain_text(f"token {context['tokens'][at]} at position {place}")
    expect(card).to_contain_text("activation 0")
    expect(card.locator("code").first).to_have_text(vocab[context["tokens"][at]].replace(" ", "·"))


def test_a_context_opens_to_its_whole_row(
    open_page: OpenPage, tiny_output: Path, record: dict[str, Any], vocab: list[str]
) -> None:
    rows: dict[int, list[int]] = {}
    for path in (tiny_output / "data/rows").glob("*.json"):
        kept = json.loads(path.read_text())
        rows |= dict(zip(kept["row"], kept["tokens"], strict=True))
    top = [context for context in record["contexts"] if context["group"] == "top"]
    i, context = next(
        (i, context)
        for i, context in enumerate(top)
        if not any(vocab[token].startswith("⟨") for token in rows[context["row"]])
    )
    row, position = context["row"], context["position"]
    page = open_page(f"features/{FEATURE}.html")
    button = _line(page, i).get_by_role("button", name=f"{row}/{position}")
    button.click()
    whole = _line(page, i).locator(".whole-row")
    expect(whole).to_be_visible()
    plain = [vocab[token] for token in rows[row]]
    assert whole.text_content() == "".join(plain)
    assert whole.locator("mark").text_content() == plain[position]
    line = "".join(plain[max(position - 5, 0) : position])
    line += f"|{plain[position]}|" + "".join(plain[position + 1 : position + 2])
    assert _line(page, i).get_by_role("button", name="Copy line").get_attribute("title") == line
    button.click()
    assert whole.count() == 0
    assert button.get_attribute("aria-expanded") == "false"


def test_a_context_can_be_copied(open_page: OpenPage, record: dict[str, Any]) -> None:
    page = open_page(f"features/{FEATURE}.html")
    _line(page, 0).locator("button.location").click()
    copy = _line(page, 0).get_by_role("button", name="Copy line")
    line = copy.get_attribute("title")
    page.evaluate(
        """() => {
          Object.defineProperty(navigator, 'clipboard', {value: undefined});
          document.execCommand = () => { window.copied = document.activeElement.value; return true; };
        }"""
    )
    copy.click()
    expect(_line(page, 0).get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("window.copied") == line


def test_a_link_leads_to_its_context(open_page: OpenPage, record: dict[str, Any]) -> None:
    context = record["contexts"][-1]
    place = f"{context['row']}/{context['position']}"
    page = open_page(f"features/{FEATURE}.html#{place}")
    line = page.locator("li[aria-current]")
    expect(line.locator(".whole-row")).to_be_visible()
    expect(line).to_be_in_viewport()
    link = line.get_by_role("button", name="Copy link").get_attribute("title")
    assert str(link).endswith(f"features/{FEATURE}.html#{place}")


def test_a_missing_row_is_reported(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html")
    missing = "() => Promise.reject(new Error('load/rows/1.js cannot be read'))"
    page.evaluate(f"() => {{ sitegen.load = {missing}; }}")
    _line(page, 1).locator("button.location").click()
    expect(_line(page, 1)).to_contain_text("The row cannot be shown: load/rows/1.js cannot be read")


def test_stars_and_labels_are_kept_listed_exported_and_imported(
    open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.get_by_role("button", name="Star").click()
    page.get_by_role("textbox", name="Your label").fill('ends "of" <lines>')
    page.get_by_role("link", name="Features", exact=True).click()
    page.wait_for_selector("#feature-list [data-ready]")
    row = page.locator(".live tbody tr", has=page.get_by_role("link", name="5", exact=True))
    expect(row).to_contain_text('ends "of" <lines>')
    page.get_by_label("starred").check()
    expect(page.locator(".live tbody tr[aria-rowindex]")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export labels").click()
    path = tmp_path / "labels.json"
    download.value.save_as(path)
    kept = json.loads(path.read_text())["labels"]
    assert kept == [
        {"feature": FEATURE, "label": 'ends "of" <lines>', "author": "me", "starred": True}
    ]
    other = open_page("index.html")
    other.wait_for_selector("#feature-list [data-ready]")
    other.get_by_label("Labels file").set_input_files(path)
    expect(other.locator(".exchange")).to_contain_text("Imported: 1.")
    other.get_by_label("labelled").check()
    expect(other.locator(".live tbody tr[aria-rowindex]")).to_have_count(1)


def test_keys_move_to_the_next_feature(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.keyboard.press("j")
    page.wait_for_url(f"**/features/{FEATURE + 1}.html")
    page.keyboard.press("k")
    page.wait_for_url(f"**/features/{FEATURE}.html")
    page.evaluate("() => { Math.random = () => 0; }")  # the first feature, not that of a later step
    page.keyboard.press("r")
    page.wait_for_url("**/features/0.html")
    page.keyboard.press("g")
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is no feature 12345.")).to_be_visible()
    page.get_by_role("textbox", name="Feature number").fill("3")
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/3.html")
    page.keyboard.press("/")
    expect(page.get_by_role("combobox", name="Search")).to_be_focused()
    page.keyboard.type("j")  # in a field it is a letter
    expect(page.get_by_role("combobox", name="Search")).to_have_value("j")


def test_peaks_are_aligned(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html")
    peaks = ".contexts-column mark"
    left = "marks => [...new Set(marks.map(mark => Math.round(mark.getBoundingClientRect().left)))]"
    assert len(page.locator(peaks).evaluate_all(left)) > 3
    page.keyboard.press("a")
    aligned = page.locator(peaks).evaluate_all(left)
    assert max(aligned) - min(aligned) <= 1
    page.reload()
    assert len(page.locator(peaks).evaluate_all(left)) <= 2
    page.keyboard.press("a")
    assert len(page.locator(peaks).evaluate_all(left)) > 3


def test_help_names_every_key(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    assert {"/", "j", "k", "r", "g", "?", "t", "s", "l", "a", "e"} == set(
        dialog.locator("kbd").all_inner_texts()
    )
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_chosen_colour_scheme_applies_to_every_page(open_page: OpenPage) -> None:
    page = open_page("index.html", color_scheme="light")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.keyboard.press("t")
    page.keyboard.press("t")
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    dark = page.evaluate(background)
    assert dark != light
    page.goto(re.sub(r"index\.html.*", "about.html", page.url))
    assert page.evaluate(background) == dark
    page.keyboard.press("t")
    assert page.evaluate(background) == light


def test_a_term_is_explained_in_place(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.get_by_role("link", name="Density").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("The share of all tokens read")
    page.get_by_role("link", name="Max activation").focus()
    expect(page.get_by_role("tooltip")).to_contain_text("ReLU((x")
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip")).to_be_hidden()


SHIFTS = """
() => {
  window.shifted = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.shifted += entry.value;
  }).observe({type: 'layout-shift', buffered: true});
}
"""


@pytest.mark.parametrize("width", [390, 1366])
@pytest.mark.parametrize(
    "path", ["features/5.html", "index.html", "overview.html", "token.html?id=262", "about.html"]
)
def test_nothing_moves_while_a_page_loads(open_page: OpenPage, path: str, width: int) -> None:
    page = open_page(path, viewport={"width": width, "height": 800})
    page.evaluate(SHIFTS)
    page.wait_for_timeout(500)
    assert page.evaluate("window.shifted") < 0.02


def test_a_printed_page_has_no_controls(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html", color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.get_by_role("search").is_visible()
    assert not page.get_by_role("textbox", name="Your label").is_visible()
    assert page.get_by_role("heading", name="Top activating contexts").is_visible()
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    light = open_page(f"features/{FEATURE}.html", color_scheme="light")
    assert background == light.evaluate(
        "getComputedStyle(document.documentElement).backgroundColor"
    )


def test_arrow_keys_move_from_token_to_token(open_page: OpenPage, record: dict[str, Any]) -> None:
    context = record["contexts"][0]
    peak = context["position"] - context["start"]
    page = open_page(f"features/{FEATURE}.html")
    _line(page, 0).locator("mark").focus()
    expect(page.locator(".token-card .identity")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    before = context["tokens"][peak - 1]
    expect(page.locator(".token-card")).to_contain_text(
        f"token {before} at position {context['position'] - 1}"
    )


def test_an_unknown_hash_breaks_nothing(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html#100%")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def test_an_import_keeps_existing_labels(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.get_by_role("textbox", name="Your label").fill("mine")
    page.get_by_role("link", name="Features", exact=True).click()
    page.wait_for_selector("#feature-list [data-ready]")
    entries = [
        {"feature": FEATURE, "label": "theirs", "starred": True},
        {"feature_id": "6", "label": " another "},
        {"feature": -1, "label": "a"},
        {"feature": 7},
        None,
    ]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(entries))
    page.get_by_label("Labels file").set_input_files(path)
    expect(page.locator(".exchange")).to_contain_text("Imported: 2, 3 skipped as invalid.")
    kept = json.loads(page.evaluate("sitegen.marks.exported()"))["labels"]
    assert [(entry["feature"], entry["label"], entry["starred"]) for entry in kept] == [
        (FEATURE, "mine", True),
        (6, "another", False),
    ]
