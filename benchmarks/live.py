"""The model in the page: bytes that it loads, and how long a reader waits."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks.pages import chromium, open_watched

N_TOKENS = 40
N_EDITS = 9
TYPE = """async (text) => {
    const section = document.querySelector("[data-ready]:is(.try, #active)");
    const area = section.querySelector("textarea");
    const began = performance.now();
    const ran = new Promise((resolve) => {
        const watch = new MutationObserver(() => {
            if (section.dataset.ran !== text) return;
            watch.disconnect();
            resolve(performance.now() - began);
        });
        watch.observe(section, { attributes: true });
    });
    area.value = text;
    if (section.id === "active" && !section.dataset.ran) section.querySelector(".start").click();
    else area.dispatchEvent(new Event("input"));
    return ran;
}"""


def measure_live(out: Path) -> dict[str, Any]:
    """Run `live_in` in a new browser."""
    with chromium() as browser:
        return live_in(browser, out)


def live_in(browser: Browser, out: Path) -> dict[str, Any]:
    """Bytes and milliseconds, from disk, for texts of 40 tokens, BOS included.

    After an edit of the first word everything is recomputed, after an edit of the last word almost nothing.
    """
    site = out / "site"
    page = open_watched(browser, (site / "about.html").as_uri())
    words = _words(page)
    page.close()
    loaded: list[str] = []
    page = open_watched(browser, (site / f"features/{_middle(site)}.html").as_uri())
    page.on("request", lambda request: loaded.append(request.url))
    first_use = page.evaluate(TYPE, "".join(words))
    page.wait_for_timeout(300)
    edits = {
        "first": [[words[1 + i], *words[1:]] for i in range(N_EDITS)],
        "last": [[*words[:-1], words[i]] for i in range(N_EDITS)],
    }
    taken = {
        f"edit_{which}_ms": median(page.evaluate(TYPE, "".join(text)) for text in texts)
        for which, texts in edits.items()
    }
    n_tokens = page.locator(".own-text button").count()
    page.close()
    page = open_watched(browser, (site / "active.html").as_uri())
    page.wait_for_selector("#active[data-ready]")
    active_first = page.evaluate(TYPE, "".join(words))
    again = [page.evaluate(TYPE, "".join(text)) for text in edits["first"][:3]]
    page.close()
    return {
        "n_tokens": n_tokens,
        "first_use_ms": first_use,
        "first_use_bytes": sum(
            _file(url).stat().st_size for url in loaded if url.startswith("file:")
        ),
        **taken,
        "active_first_ms": active_first,
        "active_again_ms": median(again),
        "export_bytes": sum(path.stat().st_size for path in (site / "load/live").rglob("*.js")),
    }


def _middle(site: Path) -> int:
    ids = sorted(int(path.stem) for path in (site / "features").glob("*.html"))
    return ids[len(ids) // 2]


def _words(page: Page) -> list[str]:
    """Tokens from all over the vocabulary that together form a text of the same number of tokens."""
    words: list[str] = page.evaluate(
        """async (n) => {
            const { text } = await sitegen.load("vocabulary");
            const words = [];
            for (let i = 300; words.length < n; i = (i + 977) % text.length) {
                if (!/^ [a-z]+$/.test(text[i])) { i -= 976; continue; }
                const ids = await sitegen.live.encode([...words, text[i]].join(""));
                if (ids.length === words.length + 1) words.push(text[i]);
            }
            return words;
        }""",
        N_TOKENS - 1,
    )
    return words


def _file(url: str) -> Path:
    return Path(url.removeprefix("file://").partition("?")[0].partition("#")[0])
