"""Disk space and site size: before a run computes anything, whether the disk has room and hosts will take the site.

The exact amount is not known before the sweep, since features that are rarely active need less. The figures below were
measured on the demo, in which few features are rarely active, so a run that is refused would indeed need about as much.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sitegen.config import Config, ContextConfig
from sitegen.errors import SpaceError
from sitegen.output import OutputFolder

# Bytes of a shard's saved state for each feature; the states of the first shards are three times as large
STATE_BYTES = 1_000
# Bytes of data/ for each token in the contexts of each feature
DATA_BYTES = 40
# Bytes of site/ for each token in the contexts of each feature, with a model of gelu-1l's size that pages run; it
# contains a copy of half of data/
SITE_BYTES = 60
# Largest site that GitHub Pages takes
PAGES_BYTES = 1_000_000_000
# With more files in a folder, the Hub refuses a push; source: huggingface/datasets, issue 7956
FILES_A_FOLDER = 10_000


def require_space(output: OutputFolder, config: Config, n_features: int, n_rows: int) -> None:
    """Raise SpaceError unless the output folder's disk has space for what a run still has to write there."""
    n_shards = -(-n_rows // config.sweep.shard_rows)
    n_tokens = n_features * _context_tokens(config.contexts)
    needs = {
        "sweep": (output.sweep, n_shards * n_features * STATE_BYTES),
        "data": (output.data, n_tokens * DATA_BYTES),
        "site": (output.site, n_tokens * SITE_BYTES),
    }
    # An interrupted run may have written a part of it already
    left = {name: max(n - _bytes_in(folder), 0) for name, (folder, n) in needs.items()}
    parts = ", ".join(f"{name}/ {size(n)}" for name, n in left.items())
    require_free(
        output.root, sum(left.values()), f"this run ({parts})", "or give another folder with --out"
    )


def describe_large_site(config: Config, n_features: int) -> str | None:
    """Say in one sentence how large a site will be, and how to make it smaller; None if every host takes it."""
    a_feature = SITE_BYTES * _context_tokens(config.contexts)
    n_bytes = n_features * a_feature
    limits, remedies = [], []
    if n_bytes > PAGES_BYTES:
        limits.append(f"GitHub Pages takes {size(PAGES_BYTES)}")
        fewer = max(config.contexts.n_top // 2, 1)
        remedies.append(f"show fewer contexts, such as --set contexts.n_top={fewer}")
    if n_features > FILES_A_FOLDER:
        limits.append(f"a Space takes {FILES_A_FOLDER:,} files in a folder")
    if not limits:
        return None
    n_that_fit = max(min(FILES_A_FOLDER, PAGES_BYTES // a_feature), 1)
    remedies.insert(0, f"choose features, such as --features 0-{n_that_fit - 1}")
    return (
        f"the site will have {n_features:,} pages and take about {size(n_bytes)} at most; {' and '.join(limits)}: "
        f"{', or '.join(remedies)}"
    )


def require_free(folder: Path, n_bytes: int, what: str, otherwise: str) -> None:
    """Raise SpaceError unless a folder's disk has at least `n_bytes` free.

    what       what needs the space, for the message
    otherwise  what to do instead of freeing space, for the message
    """
    free = shutil.disk_usage(existing_folder(folder)).free
    if free < n_bytes:
        raise SpaceError(
            f"the disk of {folder} has {size(free)} free, but {what} needs about {size(n_bytes)}: free space there, "
            f"{otherwise}"
        )


def existing_folder(path: Path) -> Path:
    """Find the folder that a path is in, or will be in: the path itself or the nearest of its parents that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def size(n_bytes: int) -> str:
    """Format a number of bytes in MB or GB."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def _context_tokens(contexts: ContextConfig) -> int:
    """Count the tokens in the contexts of a feature, if it has as many as are kept."""
    n_contexts = contexts.n_top + contexts.n_intervals * contexts.n_per_interval
    return n_contexts * (contexts.n_before + 1 + contexts.n_after)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
