"""The time that the analysis adds to a sweep: seconds of each part within one run, of the demo and at full width."""

from __future__ import annotations

import functools
import resource
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sitegen import compute
from sitegen.analysis import findings
from sitegen.analysis.ablation import Ablator
from sitegen.analysis.evidence import Evidence
from sitegen.analysis.second_autoencoder import OtherContexts
from sitegen.config import load_config
from sitegen.output import open_output
from sitegen.store import StoreWriter
from sitegen.sweep.driver import sweep
from sitegen.sweep.state import SweepState

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
        compute.compute_data(load_config(preset), open_output(out))
        total = time.perf_counter() - started
    return {"base_seconds": total - sum(seconds.values()), "parts": dict(seconds)}


def measure_full(preset: str, n_rows: int, out: Path) -> dict[str, Any]:
    """Measure a run with everything on: what it does besides reading the sources and sweeping the rows, and its memory.

    In a process of its own, since the peak is that of the whole process.
    """
    shutil.rmtree(out, ignore_errors=True)
    before: dict[str, list[tuple[Any, str]]] = {
        "sources": [(compute, "load_inputs")],
        "fit": [(compute, "measure_fit")],
    }
    parts = {**PARTS, "contexts": [(findings, "read_contexts")]}
    swept = 0.0

    def timed_sweep(*arguments: Any) -> SweepState:
        nonlocal swept
        started = time.perf_counter()
        state = sweep(*arguments)
        swept = time.perf_counter() - started
        return state

    with timed({**before, **parts}) as seconds:
        started = time.perf_counter()
        config = load_config(preset, {"corpus.n_rows": str(n_rows), "sweep.precision": "bf16"})
        compute.compute_data(config, open_output(out), timed_sweep)
        total = time.perf_counter() - started
    # What stands in a list of parts as well is not counted twice
    seconds["contexts"] -= seconds["ablation"]
    rest = total - swept - sum(seconds.values())
    shown = {name: seconds[name] for name in parts}
    return {
        "n_rows": n_rows,
        "parts": {**shown, "records, and the model of pages": rest},
        "seconds": sum(shown.values()) + rest,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
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
