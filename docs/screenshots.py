"""The README's pictures, taken of the demo's site: `make screenshots`."""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import ViewportSize

from benchmarks.pages import READY, chromium

IMAGES = Path(__file__).parent / "images"
SIZE: ViewportSize = {"width": 1200, "height": 900}
# Of each page: what to wait for, since scripts fill it in
PAGES = {"feature": ("features/1000.html", "h1"), "index": ("index.html", READY)}


def take_screenshots(site: Path) -> None:
    """Write a picture of each page of a site to docs/images."""
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser:
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        for name, (path, ready) in PAGES.items():
            page.goto((site / path).resolve().as_uri())
            page.wait_for_selector(ready)
            page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path, help="folder of the site")
    take_screenshots(parser.parse_args().site)
