"""The pages in a real browser, from disk and from a server under a sub-path, with scripts off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from sitegen.render.formats import significant

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
PAGES = [
    "index.html",
    "about.html",
    "404.html",
    "overview.html",
    "lists/ordinary.html",
    "features/0.html",
    "features/7.html",
    "features/92.html",
]
SCHEMES = ["light", "dark"]
MINIMUM_CONTRAST = 4.5


def test_links_lead_from_the_index_to_a_feature_and_the_next(open_page: OpenPage) -> None:
    page = open_page("index.html", java_script_enabled=False)
    page.get_by_role("link", name="2", exact=True).click()
    assert page.get_by_role("heading", level=1).inner_text() == "Feature 2"
    page.get_by_role("link", name="3 →").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Feature 3"
    page.get_by_role("link", name="Index").click()
    assert page.url.endswith("/index.html")


def test_feature_page_shows_its_record(open_page: OpenPage, tiny_output: Path) -> None:
    record = json.loads((tiny_output / "data/features/00005.json").read_text())
    page = open_page("features/5.html", java_script_enabled=False)
    top = [context for context in record["contexts"] if context["group"] == "top"]
    lines = page.locator(".contexts-column .contexts li")
    assert lines.count() == len(top)
    shown = lines.evaluate_all("lines => lines.map((line) => line.firstChild.textContent)")
    assert shown == [significant(context["activation"]) for context in top]
    assert page.locator(".contexts-column mark").count() == len(top)
    assert page.locator(".facts dd").nth(1).inner_text().split()[0] == f"{record['n_active']:,}"


def test_the_data_of_a_feature_can_be_opened(open_page: OpenPage, tiny_output: Path) -> None:
    page = open_page("features/5.html")
    page.get_by_role("link", name="This feature's data as JSON").click()
    record = json.loads((tiny_output / "data/features/00005.json").read_text())
    assert json.loads(page.locator("body").inner_text()) == record


@pytest.mark.parametrize("width", [390, 1280, 2200])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_wider_than_the_window(open_page: OpenPage, path: str, width: int) -> None:
    page = open_page(path, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """
([selector, heat]) => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (...colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (c) => c.map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = getComputedStyle(document.documentElement).backgroundColor;
  return [...document.querySelectorAll(selector)].slice(0, 5).map((element) => {
    if (heat !== null) element.style.setProperty('--a', heat);
    const style = getComputedStyle(element);
    const panel = element.closest('.facts') ? getComputedStyle(element.closest('.facts')).backgroundColor : paper;
    const [a, b] = [luminance(rgb(style.color)), luminance(rgb(paper, panel, style.backgroundColor))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_has_enough_contrast_at_every_activation(open_page: OpenPage, scheme: str) -> None:
    page = open_page("features/0.html", color_scheme=scheme)
    for heat in [0, 0.25, 0.5, 0.75, 1]:
        ratios = page.evaluate(CONTRAST, [".contexts mark, .contexts b", heat])
        assert ratios
        assert min(ratios) >= MINIMUM_CONTRAST
    for selector in [
        "h1",
        "p",
        "a",
        "small",
        ".facts dt",
        ".facts dd",
        ".kind",
        "figcaption",
        "caption",
    ]:
        ratios = page.evaluate(CONTRAST, [selector, None])
        assert ratios
        assert min(ratios) >= MINIMUM_CONTRAST, selector


def test_the_dark_scheme_follows_the_system_setting(open_page: OpenPage) -> None:
    colours = {
        scheme: open_page("index.html", color_scheme=scheme).evaluate(
            "getComputedStyle(document.documentElement).backgroundColor"
        )
        for scheme in SCHEMES
    }
    assert colours["light"] != colours["dark"]
