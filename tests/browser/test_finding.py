"""The list of all features, the search, and the token page; from disk and from a server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sitegen.records import kind_of
from sitegen.render.vocabulary import Vocabulary
from sitegen.store import read_manifest, read_vocab

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def records(tiny_output: Path) -> list[dict[str, Any]]:
    paths = sorted((tiny_output / "data/features").glob("*.json"))
    return [json.loads(path.read_bytes()) for path in paths]


def _open_list(open_page: OpenPage, query: str = "", **options: object) -> Page:
    page = open_page(f"index.html{query}", **options)
    page.wait_for_selector("#feature-list [data-ready]")
    return page


def _listed(page: Page) -> list[int]:
    return [int(text) for text in page.locator(".live tbody th a").all_inner_texts()]


@pytest.mark.parametrize(
    ("column", "field"), [("Density", "density"), ("Max activation", "max_activation")]
)
def test_the_list_sorts_both_ways(
    open_page: OpenPage, records: list[dict[str, Any]], column: str, field: str
) -> None:
    page = _open_list(open_page)
    button = page.locator(".live thead").get_by_role("button", name=column)
    values = {record["feature_id"]: float(f"{record[field]:.6g}") for record in records}
    for down in (True, False):
        button.click()
        sign = -1 if down else 1
        expected = sorted(values, key=lambda i: (sign * values[i], i))
        expect(page.locator(".live tbody th a").first).to_have_text(str(expected[0]))
        shown = _listed(page)
        assert shown == expected[: len(shown)]
        assert len(shown) > 10
    assert "sort=" in page.url


def test_the_list_filters_and_keeps_its_state_in_the_address(
    open_page: OpenPage, records: list[dict[str, Any]]
) -> None:
    page = _open_list(open_page)
    page.get_by_label("Kind").select_option("ordinary")
    page.get_by_label("Density from %").fill("1")
    wanted = [
        record["feature_id"]
        for record in records
        if kind_of(record["density"]) == "ordinary" and 100 * record["density"] >= 1
    ]
    expect(page.locator(".status")).to_have_text(f"{len(wanted)} of {len(records)} features")
    assert _listed(page) == wanted[: len(_listed(page))]
    url = page.url
    again = _open_list(open_page, "?" + url.split("?")[1])
    expect(again.locator(".status")).to_have_text(f"{len(wanted)} of {len(records)} features")
    assert again.get_by_label("Kind").input_value() == "ordinary"


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [("Max activation from", "max_activation", 2.0), ("Rare cosine from", "rare_cosine", 0.3)],
)
def test_the_list_filters_by_a_least_value(
    open_page: OpenPage, records: list[dict[str, Any]], field: str, name: str, value: float
) -> None:
    page = _open_list(open_page)
    page.get_by_label(field).fill(str(value))
    n_left = sum(record[name] is not None and record[name] >= value for record in records)
    assert 0 < n_left < len(records)
    expect(page.locator(".status")).to_have_text(f"{n_left} of {len(records)} features")


def test_scrolling_reaches_the_last_feature(
    open_page: OpenPage, records: list[dict[str, Any]]
) -> None:
    page = _open_list(open_page, viewport={"width": 1280, "height": 500})
    page.keyboard.press("End")
    expect(
        page.get_by_role("link", name=str(records[-1]["feature_id"]), exact=True)
    ).to_be_visible()


def _words(tiny_output: Path, records: list[dict[str, Any]]) -> Counter[str]:
    manifest = read_manifest(tiny_output / "data")
    vocabulary = Vocabulary(read_vocab(tiny_output / "data"), manifest.special_ids)
    found: Counter[str] = Counter()
    for record in records:
        texts = [vocabulary.plain_text(c["tokens"]).lower() for c in record["contexts"]]
        found.update({word for text in texts for word in text.split() if word.isalpha()})
    return found


def test_a_word_in_a_context_is_found_as_one_types(
    open_page: OpenPage, tiny_output: Path, records: list[dict[str, Any]]
) -> None:
    words = _words(tiny_output, records)
    word = next(w for w, n in sorted(words.items()) if 2 <= n < 20 and len(w) > 4)
    page = open_page("features/3.html")
    page.keyboard.press("/")
    page.keyboard.type(word)
    last = page.locator("#found li").last
    expect(last).to_contain_text("show the list")
    n_found = int(str(last.inner_text()).split()[0])
    assert n_found >= words[word]
    last.click()
    page.wait_for_url(f"**/index.html?q={word}")
    expect(page.locator(".status")).to_have_text(f"{n_found} of {len(records)} features")


def test_a_number_leads_to_its_feature(open_page: OpenPage) -> None:
    page = open_page("about.html")
    page.get_by_role("combobox", name="Search").fill("12")
    expect(page.get_by_role("option").first).to_contain_text("12")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/12.html")


def test_an_empty_search_result_is_reported(open_page: OpenPage) -> None:
    page = open_page("about.html")
    page.get_by_role("combobox", name="Search").fill("qqzzqq")
    expect(page.get_by_role("option")).to_have_text("Nothing found.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()


def test_a_token_leads_to_all_features_that_move_it(
    open_page: OpenPage, records: list[dict[str, Any]]
) -> None:
    effect = records[5]["logits"]["top"][0]
    page = open_page("features/5.html")
    page.locator(".effects a").first.click()
    page.wait_for_selector("#token[data-ready]")
    assert page.url.endswith(f"token.html?id={effect['id']}")
    promoting = [
        record["feature_id"]
        for record in records
        if effect["id"] in [e["id"] for e in record["logits"]["top"]]
    ]
    section = page.locator("section", has=page.get_by_role("heading", name="Promote this token"))
    shown = [int(text) for text in section.locator("tbody th").all_inner_texts()]
    assert sorted(shown) == promoting
    section.get_by_role("link", name="5", exact=True).click()
    page.wait_for_url("**/features/5.html")


def test_the_token_page_explains_itself_without_a_token(open_page: OpenPage) -> None:
    page = open_page("token.html")
    expect(page.get_by_text("No token is selected")).to_be_visible()
    page = open_page("token.html", java_script_enabled=False)
    expect(page.get_by_text("Without scripts")).to_be_visible()


def test_scripted_controls_are_absent_without_scripts(open_page: OpenPage) -> None:
    page = open_page("features/5.html", java_script_enabled=False)
    assert page.get_by_role("button").count() == 0
    assert not page.get_by_role("search").is_visible()


def test_the_order_of_a_search_is_kept_in_the_address(open_page: OpenPage) -> None:
    page = _open_list(open_page, "?q=th")
    page.locator(".live thead").get_by_role("button", name="Feature").click()
    page.wait_for_url("**sort=feature**")
    shown = _listed(page)
    assert shown == sorted(shown)
    page.reload()
    page.wait_for_selector("#feature-list [data-ready]")
    assert _listed(page) == shown


def test_a_number_that_is_no_feature_is_searched_as_text(open_page: OpenPage) -> None:
    page = open_page("about.html")
    page.get_by_role("combobox", name="Search").fill("99999")
    expect(page.get_by_role("option")).to_have_text("Nothing found.")
    page.keyboard.press("Enter")
    page.wait_for_url("**/index.html?q=99999")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            "load/features.js",
            "The list cannot be sorted or filtered: load/features.js cannot be read.",
        ),
        ("static/site.js", ""),
    ],
)
def test_the_static_list_is_shown_when_scripts_cannot_be_loaded(
    browser: Browser, broken_site: Path, message: str
) -> None:
    page = browser.new_page()
    page.goto((broken_site / "index.html").as_uri())
    expect(page.get_by_role("rowheader").first).to_be_visible()
    expect(page.get_by_role("rowheader")).to_have_count(93)
    if message:
        expect(page.locator("#feature-list [role=status]")).to_have_text(message)
    page.close()
