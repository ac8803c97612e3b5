"""Room on disks: how much a run will need, looked at before it computes anything.

What a run writes is not known before the sweep, since features that are seldom active take less. The figures are
what the demo takes, in which few features are; so a run that is refused for want of room needs about that much.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sitegen.config import Config
from sitegen.errors import SpaceError
from sitegen.output import OutputFolder

STATE_BYTES = (
    1_000  # of a shard's saved state, for each feature; the first shards' are three times as large
)
DATA_BYTES = 40  # of data/, for each token that a feature's contexts show
SITE_BYTES = 80  # of site/, likewise; a copy of most of data/ is in it


def require_space(output: OutputFolder, config: Config, n_features: int, n_rows: int) -> None:
    """That the output folder's disk has room for what a run will write there, beside what it has written already.

    raises  SpaceError
    """
    n_shards = -(-n_rows // config.sweep.shard_rows)
    contexts = config.contexts
    n_contexts = contexts.n_top + contexts.n_intervals * contexts.n_per_interval
    n_tokens = n_features * n_contexts * (contexts.n_before + 1 + contexts.n_after)
    needs = {
        "sweep": (output.sweep, n_shards * n_features * STATE_BYTES),
        "data": (output.data, n_tokens * DATA_BYTES),
        "site": (output.site, n_tokens * SITE_BYTES),
    }
    left = {name: max(n - _bytes_in(folder), 0) for name, (folder, n) in needs.items()}
    parts = ", ".join(f"{name}/ {size(n)}" for name, n in left.items())
    require_free(
        output.root, sum(left.values()), f"this run ({parts})", "or give another folder with --out"
    )


def require_free(folder: Path, n_bytes: int, what: str, otherwise: str) -> None:
    """That a folder's disk has so much room for something.

    otherwise  what to do instead of making room
    raises     SpaceError
    """
    place = folder.absolute()
    there = next(path for path in (place, *place.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if free < n_bytes:
        raise SpaceError(
            f"{folder} has {size(free)} free, and {what} needs about {size(n_bytes)}: free space there, {otherwise}"
        )


def size(n_bytes: int) -> str:
    """A number of bytes in words."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
