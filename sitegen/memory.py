"""Memory: an estimate before a sweep of what it takes, compared with what the machine has available.

The inputs are loaded by then, so the estimate is of what comes on top of them. Measured peaks are in docs/scaling.md.
"""

from __future__ import annotations

import os
from pathlib import Path

from sitegen.config import Config
from sitegen.errors import SpaceError
from sitegen.progress import tell
from sitegen.sources.inputs import BLOCK_TOKENS
from sitegen.space import size
from sitegen.sweep.state import state_bytes

# A smaller need is not worth a line
TOLD_FROM = 4_000_000_000
# The estimate may be too high by this factor
CLEARLY = 1.25


def require_memory(
    config: Config, n_features: int, d_hidden: int, d_hook: int, on_cpu: bool = True
) -> None:
    """Say how much memory a sweep takes if that is much; raise SpaceError if the machine clearly has less.

    n_features  number of features swept, of the autoencoder's `d_hidden`
    on_cpu      whether the encoder is in this memory too, and not in a GPU's
    """
    needed = sweep_bytes(config, n_features, d_hidden, d_hook, on_cpu)
    available = available_bytes()
    if available is not None and needed > CLEARLY * available:
        raise SpaceError(
            f"the sweep needs about {size(needed)} of memory, but this machine has {size(available)} available: "
            "choose features, such as --features 0-9999, or use a machine with more"
        )
    if needed > TOLD_FROM:
        free = "" if available is None else f"; {size(available)} are available"
        tell(f"the sweep takes about {size(needed)} of memory{free}")


def sweep_bytes(
    config: Config, n_features: int, d_hidden: int, d_hook: int, on_cpu: bool = True
) -> int:
    """Estimate the memory of a sweep beyond its inputs: states, and the encoder with the product of a batch.

    The encoder is counted with all features, which it has when the sample is read, even if fewer are swept.
    """
    state = n_features * state_bytes(config.contexts)
    if not on_cpu:
        # What the device hands over at the end
        return state
    # The merged state, and that of a shard, beside whose lists as many entries may wait
    states = 3 * state
    width = 2 if config.sweep.precision == "bf16" else 4
    # The columns in float64, and again as the product takes them
    weights = d_hidden * d_hook * (8 + width)
    # The product, and whether each entry is above 0
    batch_tokens = max(config.sweep.batch_rows * config.corpus.seq_len, BLOCK_TOKENS)
    product = d_hidden * batch_tokens * (width + 1)
    return states + weights + product


def available_bytes() -> int | None:
    """Find how much memory can be used without swapping; the size of all memory on systems that only tell that."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")
        )
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        # Windows has no sysconf
        return None
