"""The time that the analysis adds to the demo's sweep: seconds of each part, within one run."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.inputs import D_HIDDEN, BenchmarkInputs
from sitegen.analysis import findings
from sitegen.analysis.ablation import Ablator
from sitegen.analysis.evidence import Evidence
from sitegen.analysis.second_autoencoder import OtherContexts
from sitegen.compute import compute_data
from sitegen.config import load_config
from sitegen.maths.removal import Remover
from sitegen.output import open_output
from sitegen.store import StoreWriter

PARTS: dict[str, list[tuple[Any, str]]] = {
    "the sample, both autoencoders": [(findings, "read_sample")],
    "neighbours, neurons, matches": [(findings, "find_relations")],
    "near misses": [(findings, "find_near_misses")],
    "ablation": [(Ablator, "__init__"), (Ablator, "add"), (Ablator, "table")],
    "evidence, to JSON": [(Evidence, "record"), (StoreWriter, "add_evidence")],
    "contexts of the second autoencoder": [
        (findings, "find_other_contexts"),
        (OtherContexts, "record"),
        (StoreWriter, "add_other"),
    ],
    "quality": [(findings, "measure_quality")],
    "map": [(findings, "feature_map")],
}


def measure_analysis(preset: str, out: Path) -> dict[str, Any]:
    """Seconds of a preset's sweep without the analysis, and of each part of it."""
    shutil.rmtree(out, ignore_errors=True)
    with timed(PARTS) as seconds:
        started = time.perf_counter()
        compute_data(load_config(preset), open_output(out))
        total = time.perf_counter() - started
    return {"base_seconds": total - sum(seconds.values()), "parts": dict(seconds)}


def measure_ablation(files: BenchmarkInputs, n_rows: int, out: Path) -> dict[str, float]:
    """Seconds that ablation takes at full width, for a sixteenth of the features."""
    shutil.rmtree(out, ignore_errors=True)
    overrides = {"corpus.n_rows": str(n_rows), "sweep.features": f"0-{D_HIDDEN // 16 - 1}"}
    parts = {"ablation": PARTS["ablation"], "lists": [(Remover, "_search")]}
    with timed(parts) as seconds:
        compute_data(load_config(str(files.preset), overrides), open_output(out))
    tables = [
        json.loads(path.read_bytes())["ablation"] for path in (out / "data/evidence").iterdir()
    ]
    n_active = sum(len(table["offset"]) for table in tables)
    return {
        "n_features": len(tables),
        "n_active": n_active,
        "seconds": seconds["ablation"],
        "lists_seconds": seconds["lists"],
    }


@contextmanager
def timed(parts: dict[str, list[tuple[Any, str]]]) -> Iterator[dict[str, float]]:
    """Add up the seconds that some functions take while the block runs."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work, updated=())
        def run(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                seconds[name] += time.perf_counter() - started

        return run

    with ExitStack() as stack:
        for name, places in parts.items():
            for owner, attribute in places:
                stack.enter_context(
                    patch.object(owner, attribute, timed(name, getattr(owner, attribute)))
                )
        yield seconds
