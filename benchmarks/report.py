"""The results as docs/performance.md: targets, and the measurements behind each figure."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

FULL_TOKENS = 27_000_000

Results = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A line of the table of targets."""

    what: str
    measured: str
    wanted: str
    reached: bool


def machine() -> Results:
    """The machine and the library versions of the measurements."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "bf16_instructions": any("avx512_bf16" in line or "amx_bf16" in line for line in lines),
        "python": platform.python_version(),
        **{library: version(library) for library in ("torch", "numpy", "transformer_lens")},
    }


def write_report(results: Results, path: Path) -> None:
    """Write the report."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Markdown, and all values are our own
    )
    growths = [_growth(what, runs) for what, runs in results["growth"].items()]
    tokens = growths[0]
    values = {
        "figures": _figures(results),
        "ratios": _ratios(results["sweep"]),
        "parts": _parts(results["sweep"]["parts"]),
        "growths": growths,
        "full_hours": (tokens["fixed"] + tokens["slope"] * FULL_TOKENS) / 3600,
        "peers": [*map(_peer, results["peers"].values()), _own(results)],
    }
    template = environment.get_template("performance.md.jinja")
    path.write_text(template.render({**results, **values}))


def _figures(results: Results) -> list[Figure]:
    sweep, render, startup = results["sweep"], results["render"], results["startup"]
    own = _own(results)["speed"]
    peers = {name: own / _peer(peer)["speed"] for name, peer in results["peers"].items()}
    peaks = [run["peak_bytes"] for run in results["growth"]["tokens"].values()]
    largest = max([*peaks, render["sweep_peak_bytes"], results["full"]["peak_bytes"]])
    pages, live = results["pages"], results["live"]
    slowest = max(ms for name, ms in pages.items() if name.endswith("longest_task_ms"))
    written = [render[when]["n_written"] for when in ("again", "changed")]
    return [
        _at_least("sweep, fp32, against `torch.addmm` of the encoder alone", _ratio(sweep, "fp32"), 0.85),
        _at_least("sweep, bf16, against the fp32 product alone", _ratio(sweep, "bf16"), 1.8),
        Figure(
            "bf16 finds the same: counts, sums, histograms, lists",
            "yes" if sweep["same_in_bf16"] else "no",
            "yes",
            sweep["same_in_bf16"],
        ),
        _at_least("times SAEDashboard 0.8.0, pages included", peers["saedashboard"], 20, "{:,.0f}"),
        _at_least("times sae_vis 0.3.7, pages included", peers["sae_vis"], 4000, "{:,.0f}"),
        _at_most("what does not depend on the rows, everything on, seconds", results["full"]["seconds"], 240, "{:.0f}"),
        _at_most("peak memory of `build.py sweep`, everything on, GB", largest / 1e9, 4),
        _at_most(
            "its spread at 1, 2 and 4 times the tokens, %", 100 * (max(peaks) / min(peaks) - 1), 5, "{:.1f}"
        ),
        _at_least("pages rendered a second", render["n_features"] / render["render_seconds"], 400, "{:.0f}"),
        _at_most("`build.py check`, seconds", render["check_seconds"], 40, "{:.0f}"),
        _at_most("the whole site, MB", render["site_bytes"] / 1e6, 750, "{:.0f}"),
        _at_most("a feature's page on average, KB", render["page_bytes"] / 1000, 25, "{:.1f}"),
        _at_most("a feature's JSON on average, KB", render["json_bytes"] / 1000, 15, "{:.1f}"),
        _at_most("index of all features usable after, seconds", pages["index_ready_ms"] / 1000, 1),
        _at_most("longest time it does not answer, ms", slowest, 50, "{:.0f}"),
        _at_most("the model in the page: an edit of a text of 40 tokens, ms", live["edit_first_ms"], 150, "{:.0f}"),
        _at_most("active features on 40 tokens, all read from disk, seconds", live["active_first_ms"] / 1000, 5),
        _at_most("loaded by a feature's page at first use, MB", live["first_use_bytes"] / 1e6, 12, "{:.1f}"),
        _at_most("the whole export, MB", live["export_bytes"] / 1e6, 220, "{:.0f}"),
        _at_most("feature pages rewritten when nothing changed", written[0], 0, "{}"),
        _at_most("feature pages rewritten when one record changed", written[1], 1, "{}"),
        _at_most("analysis on top of the demo's sweep, %", 100 * _added(results["analysis"]), 25, "{:.0f}"),
        _at_most("a sweep by a cluster, more than by one process, %", 100 * _more(results["cluster"]), 15, "{:.0f}"),
        _at_most("`build.py --help`, seconds", startup["help_seconds"], 0.3),
    ]  # fmt: skip


def _added(analysis: Results) -> float:
    """Time of the analysis, as a fraction of the rest of the sweep's time."""
    added: float = sum(analysis["parts"].values()) / analysis["base_seconds"]
    return added


def _more(cluster: Results) -> float:
    """Additional time of a cluster, as a fraction of one process's time, for the larger number of rows."""
    more: float = cluster["seconds"]["cluster"][-1] / cluster["seconds"]["process"][-1] - 1
    return more


def _at_least(what: str, measured: float, wanted: float, form: str = "{:.2f}") -> Figure:
    return Figure(what, form.format(measured), f"at least {wanted}", measured >= wanted)


def _at_most(what: str, measured: float, wanted: float, form: str = "{:.2f}") -> Figure:
    return Figure(what, form.format(measured), f"at most {wanted}", measured <= wanted)


def _ratio(sweep: Results, precision: str, product: str = "product", besides: str = "") -> float:
    """Speed of a sweep relative to the encoder's product alone; saving and merging the shard is included."""
    seconds = sweep["seconds"]
    taken = seconds[precision] + seconds[f"{precision}_shard"] + seconds.get(besides, 0.0)
    ratio: float = seconds[product] / taken
    return ratio


def _ratios(sweep: Results) -> list[Results]:
    def line(what: str, *options: str) -> Results:
        return {"what": what, **{p: _ratio(sweep, p, *options) for p in ("fp32", "bf16")}}

    return [
        line("the product as written, 4 096 tokens at once"),
        *(
            {
                "what": f"the same in the {which} quarter, the shard left out",
                **{p: ratios[i] for p, ratios in sweep["stretch_ratios"].items()},
            }
            for which, i in (("first", 0), ("last", -1))
        ),
        line("the fastest form of that product known, by its share below", "product_fastest"),
        line("the product as written, shown contexts recomputed besides", "product", "contexts"),
    ]


def _parts(shares: Results) -> list[Results]:
    names = {
        "product": "the product as written, `torch.addmm(b_enc, x, W_enc)`, 4 096 tokens at once",
        "product_fastest": "the same feature by token and 1 024 tokens at a time, as the sweep makes it",
        "product_bf16": "the same in bfloat16, from rounded activations to rounded sums, the bias left out",
        "model": "the model up to the hook",
        "search fp32": "all activations by way of an fp32 product",
        "search bf16": "all activations by way of a bf16 product",
        "single dot products alone": "computing as many single dot products as there are activations",
    }
    return [{"what": what, "share": shares[name]} for name, what in names.items()]


def _growth(what: str, runs: Results) -> Results:
    """A straight line fitted to the times at several sizes."""
    sizes = np.array([int(size) for size in runs])
    seconds = np.array([run["seconds"] for run in runs.values()])
    slope, fixed = np.polyfit(sizes, seconds, 1)
    return {
        "what": {"contexts": "top contexts kept"}.get(what, what),
        "runs": [{"size": int(size), **run} for size, run in runs.items()],
        "fixed": fixed,
        "slope": slope,
        "off": float(np.max(np.abs(fixed + slope * sizes - seconds) / seconds)),
    }


def _peer(peer: Results) -> Results:
    speed = peer["n_features"] * peer["n_tokens"] / peer["seconds"]
    return {**peer, "tool": f"{peer['tool']} {peer['version']}", "speed": speed}


def _own(results: Results) -> Results:
    """The run of this project by whole commands: from starting Python to the last page."""
    render, sweep = results["render"], results["sweep"]
    n_tokens = render["n_rows"] * (sweep["n_tokens"] // sweep["n_rows"])
    seconds = render["sweep_seconds"] + render["render_seconds"]
    return {
        "tool": "this project",
        "n_features": render["n_features"],
        "n_tokens": n_tokens,
        "seconds": seconds,
        "product_seconds": sweep["seconds"]["product"] / sweep["n_tokens"] * n_tokens,
        "speed": render["n_features"] * n_tokens / seconds,
    }
