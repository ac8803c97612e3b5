"""Every page and script of the site, compared with the data: in worker processes, a part of the site at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sitegen.check.data import record_findings
from sitegen.check.links import Links
from sitegen.check.markup import Page, read_page, structure_findings
from sitegen.check.pages import feature_page_findings
from sitegen.errors import StoreError
from sitegen.file_names import EVIDENCE_SCRIPTS, FEATURE_PAGES
from sitegen.output import OutputFolder
from sitegen.render.folder import is_signed
from sitegen.render.packing import is_equal
from sitegen.render.pages import PageRenderer, RenderedFeatures
from sitegen.render.scripts import evidence_scripts

# A page's last line says from what it was made and what it then was. To test that this can be relied on, one page of so
# many is rendered again as well: rendering every page would take longer than all the rest.
PAGES_PER_RENDERED = 16


@dataclass
class Seen:
    """Findings on a part of the site, and what other parts need to know of it.

    names  of the files that belong to the site
    """

    findings: list[str] = field(default_factory=list)
    links: Links = field(default_factory=Links)
    features: RenderedFeatures = field(default_factory=RenderedFeatures)
    names: set[str] = field(default_factory=set)

    def merge(self, other: Seen) -> None:
        """Add a part that comes after these."""
        self.findings += other.findings
        self.links.merge(other.links)
        self.features.merge(other.features)
        self.names |= other.names


# One per process, set by the pool's initializer
_worker: tuple[PageRenderer, OutputFolder] | None = None


def start_worker(output: OutputFolder) -> None:
    """Read what all pages need, before a worker's first task."""
    global _worker
    _worker = PageRenderer(output), output
    # Nothing of this is ever freed, so the cycle collector need not look at it again
    gc.freeze()


def examine_features(part: range) -> Seen:
    """Examine the records, pages and evidence of the features with these indices."""
    assert _worker is not None
    renderer, output = _worker
    seen = Seen()
    for i in part:
        _examine_feature(i, renderer, output.site, seen)
    return seen


def _examine_feature(i: int, renderer: PageRenderer, site: Path, seen: Seen) -> None:
    vocabulary = renderer.site.vocabulary
    feature_id = int(renderer.paths[i].stem)
    name = FEATURE_PAGES.name(feature_id)
    seen.names |= {name, EVIDENCE_SCRIPTS.name(feature_id)}
    try:
        files = renderer.files(i)
    except StoreError as error:
        seen.findings.append(str(error))
        return
    data, findings = record_findings(files, renderer.manifest, len(vocabulary.tokens))
    seen.findings += findings
    if data is None:
        return
    seen.features.summaries.append(renderer.summary(data))
    seen.features.search.add(i, data.record, vocabulary)
    for script in evidence_scripts(data.evidence):
        examine_script(site, *script, seen)
    key = renderer.key(i, files)
    is_right = (
        partial(is_signed, key=key)
        if i % PAGES_PER_RENDERED
        else renderer.feature(i, data, key).__eq__
    )
    page = examine_page(site, name, is_right, seen)
    if page:
        wanting = feature_page_findings(page, data, vocabulary)
        seen.findings += [f"site/{name}: {finding}" for finding in wanting]


def examine_rows(path: Path) -> Seen:
    """Examine the script with the rows of a file."""
    assert _worker is not None
    renderer, output = _worker
    return _examine_scripts(output.site, lambda: [renderer.rows(path)])


def examine_live() -> Seen:
    """Examine everything that pages load to run the model."""
    assert _worker is not None
    renderer, output = _worker
    return _examine_scripts(output.site, renderer.live_scripts)


def _examine_scripts(site: Path, scripts: Callable[[], Iterable[tuple[str, bytes]]]) -> Seen:
    """Examine data scripts one at a time, since some are large."""
    seen = Seen()
    try:
        for name, content in scripts():
            examine_script(site, name, content, seen)
    except StoreError as error:
        seen.findings.append(str(error))
    return seen


def examine_others(
    output: OutputFolder, renderer: PageRenderer, features: RenderedFeatures
) -> Seen:
    """Examine the pages and scripts that need all features, and the labels."""
    seen = Seen()
    for name, content in renderer.others(features):
        if name.endswith(".html"):
            examine_page(output.site, name, content.__eq__, seen)
        else:
            examine_script(output.site, name, content, seen)
    if output.labels.is_file():
        examine_script(output.site, output.labels.name, output.labels.read_bytes(), seen)
    return seen


def examine_page(
    site: Path, name: str, is_right: Callable[[bytes], bool], seen: Seen
) -> Page | None:
    """The page as read. Findings on its markup, and on content that is not right, are added to `seen`."""
    seen.names.add(name)
    try:
        content = (site / name).read_bytes()
        text = content.decode()
    except FileNotFoundError:
        seen.findings.append(f"site/{name} is missing")
        return None
    except UnicodeDecodeError:
        seen.findings.append(f"site/{name} is not UTF-8")
        return None
    page = read_page(text)
    findings = seen.links.add(name, page)
    findings += [f"site/{name}: {finding}" for finding in structure_findings(page)]
    if not is_right(content):
        findings.append(
            f"site/{name} is not the page that the data gives: run build.py render again"
        )
    seen.findings += findings
    return page


def examine_script(site: Path, name: str, expected: bytes, seen: Seen) -> None:
    """Add a finding on a data script that is missing or differs from the data."""
    seen.names.add(name)
    path = site / name
    if not path.is_file():
        seen.findings.append(f"site/{name} is missing")
    elif not is_equal(path.read_bytes(), expected):
        seen.findings.append(f"site/{name} is not what the data gives: run build.py render again")
