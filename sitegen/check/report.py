"""The whole check, in parallel, and its report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sitegen.check.data import checksum_findings, count_findings, listed_checksums
from sitegen.check.examine import (
    Seen,
    examine_features,
    examine_live,
    examine_others,
    examine_rows,
    start_worker,
)
from sitegen.errors import SitegenError, StoreError
from sitegen.file_names import DATA, FEATURE_PAGES, LABELS_FILE, LOAD, PUBLISHED_FILES, any_of
from sitegen.files import file_sizes
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.publish.archive import archive_findings
from sitegen.render.pages import PageRenderer
from sitegen.render.site import feature_tasks, no_collection
from sitegen.space import PAGES_BYTES
from sitegen.workers import worker_pool

# Fewer features than this may take more bytes each
BUDGET_FEATURES = 16_384
PAGE_BUDGET_BYTES = 25_000
JSON_BUDGET_BYTES = 15_000
# Of everything in a site of at most this many features; for one of more, the limit of GitHub Pages
SITE_BUDGET_BYTES = 750_000_000
_FEATURE_PAGE = re.compile(any_of(FEATURE_PAGES))


@dataclass(frozen=True)
class Report:
    """All findings, and one line on what was examined."""

    findings: list[str]
    summary: str


def check_output(output: OutputFolder, of_archive: bool = True) -> Report:
    """Check `data/` and `site/`, and with `of_archive` also the archive if there is one.

    raises  OutputError if there is no site
    """
    output.require_site()
    try:
        renderer = PageRenderer(output)
    except SitegenError as error:
        return Report([str(error)], "check: 1 finding; the rest was not examined")
    there = file_sizes(output.site)
    with no_collection(), worker_pool(start_worker, output) as pool:
        parts = pool.map(examine_features, feature_tasks(len(renderer.paths)))
        # Later in the queue, so that the workers have them while this process renders the lists of all features
        rows = pool.map(examine_rows, renderer.rows_paths, chunksize=16)
        live = pool.submit(examine_live)
        folders = _submit_folders(pool, output)
        archive = pool.submit(archive_findings, output) if of_archive else _result([])
        seen = _merged(parts, len(renderer.paths))
        for part in [examine_others(output, renderer, seen.features), *rows, live.result()]:
            seen.merge(part)
        findings = [finding for folder in folders for finding in folder.result()]
        findings += seen.findings
        kinds: list[str] = [summary.kind for summary in seen.features.summaries]
        findings += count_findings(renderer.manifest, kinds)
        findings += seen.links.findings(there)
        findings += _strange_findings(there, seen.names)
        findings += archive.result()
    sizes = _Sizes.of(there, renderer.paths)
    findings += sizes.findings()
    told = f"{len(findings)} findings" if len(findings) != 1 else "1 finding"
    examined = f"{len(renderer.paths):,} features and {len(seen.links.wanted):,} links"
    return Report(findings, f"check: {told} in {examined}; {sizes}")


def _merged(parts: Iterable[Seen], n_features: int) -> Seen:
    """All parts of the features together; progress is shown as they come."""
    progress = Progress("check", n_features, "features", then="lists, scripts and checksums")
    seen = Seen()
    for task, part in zip(feature_tasks(n_features), parts, strict=True):
        seen.merge(part)
        progress.advance(len(task))
    progress.finish()
    return seen


def _submit_folders(pool: ProcessPoolExecutor, output: OutputFolder) -> list[Future[list[str]]]:
    """Have the workers compare the data, and the site's copy of it, with the list of checksums."""
    try:
        listed = listed_checksums(output.data)
    except StoreError as error:
        return [_result([str(error)])]
    published = {name: listed[name] for name in listed if PUBLISHED_FILES.fullmatch(name)}
    return [
        pool.submit(checksum_findings, output.data, DATA, listed),
        pool.submit(checksum_findings, output.site / DATA, f"site/{DATA}", published),
    ]


def _result(findings: list[str]) -> Future[list[str]]:
    """A task that is already done."""
    done = Future[list[str]]()
    done.set_result(findings)
    return done


def _strange_findings(there: Iterable[str], names: set[str]) -> list[str]:
    """Findings on pages, data scripts and labels that belong to nothing in the data."""
    examined = (
        name
        for name in there
        if name.endswith(".html")
        or (name.startswith(f"{LOAD}/") and name.endswith(".js"))
        or name == LABELS_FILE
    )
    return [f"site/{name} belongs to nothing in the data" for name in examined if name not in names]


@dataclass(frozen=True)
class _Sizes:
    """Mean bytes per feature, and bytes of the whole site."""

    n_features: int
    page_bytes: float
    json_bytes: float
    site_bytes: int

    @classmethod
    def of(cls, site: dict[str, int], records: list[Path]) -> _Sizes:
        pages = [size for name, size in site.items() if _FEATURE_PAGE.fullmatch(name)]
        return cls(
            len(records),
            _mean(pages),
            _mean([path.stat().st_size for path in records]),
            sum(site.values()),
        )

    def findings(self) -> list[str]:
        n_alike = max(1, BUDGET_FEATURES / max(self.n_features, 1))
        site = SITE_BUDGET_BYTES if self.n_features <= BUDGET_FEATURES else PAGES_BYTES
        budgets = (
            ("a feature's page", self.page_bytes, n_alike * PAGE_BUDGET_BYTES, "bytes on average"),
            ("a feature's JSON", self.json_bytes, n_alike * JSON_BUDGET_BYTES, "bytes on average"),
            ("the site", self.site_bytes, site, "bytes"),
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


def _mean(sizes: list[int]) -> float:
    return sum(sizes) / max(len(sizes), 1)
