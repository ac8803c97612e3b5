"""The code of the benchmarks runs, at the sizes of the tiny inputs; its results are not judged here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.analysis import PARTS, measure_analysis, measure_full
from benchmarks.gpu import FULL_TOKENS, cost_of, predict
from benchmarks.inputs import BenchmarkInputs
from benchmarks.report import machine, write_report
from benchmarks.sweep import measure_sweep
from tests.pretend_device import Operation
from tests.tiny import TinyInputs


class _Tiny(BenchmarkInputs):
    @property
    def preset(self) -> Path:
        return self.folder / "tiny.toml"


@pytest.fixture(scope="module")
def swept(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measure_sweep(_Tiny(tiny.folder), 72, tmp_path_factory.mktemp("sweep"))


def test_the_sweep_is_measured_and_both_precisions_agree(swept: dict[str, Any]) -> None:
    assert swept["same_in_bf16"] is True
    assert swept["n_tokens"] == 72 * 24
    assert all(seconds > 0 for seconds in swept["seconds"].values())


def test_the_report_names_missed_targets(swept: dict[str, Any], tmp_path: Path) -> None:
    run = {"seconds": 2.0, "peak_bytes": 5e9}
    again = {"seconds": 1.0, "n_written": 0}
    peer = {"n_features": 2, "n_tokens": 4, "seconds": 1.0, "product_seconds": 0.1}
    results = {
        "machine": machine(),
        "gpu_predict": {
            "n_tokens": 27_000_000,
            "batch_tokens": 16_384,
            "seconds": 33.2,
            "operations": [{"name": f"op{i}", "n": 10, "seconds": 2.0} for i in range(18)],
        },
        "gpu_measure": {
            "device": "a card",
            "torch": "2",
            "same": {"demo": {"same": {"fp32": {"n_active": 0, "top": 3}}}},
            "speed": {
                "bf16": {"sweep_tokens_a_second": 3e6, "share": 0.3, "peak_bytes": 9e9},
            },
        },
        "sweep": swept,
        "growth": {what: {1: run, 2: run, 4: run} for what in ("tokens", "features", "contexts")},
        "render": {
            "n_rows": 9,
            "n_features": 500,
            "sweep_seconds": 3.0,
            "render_seconds": 1.0,
            "render_peak_bytes": 1e8,
            "sweep_peak_bytes": 4.5e9,
            "again": again,
            "changed": again,
            "resumed": again,
            "check_seconds": 1.0,
            "page_bytes": 20_000,
            "json_bytes": 16_000,
            "site_bytes": 1e6,
        },
        "pages": {
            "index_ready_ms": 1200.0,
            "index_longest_task_ms": 0.0,
            "sort_longest_task_ms": 60.0,
            "filter_longest_task_ms": 0.0,
            "scroll_longest_task_ms": 0.0,
            "search_ms": 300.0,
        },
        "live": {
            "n_tokens": 40,
            "first_use_ms": 900.0,
            "first_use_bytes": 13e6,
            "edit_first_ms": 100.0,
            "edit_last_ms": 5.0,
            "active_first_ms": 4000.0,
            "active_again_ms": 1000.0,
            "export_bytes": 2e8,
        },
        "startup": {"help_seconds": 0.1},
        "full": {"n_rows": 9, "parts": {"map": 1.0}, "seconds": 250.0, "peak_bytes": 4.2e9},
        "analysis": {"base_seconds": 10.0, "parts": {"map": 1.0, "quality": 2.0}},
        "cluster": {
            "n_nodes": 2,
            "shard_rows": 2,
            "n_rows": [3, 12],
            "n_tokens": [72, 288],
            "seconds": {"process": [1.0, 4.0], "cluster": [2.0, 5.5]},
        },
        "peers": {
            "saedashboard": {"tool": "sae-dashboard", "version": "1", **peer},
            "sae_vis": {"tool": "sae-vis", "version": "2", **peer},
        },
    }
    write_report(results, tmp_path / "performance.md")
    report = (tmp_path / "performance.md").read_text()
    assert (
        "| peak memory of `build.py sweep`, everything on, GB | 5.00 | at most 4 | **no** |"
        in report
    )
    assert (
        "| what does not depend on the rows, everything on, seconds | 250 | at most 240 | **no** |"
        in report
    )
    assert "| `build.py check`, seconds | 1 | at most 40 | yes |" in report
    assert "| the whole site, MB | 1 | at most 750 | yes |" in report
    assert "| a feature's JSON on average, KB | 16.0 | at most 15 | **no** |" in report
    assert "| pages rendered a second | 500 | at least 400 | yes |" in report
    assert "| analysis on top of the demo's sweep, % | 30 | at most 25 | **no** |" in report
    assert "| index of all features usable after, seconds | 1.20 | at most 1 | **no** |" in report
    assert "| longest time it does not answer, ms | 60 | at most 50 | **no** |" in report
    assert "agree in every count" in report
    assert "| demo | fp32 | 0 | 3 |" in report
    assert "| bf16 | 3,000,000 | 0.30 | 9.0 |" in report
    assert "take 33 s on an H100" in report
    assert "| 2 others | 20 | 4.00 |" in report


def test_parts_of_the_analysis_are_timed(tiny: TinyInputs, tmp_path: Path) -> None:
    found = measure_analysis(str(tiny.preset), tmp_path / "out")
    assert set(found["parts"]) == set(PARTS)
    assert all(seconds > 0 for seconds in found["parts"].values())
    assert found["base_seconds"] > 0


def test_the_time_on_a_gpu_is_predicted_from_every_operation(
    tiny: TinyInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gpu.MOST_BATCH_TOKENS", 32 * 24)
    predicted = predict(_Tiny(tiny.folder))
    by_name = {operation["name"]: operation for operation in predicted["operations"]}
    assert sum(o["seconds"] for o in by_name.values()) == pytest.approx(predicted["seconds"])
    n_batches = FULL_TOKENS / (32 * 24)
    # One product of single entries and one wait in each batch; a few more waits at the ends of shards
    assert by_name["sparse_sampled_addmm"]["n"] == round(n_batches)
    assert n_batches <= by_name["waits"]["n"] < 1.6 * n_batches


def test_products_and_passes_are_priced_by_their_shapes() -> None:
    left, right, out = (
        torch.ones(64, 300).bfloat16(),
        torch.ones(300, 50).bfloat16(),
        torch.ones(64, 50),
    )
    product = cost_of(Operation("aten.mm.out", [left, right, out], [out], False, False))
    assert product.n_operations == 2 * 64 * 300 * 50
    assert product.precision == torch.bfloat16
    passed = cost_of(Operation("aten.mul.Tensor", [out, out], [out], False, False))
    assert passed.n_bytes == 3 * 64 * 50 * 4
    assert passed.seconds == 5e-6
    large = torch.empty(3_000_000_000 // 8, dtype=torch.float64)
    assert cost_of(Operation("aten.neg.default", [large], [large], False, False)).seconds == 0.002


def test_what_does_not_depend_on_the_rows_is_timed(tiny: TinyInputs, tmp_path: Path) -> None:
    found = measure_full(str(tiny.preset), 72, tmp_path / "out")
    assert {*PARTS, "contexts"} < set(found["parts"])
    assert all(seconds > 0 for seconds in found["parts"].values())
    assert found["seconds"] == pytest.approx(sum(found["parts"].values()))
    assert found["peak_bytes"] > 1e8
