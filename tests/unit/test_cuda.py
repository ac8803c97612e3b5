"""The sweep on a real GPU, which `make gpu` runs: the numbers of a CPU, one wait a batch, and too little memory.

`test_device.py` makes the same comparisons on a device that does not exist, wherever the tests run.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import compare, differences
from sitegen.cli import main
from sitegen.config import load_config
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sweep.shards import ShardSweeper
from sitegen.sweep.state import SweepResult
from tests.tiny import TinyInputs

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def cuda_device() -> None:
    assert torch.cuda.is_available(), "these tests need a CUDA device and a CUDA build of torch"


def inputs_of(tiny: TinyInputs, **overrides: str) -> Inputs:
    settings = {f"sweep.{name}": value for name, value in overrides.items()}
    return load_inputs(load_config(str(tiny.preset), {"sweep.device": "cuda", **settings}))


def swept(inputs: Inputs, rows: range) -> SweepResult:
    sweeper = ShardSweeper(inputs, inputs.config)
    state = sweeper.empty_state()
    sweeper.update(state, rows)
    return state.result()


def test_the_same_activations_give_the_same_statistics_as_on_a_cpu(tiny: TinyInputs) -> None:
    found = compare(load_config(str(tiny.preset)))
    for precision, by_statistic in found["same"].items():
        assert not any(by_statistic.values()), (precision, by_statistic)
    assert found["own_activations"]["largest_relative_difference_of_maxima"] < 1e-4


def test_a_whole_run_is_found_right(tiny: TinyInputs, tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--device", "cuda", "--precision", "bf16"]
    assert main(["run", str(tiny.preset), *options]) == 0


def test_two_sweeps_are_equal_to_the_bit(tiny: TinyInputs) -> None:
    first, second = (swept(inputs_of(tiny), range(320)) for _ in range(2))
    assert not any(differences(first, second).values())
    assert (first.activation_sum == second.activation_sum).all()


def test_the_host_waits_once_a_batch(tiny: TinyInputs) -> None:
    inputs = inputs_of(tiny, batch_rows="4")
    sweeper = ShardSweeper(inputs, inputs.config)
    sweeper.update(sweeper.empty_state(), range(8))
    state = sweeper.empty_state()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            sweeper.update(state, range(48))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in waits if "synchroniz" in str(w.message)]) <= 12 + 1


def test_too_little_memory_halves_the_batch(
    tiny: TinyInputs, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = inputs_of(tiny, batch_rows="320")
    sweeper = ShardSweeper(inputs, inputs.config)
    expected = swept(inputs, range(320))
    used = torch.cuda.memory_allocated() / torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(used + 8e6 / torch.cuda.mem_get_info()[1])
    try:
        found = sweeper.sweep(range(320))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "going on with batches of" in capsys.readouterr().err
    assert not any(differences(found.result(), expected).values())
