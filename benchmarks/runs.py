"""Whole commands, each in its own process: seconds, peak memory, and sizes of the files they wrote."""

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

from benchmarks.inputs import BenchmarkInputs

BUILD = Path(__file__).parent.parent / "build.py"


@dataclass(frozen=True)
class Run:
    """Seconds and memory of a command."""

    seconds: float
    peak_bytes: int  # of the process and the largest of its children


def run_build(*arguments: str, kill_after: float = 0.0) -> Run:
    """Run `build.py` with some arguments; `kill_after` kills it after that many seconds.

    raises  subprocess.CalledProcessError if it fails without being killed
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


def measure_growth(files: BenchmarkInputs, n_rows: int, out: Path) -> dict[str, Any]:
    """Measure `build.py sweep` with everything on for three numbers of tokens, features and contexts, one at a time.

    Shards have half of `n_rows` rows, so that states are saved, merged and pruned against the total at every size.
    """
    base = ["--precision", "bf16", "--set", f"sweep.shard_rows={n_rows // 2}"]

    def sweep(n_rows: int, *options: str) -> dict[str, float]:
        shutil.rmtree(out, ignore_errors=True)
        rows = ["--rows", str(n_rows)]
        run = run_build("sweep", str(files.preset), "--out", str(out), *base, *rows, *options)
        return {"seconds": run.seconds, "peak_bytes": run.peak_bytes}

    fewer = ["--features", "0-4095"]
    tokens = {n * n_rows * 128: sweep(n * n_rows) for n in (1, 2, 4)}
    features = {n: sweep(n_rows, "--features", f"0-{n - 1}") for n in (4096, 8192)}
    contexts = {n: sweep(n_rows, *fewer, "--set", f"contexts.n_top={n}") for n in (10, 40)}
    return {
        "tokens": tokens,
        "features": {**features, 16384: tokens[n_rows * 128]},
        "contexts": {10: contexts[10], 20: features[4096], 40: contexts[40]},
    }


def measure_render(files: BenchmarkInputs, n_rows: int, out: Path) -> dict[str, Any]:
    """Measure a whole run of all features with everything on: sweep, render, check, and render again three times."""
    shutil.rmtree(out, ignore_errors=True)
    rows = ["--rows", str(n_rows), "--precision", "bf16"]
    sweep = run_build("sweep", str(files.preset), "--out", str(out), *rows)
    first = run_build("render", str(out))
    check = run_build("check", str(out))
    pages = sorted((out / "site/features").glob("*.html"))
    records = sorted((out / "data/features").glob("*.json"))
    sizes = {
        "page_bytes": sum(path.stat().st_size for path in pages) / len(pages),
        "json_bytes": sum(path.stat().st_size for path in records) / len(records),
        "site_bytes": sum(p.stat().st_size for p in (out / "site").rglob("*") if p.is_file()),
    }
    again = _render_again(out, out / "site")
    original = records[7].read_bytes()
    _change_one_record(records[7])
    changed = _render_again(out, out / "site")
    records[7].write_bytes(original)
    shutil.rmtree(out / "site")
    run_build("render", str(out), kill_after=first.seconds / 2)
    resumed = _render_again(out, out / "site.partial")
    return {
        "n_rows": n_rows,
        "n_features": len(records),
        "sweep_seconds": sweep.seconds,
        "sweep_peak_bytes": sweep.peak_bytes,
        "render_seconds": first.seconds,
        "render_peak_bytes": first.peak_bytes,
        "check_seconds": check.seconds,
        "again": again,
        "changed": changed,
        "resumed": resumed,
        **sizes,
    }


def measure_startup() -> dict[str, float]:
    """Seconds until `build.py --help` is done."""
    return {"help_seconds": median(run_build("--help").seconds for _ in range(7))}


def _render_again(out: Path, former: Path) -> dict[str, float]:
    """Seconds of another render, and the number of feature pages that it rewrote."""
    before = {path.name: _identity(path) for path in (former / "features").glob("*.html")}
    run = run_build("render", str(out))
    pages = list((out / "site/features").glob("*.html"))
    n_written = sum(_identity(path) != before.get(path.name) for path in pages)
    return {"seconds": run.seconds, "n_written": n_written}


def _identity(path: Path) -> tuple[int, int]:
    """Inode and modification time of a file, which identify a rewritten one."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def _change_one_record(path: Path) -> None:
    """Change the number of active tokens in a record, as another sweep would."""
    record = json.loads(path.read_text())
    record["n_active"] += 1
    path.write_text(json.dumps(record))
