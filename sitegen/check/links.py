"""Links between pages: where each leads, and whether a file and an anchor are there."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from sitegen.check.markup import Page


@dataclass
class Links:
    """Links and anchors of the pages read so far.

    wanted  by target: a page that links to it
    """

    wanted: dict[tuple[str, str], str] = field(default_factory=dict)
    anchors: set[tuple[str, str]] = field(default_factory=set)

    def add(self, name: str, page: Page) -> list[str]:
        """Add a page; returns findings on links that leave the folder."""
        self.anchors |= {(name, anchor) for anchor in page.ids}
        findings = []
        for link in dict.fromkeys(page.links):
            target = link_target(name, link)
            if target is None:
                findings.append(f"site/{name}: link {link!r} leaves the site")
            else:
                self.wanted.setdefault(target, name)
        return findings

    def merge(self, other: Links) -> None:
        """Add the links of pages that come after these."""
        for target, page in other.wanted.items():
            self.wanted.setdefault(target, page)
        self.anchors |= other.anchors

    def findings(self, names: Container[str]) -> list[str]:
        """Findings on links to files that are not among the site's, or to anchors that do not exist."""
        findings = []
        for (target, anchor), page in sorted(self.wanted.items()):
            if target not in names:
                findings.append(f"site/{page}: link to {target}, which is not there")
            elif anchor and (target, anchor) not in self.anchors:
                findings.append(
                    f"site/{page}: link to {target}#{anchor}, which that page does not have"
                )
        return findings


def link_target(page: str, link: str) -> tuple[str, str] | None:
    """(path below the site, anchor) of a link on a page; None for one that leaves the site or the folder."""
    folder, slash, _ = page.rpartition("/")
    target = _target_from(folder + slash, link)
    if target is None:
        return None
    path, anchor = target
    # A link without a path is to the page itself
    return page if path is None else path, anchor


@lru_cache(maxsize=4096)
def _target_from(folder: str, link: str) -> tuple[str | None, str] | None:
    """The same from all pages of a folder, whose pages have most links in common; no path where the link has none."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or parts.path.startswith("/"):
        return None
    if not parts.path:
        return None, parts.fragment
    steps = folder.split("/")[:-1]
    for step in unquote(parts.path).split("/"):
        if step == ".." and not steps:
            return None
        if step == "..":
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    return "/".join(steps), parts.fragment
