"""Time, memory and disk of wide autoencoders: a whole run at two widths, each command in a process of its own.

The autoencoders read the residual stream, so that only their width differs from a run of `benchmarks.inputs`. Every
width has about as many active features on a token, as autoencoders in use have.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from benchmarks.analysis import PARTS, timed
from benchmarks.inputs import D_MODEL, SEED, SEQ_LEN, autoencoder_weights, make_text_and_model
from benchmarks.runs import run_build
from sitegen.analysis import findings, relations
from sitegen.compute import compute_data
from sitegen.config import Config, load_config
from sitegen.output import open_output
from sitegen.sources.inputs import Inputs
from sitegen.sweep.driver import sweep
from sitegen.sweep.state import SweepState

WIDTHS = (16_384, 65_536)
N_ROWS = 512
HOOK_POINT = "blocks.0.hook_resid_post"
# Every so many records are read to count contexts
EVERY = 64
# Ablation and losses cost the same for each feature or row at every width (docs/performance.md)
SETTINGS = {
    "corpus.n_rows": str(N_ROWS),
    "analysis.n_ablated": "0",
    "analysis.n_quality_rows": "64",
    "live.precision": "none",
}
MEASURED: dict[str, list[tuple[Any, str]]] = {
    **{part: PARTS[part] for part in ("near misses", "quality", "map")},
    "sample": [(findings, "read_sample")],
    "contexts": [(findings, "read_contexts")],
    "cosines": [(relations, "nearest")],
    "co-activation": [(relations, "coactive_features")],
    "shared contexts": [(relations, "share_contexts")],
}


def measure_wide(folder: Path, out: Path) -> list[dict[str, Any]]:
    """Measure a run at each width: seconds and peak memory of sweep and render, and bytes of the files."""
    return [_measure_width(folder, out, n_features) for n_features in WIDTHS]


def _measure_width(folder: Path, out: Path, n_features: int) -> dict[str, Any]:
    shutil.rmtree(out, ignore_errors=True)
    # A child's peak memory includes what its parent once held, so this process holds nothing large
    preset = _in_new_process("make_inputs", folder, n_features)
    computed = _in_new_process("compute", preset, out)
    render = run_build("render", str(out))
    return {
        "n_features": n_features,
        "n_tokens": N_ROWS * SEQ_LEN,
        "d_hook": D_MODEL,
        "n_contexts": _n_contexts(out / "data"),
        **computed,
        "render_seconds": render.seconds,
        "render_peak_bytes": render.peak_bytes,
        **{f"{part}_bytes": _size(out / part) for part in ("sweep", "data", "site")},
    }


def _in_new_process(step: str, *arguments: object) -> Any:
    """Run one of this module's steps in a process of its own; return its result."""
    command = [sys.executable, "-m", "benchmarks.wide", step, *map(str, arguments)]
    return json.loads(subprocess.check_output(command))


def make_inputs(folder: Path, n_features: int) -> str:
    """Make the inputs of one width; return the preset's path. Existing files are kept."""
    text = make_text_and_model(folder, 4 * N_ROWS)
    weights, preset = (folder / f"wide-{n_features}.{kind}" for kind in ("safetensors", "toml"))
    if not weights.exists():
        save_file(autoencoder_weights(folder, SEED + 6, HOOK_POINT, n_features), weights)
    preset.write_text(
        f'[model]\nname = "model"\ntokenizer = "tokenizer"\nhook_point = "{HOOK_POINT}"\n'
        f'[autoencoder]\nsource = "{weights.name}"\naccept_poor_fit = true\n'
        f'[corpus]\nfiles = ["{text.name}"]\nseq_len = {SEQ_LEN}\n'
    )
    return str(preset)


def compute(preset: str, out: Path) -> dict[str, Any]:
    """Compute `data/` in this process: seconds of the sweep and of each part after it, and peak memory."""
    steps: dict[str, float] = {}

    def engine(inputs: Inputs, config: Config, folder: Path) -> SweepState:
        steps["loaded_bytes"] = _peak_bytes()
        started = time.perf_counter()
        state = sweep(inputs, config, folder)
        steps["sweep_seconds"] = time.perf_counter() - started
        steps["sweep_peak_bytes"] = _peak_bytes()
        return state

    started = time.perf_counter()
    with timed(MEASURED) as parts:
        compute_data(load_config(preset, SETTINGS), open_output(out), engine)
    return {
        **steps,
        "seconds": time.perf_counter() - started,
        "peak_bytes": _peak_bytes(),
        "parts": dict(parts),
    }


def _peak_bytes() -> int:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _n_contexts(data: Path) -> float:
    """Mean number of contexts of a feature, over some of the features."""
    records = sorted((data / "features").iterdir())[::EVERY]
    counts = [len(json.loads(path.read_bytes())["contexts"]) for path in records]
    return sum(counts) / len(counts)


if __name__ == "__main__":
    step, one, two = sys.argv[1:]
    result = make_inputs(Path(one), int(two)) if step == "make_inputs" else compute(one, Path(two))
    print(json.dumps(result))
