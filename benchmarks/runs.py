"""Whole commands, each in a process of its own: seconds, peak memory, what they wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.subject import BenchmarkSubject

BUILD = Path(__file__).parent.parent / "build.py"


@dataclass(frozen=True)
class Run:
    """What a command took."""

    seconds: float
    peak_bytes: int  # of the process and the largest of its children


def run_build(*arguments: str, kill_after: float = 0.0) -> Run:
    """Runs `build.py` with some arguments; with `kill_after`, ends it by force after so many seconds.

    raises  subprocess.CalledProcessError if it fails of itself
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(BUILD), *arguments], start_new_session=True)
    if kill_after:
        time.sleep(kill_after)
        os.killpg(process.pid, 9)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code and not kill_after:
        raise subprocess.CalledProcessError(code, arguments)
    return Run(seconds, usage.ru_maxrss * 1024)


def measure_growth(files: BenchmarkSubject, n_rows: int, out: Path) -> dict[str, Any]:
    """`build.py sweep` at three numbers of tokens, of features and of contexts kept, the others held."""
    base = ["--precision", "bf16"]

    def sweep(*options: str) -> dict[str, float]:
        shutil.rmtree(out, ignore_errors=True)
        run = run_build("sweep", str(files.preset), "--out", str(out), *base, *options)
        return {"seconds": run.seconds, "peak_bytes": run.peak_bytes}

    few = ["--rows", str(n_rows)]
    return {
        "tokens": {n * n_rows * 128: sweep("--rows", str(n * n_rows)) for n in (1, 2, 4)},
        "features": {n: sweep(*few, "--features", f"0-{n - 1}") for n in (4096, 8192, 16384)},
        "contexts": {n: sweep(*few, "--set", f"contexts.n_top={n}") for n in (10, 20, 40)},
    }


def measure_render(files: BenchmarkSubject, n_rows: int, out: Path) -> dict[str, Any]:
    """A whole run of all features, its pages rendered, rendered again in four situations, and checked."""
    shutil.rmtree(out, ignore_errors=True)
    rows = ["--rows", str(n_rows), "--precision", "bf16"]
    sweep = run_build("sweep", str(files.preset), "--out", str(out), *rows)
    first = run_build("render", str(out))
    pages = sorted((out / "site/features").glob("*.html"))
    records = sorted((out / "data/features").glob("*.json"))
    again, n_again = _render_again(out, pages)
    _change_one_record(records[7])
    changed, n_changed = _render_again(out, pages)
    shutil.rmtree(out / "site")
    run_build("render", str(out), kill_after=first.seconds / 2)
    resumed, n_resumed = _render_again(out, pages)
    check = run_build("check", str(out))
    site_bytes = sum(path.stat().st_size for path in (out / "site").rglob("*") if path.is_file())
    return {
        "n_rows": n_rows,
        "n_features": len(records),
        "sweep_seconds": sweep.seconds,
        "render_seconds": first.seconds,
        "render_peak_bytes": first.peak_bytes,
        "again": {"seconds": again.seconds, "n_written": n_again},
        "changed": {"seconds": changed.seconds, "n_written": n_changed},
        "resumed": {"seconds": resumed.seconds, "n_written": n_resumed},
        "check_seconds": check.seconds,
        "page_bytes": sum(path.stat().st_size for path in pages) / len(pages),
        "json_bytes": sum(path.stat().st_size for path in records) / len(records),
        "site_bytes": site_bytes,
    }


def measure_startup() -> dict[str, float]:
    """Seconds until `build.py --help` is done."""
    return {"help_seconds": median(run_build("--help").seconds for _ in range(7))}


def _render_again(out: Path, pages: list[Path]) -> tuple[Run, int]:
    """(what it took, how many of the pages are other files than before)."""
    before = {path: _identity(path) for path in pages if path.exists()}
    run = run_build("render", str(out))
    return run, sum(_identity(path) != before.get(path) for path in pages)


def _identity(path: Path) -> tuple[int, int]:
    """What tells a file from a later one of the same name."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def _change_one_record(path: Path) -> None:
    """Another number of firings, as another labels file or sweep would bring."""
    record = json.loads(path.read_text())
    record["n_active"] += 1
    path.write_text(json.dumps(record))
