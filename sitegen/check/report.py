"""The whole examination, in parallel over features, and what it found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sitegen.check.data import checksum_findings, record_findings, schema_findings
from sitegen.check.pages import (
    Page,
    feature_page_findings,
    link_target,
    read_page,
    structure_findings,
)
from sitegen.errors import StoreError
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.render.views import Vocabulary
from sitegen.store import feature_files, read_manifest, read_vocab

PAGE_BUDGET_BYTES = 25_000
JSON_BUDGET_BYTES = 15_000
SITE_BUDGET_BYTES = 1_000_000_000
FEATURES_PER_TASK = 64


@dataclass(frozen=True)
class Report:
    """Everything found wanting, and one line about what was examined."""

    findings: list[str]
    summary: str


@dataclass
class _Links:
    """Links and anchors of the pages read so far."""

    wanted: dict[tuple[str, str], str] = field(
        default_factory=dict
    )  # target -> a page that links to it
    anchors: set[tuple[str, str]] = field(default_factory=set)

    def add(self, name: str, page: Page) -> list[str]:
        """Takes in a page; links that leave the folder are found wanting at once."""
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
        """Takes in the links of other pages."""
        self.wanted = other.wanted | self.wanted
        self.anchors |= other.anchors

    def findings(self, site: Path) -> list[str]:
        """Links to files or anchors that are not there."""
        findings = []
        for (target, anchor), page in sorted(self.wanted.items()):
            if not (site / target).is_file():
                findings.append(f"site/{page}: link to {target}, which is not there")
            elif anchor and (target, anchor) not in self.anchors:
                findings.append(
                    f"site/{page}: link to {target}#{anchor}, which that page does not have"
                )
        return findings


def check_output(output: OutputFolder) -> Report:
    """Examines `data/` and `site/`.

    raises  StoreError if the manifest or the vocabulary cannot be read at all
    """
    manifest_findings = schema_findings(output.data / "manifest.json", "manifest")
    if manifest_findings:
        return Report(manifest_findings, "check: 1 finding; the rest was not examined")
    read_manifest(output.data)
    findings = schema_findings(output.data / "vocab.json", "vocab")
    if not (output.site / "index.html").is_file():
        raise StoreError(
            f"{output.site} holds no index.html: run build.py render {output.root} first"
        )
    findings += checksum_findings(output.data, output.site / "data")
    paths = feature_files(output.data)
    links = _Links()
    findings += _feature_findings(paths, output, links)
    findings += _other_page_findings(output.site, paths, links)
    findings += links.findings(output.site)
    sizes = _Sizes.of(output.site, paths)
    findings += sizes.findings()
    told = f"{len(findings)} findings" if len(findings) != 1 else "1 finding"
    return Report(
        findings,
        f"check: {told} in {len(paths):,} features and {len(links.wanted):,} links; {sizes}",
    )


def _feature_findings(paths: list[Path], output: OutputFolder, links: _Links) -> list[str]:
    tasks = [
        paths[first : first + FEATURES_PER_TASK]
        for first in range(0, len(paths), FEATURES_PER_TASK)
    ]
    progress = Progress("check", len(paths), "features")
    findings: list[str] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for task, (found, seen) in zip(
            tasks, pool.map(partial(_check_features, output), tasks), strict=True
        ):
            findings += found
            links.merge(seen)
            progress.advance(len(task))
    progress.finish()
    return findings


def _check_features(output: OutputFolder, paths: list[Path]) -> tuple[list[str], _Links]:
    manifest = read_manifest(output.data)
    vocabulary = Vocabulary(read_vocab(output.data), manifest["special_ids"])
    findings: list[str] = []
    links = _Links()
    for path in paths:
        record, found = record_findings(path, manifest)
        findings += found
        name = f"features/{int(path.stem)}.html"
        if not (output.site / name).is_file():
            findings.append(f"site/{name} is missing")
        elif record:
            page = read_page(output.site / name)
            findings += links.add(name, page)
            wanting = structure_findings(page) + feature_page_findings(page, record, vocabulary)
            findings += [f"site/{name}: {finding}" for finding in wanting]
    return findings, links


def _other_page_findings(site: Path, paths: list[Path], links: _Links) -> list[str]:
    expected = {f"{int(path.stem)}.html" for path in paths}
    findings = [
        f"site/features/{page.name} belongs to no feature of the data"
        for page in sorted((site / "features").glob("*.html"))
        if page.name not in expected
    ]
    for path in sorted(site.glob("*.html")):
        page = read_page(path)
        findings += links.add(path.name, page)
        findings += [f"site/{path.name}: {finding}" for finding in structure_findings(page)]
    return findings


@dataclass(frozen=True)
class _Sizes:
    """Bytes a feature, on average, and of the whole site."""

    page_bytes: float
    json_bytes: float
    site_bytes: int

    @classmethod
    def of(cls, site: Path, paths: list[Path]) -> _Sizes:
        return cls(
            _mean_bytes((site / "features").glob("*.html")),
            _mean_bytes(paths),
            sum(path.stat().st_size for path in site.rglob("*") if path.is_file()),
        )

    def findings(self) -> list[str]:
        budgets = (
            ("a feature's page", self.page_bytes, PAGE_BUDGET_BYTES, "bytes on average"),
            ("a feature's JSON", self.json_bytes, JSON_BUDGET_BYTES, "bytes on average"),
            ("the site", self.site_bytes, SITE_BUDGET_BYTES, "bytes"),
        )
        return [
            f"{what} takes {size:,.0f} {unit}, above the budget of {budget:,}: keep fewer or shorter contexts"
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
