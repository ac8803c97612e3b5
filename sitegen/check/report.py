"""The whole check, in parallel over features, and its report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sitegen.check.data import checksum_findings, count_findings, record_findings
from sitegen.check.pages import (
    Page,
    feature_page_findings,
    link_target,
    read_page,
    structure_findings,
)
from sitegen.errors import SitegenError, StoreError
from sitegen.file_names import DATA, EVIDENCE_SCRIPTS, FEATURE_PAGES, LABELS_FILE, LOAD
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.publish.archive import archive_findings
from sitegen.render.pages import PageRenderer, RenderedFeatures
from sitegen.render.scripts import evidence_script
from sitegen.render.site import feature_tasks
from sitegen.space import PAGES_BYTES
from sitegen.workers import worker_pool

# Two sites of this many features fit the limit of GitHub Pages. Fewer features may take more bytes each.
BUDGET_FEATURES = 16_384
PAGE_BUDGET_BYTES = 25_000
JSON_BUDGET_BYTES = 15_000


@dataclass(frozen=True)
class Report:
    """All findings, and one line on what was examined."""

    findings: list[str]
    summary: str


@dataclass
class _Links:
    """Links and anchors of the pages read so far.

    wanted  by target: a page that links to it
    """

    wanted: dict[tuple[str, str], str] = field(default_factory=dict)
    anchors: set[tuple[str, str]] = field(default_factory=set)

    def add(self, name: str, page: Page) -> list[str]:
        """Add a page; returns findings on links that leave the folder."""
        self.anchors |= {(name, anchor) for anchor in page.ids}
        findings = []
        for link in page.links:
            target = link_target(name, link)
            if target is None:
                findings.append(f"site/{name}: link {link!r} leaves the site")
            else:
                self.wanted.setdefault(target, name)
        return findings

    def merge(self, other: _Links) -> None:
        """Add the links of other pages."""
        self.wanted = other.wanted | self.wanted
        self.anchors |= other.anchors

    def findings(self, site: Path) -> list[str]:
        """Findings on links to files or anchors that do not exist."""
        findings = []
        for (target, anchor), page in sorted(self.wanted.items()):
            if not (site / target).is_file():
                findings.append(f"site/{page}: link to {target}, which is not there")
            elif anchor and (target, anchor) not in self.anchors:
                findings.append(
                    f"site/{page}: link to {target}#{anchor}, which that page does not have"
                )
        return findings


def check_output(output: OutputFolder, of_archive: bool = True) -> Report:
    """Check `data/` and `site/`, and with `of_archive` also the archive if there is one.

    raises  OutputError if there is no site
    """
    output.require_site()
    try:
        renderer = PageRenderer(output)
    except SitegenError as error:
        return Report([str(error)], "check: 1 finding; the rest was not examined")
    seen = _examine_features(output, len(renderer.paths))
    _examine_others(output, renderer, seen)
    findings = checksum_findings(output.data, output.site / DATA)
    findings += seen.findings
    findings += count_findings(
        renderer.manifest, [summary.kind for summary in seen.features.summaries]
    )
    findings += seen.links.findings(output.site)
    if of_archive:
        findings += archive_findings(output)
    sizes = _Sizes.of(output, renderer.paths)
    findings += sizes.findings()
    told = f"{len(findings)} findings" if len(findings) != 1 else "1 finding"
    examined = f"{len(renderer.paths):,} features and {len(seen.links.wanted):,} links"
    return Report(findings, f"check: {told} in {examined}; {sizes}")


@dataclass
class _Seen:
    """Findings on some of the features, and what the other pages need to know of them."""

    findings: list[str] = field(default_factory=list)
    links: _Links = field(default_factory=_Links)
    features: RenderedFeatures = field(default_factory=RenderedFeatures)


def _examine_features(output: OutputFolder, n_features: int) -> _Seen:
    progress = Progress("check", n_features, "features")
    seen = _Seen()
    with worker_pool(_start_worker, output) as pool:
        tasks = feature_tasks(n_features)
        for task, part in zip(tasks, pool.map(_examine_part, tasks), strict=True):
            seen.findings += part.findings
            seen.links.merge(part.links)
            seen.features.merge(part.features)
            progress.advance(len(task))
    progress.finish()
    return seen


# One per process, set by the pool's initializer
_worker: tuple[PageRenderer, OutputFolder] | None = None


def _start_worker(output: OutputFolder) -> None:
    global _worker
    _worker = PageRenderer(output), output


def _examine_part(part: range) -> _Seen:
    assert _worker is not None
    renderer, output = _worker
    seen, vocabulary = _Seen(), renderer.site.vocabulary
    for i in part:
        try:
            files = renderer.files(i)
        except StoreError as error:
            seen.findings.append(str(error))
            continue
        data, findings = record_findings(files, renderer.manifest, len(vocabulary.tokens))
        seen.findings += findings
        if data is None:
            continue
        seen.features.summaries.append(renderer.summary(data))
        seen.features.search.add(i, data.record, vocabulary)
        name = FEATURE_PAGES.name(files.feature_id)
        script = evidence_script(files.feature_id, files.evidence)
        seen.findings += _script_findings(output.site, *script)
        expected = renderer.feature(i, data, renderer.key(i, files))
        page = _examine_page(output.site, name, expected, seen)
        if page:
            wanting = feature_page_findings(page, data, vocabulary)
            seen.findings += [f"site/{name}: {finding}" for finding in wanting]
    return seen


def _examine_page(site: Path, name: str, expected: bytes, seen: _Seen) -> Page | None:
    """The page as read. Findings on its markup, and on differences from the expected content, are added to `seen`."""
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
    if content != expected:
        findings.append(
            f"site/{name} is not the page that the data gives: run build.py render again"
        )
    seen.findings += findings
    return page


def _script_findings(site: Path, name: str, expected: bytes) -> list[str]:
    """Findings on a data script that is missing or differs from the data."""
    path = site / name
    if not path.is_file():
        return [f"site/{name} is missing"]
    if path.read_bytes() != expected:
        return [f"site/{name} is not what the data gives: run build.py render again"]
    return []


def _examine_others(output: OutputFolder, renderer: PageRenderer, seen: _Seen) -> None:
    """Check every page and script that belongs to no feature, and look for files that belong to nothing."""
    site, scripts = output.site, {}
    expected = dict(renderer.others(seen.features))
    for path in renderer.rows_paths:
        try:
            name, content = renderer.rows(path)
            scripts[name] = content
        except StoreError as error:
            seen.findings.append(str(error))
    live = set()
    try:
        # One at a time, since they are large
        for name, content in renderer.live_scripts():
            seen.findings += _script_findings(site, name, content)
            live.add(name)
    except StoreError as error:
        seen.findings.append(str(error))
    if output.labels.is_file():
        scripts[output.labels.name] = output.labels.read_bytes()
    for name, content in {**expected, **scripts}.items():
        if name.endswith(".html"):
            _examine_page(site, name, content, seen)
        else:
            seen.findings += _script_findings(site, name, content)
    there = {
        path.relative_to(site).as_posix()
        for path in [*site.rglob("*.html"), *site.rglob(f"{LOAD}/**/*.js")]
    }
    if (site / LABELS_FILE).is_file():
        there.add(LABELS_FILE)
    ids = [int(path.stem) for path in renderer.paths]
    features = {*map(FEATURE_PAGES.name, ids), *map(EVIDENCE_SCRIPTS.name, ids)}
    strange = sorted(there - expected.keys() - scripts.keys() - live - features)
    seen.findings += [f"site/{name} belongs to nothing in the data" for name in strange]


@dataclass(frozen=True)
class _Sizes:
    """Mean bytes per feature, and bytes of the whole site."""

    n_features: int
    page_bytes: float
    json_bytes: float
    site_bytes: int

    @classmethod
    def of(cls, output: OutputFolder, paths: list[Path]) -> _Sizes:
        return cls(
            len(paths),
            _mean_bytes((output.site / FEATURE_PAGES.folder).glob("*.html")),
            _mean_bytes(paths),
            sum(path.stat().st_size for path in output.site_files()),
        )

    def findings(self) -> list[str]:
        n_alike = max(1, BUDGET_FEATURES / max(self.n_features, 1))
        budgets = (
            ("a feature's page", self.page_bytes, n_alike * PAGE_BUDGET_BYTES, "bytes on average"),
            ("a feature's JSON", self.json_bytes, n_alike * JSON_BUDGET_BYTES, "bytes on average"),
            ("the site", self.site_bytes, PAGES_BYTES, "bytes"),
        )
        return [
            f"{what} takes {size:,.0f} {unit}, above the budget of {budget:,.0f}: keep fewer or shorter contexts"
            for what, size, budget, unit in budgets
            if size > budget
        ]

    def __str__(self) -> str:
        return (
            f"page {self.page_bytes / 1000:.1f} KB, JSON {self.json_bytes / 1000:.1f} KB on average, "
            f"site {self.site_bytes / 1e6:.1f} MB"
        )


def _mean_bytes(paths: Iterable[Path]) -> float:
    sizes = [path.stat().st_size for path in paths]
    return sum(sizes) / max(len(sizes), 1)
