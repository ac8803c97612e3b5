"""The overview page and the files that pages load on demand, in a real browser, from disk and from a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def test_a_focused_bar_names_its_range_and_leads_to_its_features(
    open_page: OpenPage, tiny_output: Path
) -> None:
    frequencies = json.loads((tiny_output / "data/overview.json").read_text())["frequencies"]
    page = open_page("overview.html", java_script_enabled=False)
    bars = page.locator("a.bar")
    assert bars.count() == 1 + sum(count > 0 for count in frequencies["counts"])
    label = bars.nth(1).locator("text")
    assert not label.is_visible()
    bars.nth(1).focus()
    assert label.is_visible()
    count = next(count for count in frequencies["counts"] if count)
    assert label.text_content() == bars.nth(1).get_attribute("aria-label")
    assert str(label.text_content()).endswith(f": {count} feature{'s' * (count > 1)}")
    page.keyboard.press("Enter")
    page.wait_for_url("**/lists/density-*.html")
    assert page.locator(".features tbody tr").count() == count


@pytest.mark.parametrize("kind", ["dead", "rare", "ordinary", "dense"])
def test_counts_of_kinds_lead_to_their_lists(
    open_page: OpenPage, tiny_output: Path, kind: str
) -> None:
    counts = json.loads((tiny_output / "data/manifest.json").read_text())["counts"]["n_of_kind"]
    page = open_page("overview.html", java_script_enabled=False)
    page.get_by_role("link", name=f"{kind} {counts[kind]}").click()
    assert page.get_by_role("heading", level=1).inner_text() == f"{kind.capitalize()} features"
    assert page.locator(".features tbody tr").count() == counts[kind]
    page.locator(".features tbody a").first.click()
    assert page.get_by_role("heading", level=1).inner_text().startswith("Feature ")


def test_a_dot_of_the_map_is_named_and_opens_its_feature(
    open_page: OpenPage, tiny_output: Path
) -> None:
    overview = json.loads((tiny_output / "data/overview.json").read_text())
    page = open_page("overview.html")
    page.wait_for_selector("#feature-map[data-ready]")
    page.locator("#feature-map").scroll_into_view_if_needed()
    box = page.locator("#feature-map svg").bounding_box()
    assert box is not None
    scale = box["width"] / 1040
    x = box["x"] + (20 + 1000 * overview["map"]["x"][5]) * scale
    y = box["y"] + (20 + 1000 * overview["map"]["y"][5]) * scale
    page.mouse.move(x, y)
    label = page.locator(".map-label")
    expect(label).to_contain_text("Feature ")
    shown = str(label.text_content())
    page.mouse.click(x, y)
    page.wait_for_url("**/features/*.html")
    assert shown.startswith(page.get_by_role("heading", level=1).inner_text())


def test_the_map_zooms(open_page: OpenPage) -> None:
    page = open_page("overview.html")
    page.wait_for_selector("#feature-map[data-ready]")
    svg = page.locator("#feature-map svg")
    whole = svg.get_attribute("viewBox")
    page.get_by_role("button", name="Zoom in").click()
    assert float(str(svg.get_attribute("viewBox")).split()[2]) < 1040
    page.get_by_role("button", name="Whole map").click()
    assert svg.get_attribute("viewBox") == whole


def test_the_map_is_an_image_without_scripts(open_page: OpenPage, tiny_output: Path) -> None:
    overview = json.loads((tiny_output / "data/overview.json").read_text())
    page = open_page("overview.html", java_script_enabled=False)
    paths = page.locator("#feature-map .dots").evaluate_all("p => p.map(e => e.getAttribute('d'))")
    assert sum(path.count("M") for path in paths) == len(overview["map"]["x"])
    assert page.get_by_role("button").count() == 0


@pytest.mark.parametrize("by", ["pointing", "keyboard"])
def test_a_coloured_token_shows_its_ablation(
    open_page: OpenPage, tiny_output: Path, by: str
) -> None:
    evidence = json.loads((tiny_output / "data/evidence/00020.json").read_text())
    record = json.loads((tiny_output / "data/features/00020.json").read_text())
    # The weakest interval is last on the page, and first after the top contexts in the record
    n_top = sum(context["group"] == "top" for context in record["contexts"])
    context, ablation = record["contexts"][n_top], evidence["ablation"]
    tokens = [*zip(ablation["context"], ablation["offset"], strict=True)]
    peak = tokens.index((n_top, context["position"] - context["start"]))
    page = open_page("features/20.html")
    mark = page.locator("[aria-labelledby=intervals] .contexts").last.locator("mark").first
    if by == "pointing":
        mark.hover()
    else:
        mark.focus()
    card = page.locator(".token-card")
    expect(card.locator("table")).to_have_count(2)
    change = ablation["loss_change"][peak]
    sign = "−" if change < 0 else "+"  # noqa: RUF001 a minus sign is meant
    expect(card).to_contain_text(f"changes by {sign}{abs(change):.3f} nats")
    cells = card.locator("table").first.locator("tr td:last-child").all_text_contents()
    shown = [float(cell.replace("−", "-")) for cell in cells]  # noqa: RUF001
    assert shown == ablation["promoted_change"][peak]
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_a_file_that_cannot_be_loaded_is_reported(open_page: OpenPage) -> None:
    page = open_page("features/20.html")
    page.evaluate("() => { sitegen.load = () => Promise.reject(new Error('it cannot be read')); }")
    page.locator(".contexts mark").first.hover()
    expect(page.locator(".token-card")).to_contain_text(
        "Details are not available: it cannot be read"
    )


def test_a_feature_leads_to_its_neighbours(open_page: OpenPage, tiny_output: Path) -> None:
    record = json.loads((tiny_output / "data/features/00020.json").read_text())
    page = open_page("features/20.html", java_script_enabled=False)
    nearest = record["neighbours"]["decoder"][0]["feature_id"]
    page.locator(".near").first.get_by_role("link", name=str(nearest), exact=True).click()
    assert page.get_by_role("heading", level=1).inner_text() == f"Feature {nearest}"


def test_near_misses_are_marked_and_inactive(open_page: OpenPage, tiny_output: Path) -> None:
    evidence = json.loads((tiny_output / "data/evidence/00020.json").read_text())
    page = open_page("features/20.html", java_script_enabled=False)
    assert page.locator(".misses li").count() == len(evidence["near_misses"]) > 0
    assert page.locator(".misses mark.inactive").count() == len(evidence["near_misses"])
    assert page.locator(".contexts:not(.misses) mark.inactive").count() == 0
