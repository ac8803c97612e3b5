"""Measure everything at full size and write docs/performance.md: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.analysis import measure_analysis, measure_full
from benchmarks.cluster import measure_cluster
from benchmarks.gpu import predict
from benchmarks.inputs import BenchmarkInputs, make_inputs
from benchmarks.live import measure_live
from benchmarks.pages import measure_pages
from benchmarks.report import machine, write_report
from benchmarks.runs import measure_growth, measure_render, measure_startup
from benchmarks.sweep import measure_sweep
from benchmarks.wide import measure_wide
from sitegen.config import REPOSITORY_ROOT, load_config
from sitegen.sources.corpus import load_rows
from sitegen.sources.row_delimiters import row_delimiters
from sitegen.sources.tokenizer import load_tokenizer

FOLDER = REPOSITORY_ROOT / "out/bench"
TEXT_ROWS = 16_384
PEERS = {"saedashboard": ".venv-saedashboard", "sae_vis": ".venv-sae-vis"}


def main() -> None:
    """Run the selected measurements, store each result, and write the report from all stored results."""
    options = _options()
    files = make_inputs(FOLDER / "inputs", TEXT_ROWS)
    out, results = FOLDER / "run", FOLDER / "results"
    results.mkdir(exist_ok=True)
    measurements: dict[str, Callable[[], Any]] = {
        "machine": machine,
        "sweep": lambda: measure_sweep(files, options.rows // 2, FOLDER / "sweep"),
        "gpu_predict": lambda: predict(files),
        "growth": lambda: measure_growth(files, options.rows // 32, out),
        "render": lambda: measure_render(files, options.rows, out),
        "pages": lambda: measure_pages(out),
        "live": lambda: measure_live(out),
        "startup": measure_startup,
        "analysis": lambda: measure_analysis("demo", FOLDER / "analysis"),
        "full": lambda: measure_full(str(files.preset), options.rows // 8, FOLDER / "analysis"),
        "cluster": lambda: measure_cluster(files, options.rows // 4, FOLDER / "cluster"),
        "wide": lambda: measure_wide(FOLDER / "inputs", FOLDER / "wide"),
        "peers": lambda: _measure_peers(files, results),
    }
    for name in options.only or measurements:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        path = results / f"{name}.json"
        if options.only:
            path.write_text(json.dumps(measurements[name](), indent=1))
        else:  # one process for each: a child's peak memory includes what its parent held when it was started
            again = [
                sys.executable,
                "-m",
                "benchmarks",
                "--rows",
                str(options.rows),
                "--only",
                name,
            ]
            subprocess.run(again, check=False)
    for name in ("sweep", "analysis", "cluster", "wide"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    missing = [name for name in measurements if not (results / f"{name}.json").exists()]
    if missing:
        sys.exit(f"bench: no report yet, {', '.join(missing)} is still to be measured")
    kept = {name: json.loads((results / f"{name}.json").read_text()) for name in measurements}
    on_gpu = results / "gpu_measure.json"
    kept["gpu_measure"] = json.loads(on_gpu.read_text()) if on_gpu.exists() else None
    write_report(kept, REPOSITORY_ROOT / "docs/performance.md")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=TEXT_ROWS, help=f"rows of the sweep ({TEXT_ROWS})"
    )
    parser.add_argument(
        "--only",
        nargs="*",
        help="measure these again: machine sweep gpu_predict growth render pages live startup analysis full cluster "
        "wide peers",
    )
    return parser.parse_args()


def _measure_peers(files: BenchmarkInputs, folder: Path) -> dict[str, Any]:
    """Measure each peer in its own environment, on the rows that the sweep reads."""
    config = load_config(str(files.preset))
    tokenizer = load_tokenizer(config.model.tokenizer)
    rows = load_rows(config.corpus, tokenizer, row_delimiters(config.corpus, tokenizer))
    path = folder / "rows.npy"
    np.save(path, np.asarray(rows.tokens[:1024]))
    found = {}
    for name, environment in PEERS.items():
        python = REPOSITORY_ROOT / environment / "bin/python"
        script = REPOSITORY_ROOT / f"benchmarks/peers/run_{name}.py"
        output = subprocess.check_output([python, script, files.folder, path], text=True)
        found[name] = json.loads(output)
    return found


if __name__ == "__main__":
    main()
