"""The site as a whole: every page and file rendered by a pool of workers. Files that are already right are kept."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sitegen.file_names import DATA, FEATURE_PAGES, FEATURES, NO_JEKYLL, OTHER, PUBLISHED_FILES
from sitegen.files import whole_folder
from sitegen.labels import given_labels, require_known, write_labels
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.render.digests import autoencoder_key
from sitegen.render.folder import SiteFolder, is_signed
from sitegen.render.pages import PageRenderer, RenderedFeatures
from sitegen.render.scripts import evidence_scripts
from sitegen.store import feature_files, read_manifest
from sitegen.workers import worker_pool

FEATURES_PER_TASK = 128


@dataclass(frozen=True)
class Rendered:
    """Outcome of a render.

    n_written  number of files that were not already there with the right content
    """

    n_pages: int
    n_written: int


def render_site(output: OutputFolder) -> Rendered:
    """Render `data/` to `site/`: what has changed, and what an interrupted render left undone.

    raises  StoreError if the data is missing, damaged or of another schema version
    """
    renderer = PageRenderer(output)
    with no_collection(), whole_folder(output.site, resume=True) as folder:
        site = SiteFolder(folder, output.site)
        features = _render_features(renderer, output, folder)
        names = features.names + _write_all(site, renderer.others(features))
        site.remove_all_but(names)
    n_pages = sum(name.endswith(".html") for name in names)
    return Rendered(n_pages, features.n_written + site.n_written)


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch Python's cycle collector off.

    A render and a check make no reference cycles, and the million objects of the search index make every collection
    slow.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_labels(path: Path, output: OutputFolder) -> None:
    """Replace the labels that pages show by those of a labels file.

    raises  UsageError if it cannot be read, holds none, or has a label of a feature that was not swept
    """
    labels = given_labels(path)
    require_known(labels, {int(file.stem) for file in feature_files(output.data)}, path)
    write_labels(labels, autoencoder_key(read_manifest(output.data)), output.labels)


def feature_tasks(n_features: int) -> list[range]:
    """Indices of all features, in parts for the processes of a pool."""
    return [
        range(first, min(first + FEATURES_PER_TASK, n_features))
        for first in range(0, n_features, FEATURES_PER_TASK)
    ]


def _files_beside(output: OutputFolder) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file that is published unchanged beside the pages."""
    data = output.data
    for path in [*sorted(data.iterdir()), *sorted((data / OTHER.folder).glob("*"))]:
        name = path.relative_to(data).as_posix()
        if PUBLISHED_FILES.fullmatch(name):
            yield f"{DATA}/{name}", path.read_bytes()
    if output.labels.is_file():
        yield output.labels.name, output.labels.read_bytes()
    yield NO_JEKYLL, b""


def _render_features(
    renderer: PageRenderer, output: OutputFolder, folder: Path
) -> RenderedFeatures:
    """Render every feature's page and data, all rows, and the files that need no feature, on all cores."""
    progress = Progress(
        "render", len(renderer.paths), "pages", then="lists, search and other files"
    )
    features = RenderedFeatures()
    with worker_pool(_start_worker, output, folder) as pool:
        # The two large tasks that depend on no feature run beside the features
        apart = [pool.submit(_write_apart, what) for what in ("live", "beside")]
        for part in pool.map(_render_part, feature_tasks(len(renderer.paths))):
            features.merge(part)
            progress.advance(len(part.summaries))
        rows = pool.map(_render_rows, renderer.rows_paths, chunksize=16)
        for names, n_written in [*rows, *(task.result() for task in apart)]:
            features.names += names
            features.n_written += n_written
    progress.finish()
    return features


# One per process, set by the pool's initializer
_worker: tuple[PageRenderer, OutputFolder, Path] | None = None


def _start_worker(output: OutputFolder, folder: Path) -> None:
    global _worker
    _worker = PageRenderer(output), output, folder


def _render_part(part: range) -> RenderedFeatures:
    """Render the features with these indices."""
    assert _worker is not None
    renderer, output, folder = _worker
    site, features = SiteFolder(folder, output.site), RenderedFeatures()
    for i in part:
        files = renderer.files(i)
        key = renderer.key(i, files)
        name = FEATURE_PAGES.name(files.feature_id)
        data = files.data()
        if not site.keep(name, partial(is_signed, key=key)):
            site.write(name, renderer.feature(i, data, key))
        beside = [
            (f"{DATA}/{FEATURES.name(files.feature_id)}", files.content),
            *evidence_scripts(data.evidence),
        ]
        features.names += [name, *_write_all(site, beside)]
        features.summaries.append(renderer.summary(data))
        features.search.add(i, data.record, renderer.site.vocabulary)
    features.n_written = site.n_written
    return features


def _write_apart(what: str) -> tuple[list[str], int]:
    """Write the model's files ("live") or the unchanged ones ("beside"): (names, number of files written)."""
    assert _worker is not None
    renderer, output, folder = _worker
    site = SiteFolder(folder, output.site)
    files = renderer.live_scripts() if what == "live" else _files_beside(output)
    return _write_all(site, files), site.n_written


def _render_rows(path: Path) -> tuple[list[str], int]:
    """Write the script with the rows of a file: (its name, number of files written)."""
    assert _worker is not None
    renderer, output, folder = _worker
    site = SiteFolder(folder, output.site)
    return _write_all(site, [renderer.rows(path)]), site.n_written


def _write_all(site: SiteFolder, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """Write files one at a time, since some are large; returns their names."""
    names = []
    for name, content in files:
        site.write(name, content)
        names.append(name)
    return names
