"""A run on a device with memory of its own: the same data as on a CPU, and hardly a wait for the device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.cluster_utils import Cluster

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.errors import SourceError, SpaceError
from sitegen.maths.deferred import Check, DeferredChecks, TrueIndices, read_numbers
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sweep import cluster
from sitegen.sweep.cluster import ray_engine
from sitegen.sweep.driver import sweep
from sitegen.sweep.shards import ShardSweeper
from sitegen.sweep.state import SweepResult
from tests.conftest import REPOSITORY, folder_bytes
from tests.pretend_device import NAME, pretend
from tests.tiny import TinyInputs

# Entries of the largest product that fits the device's memory in the tests of too little memory: two rows
TWO_ROWS = 2 * 93 * 24


def inputs_of(tiny: TinyInputs, *overrides: tuple[str, str]) -> Inputs:
    return load_inputs(load_config(str(tiny.preset), dict(overrides)))


def assert_same(one: SweepResult, other: SweepResult) -> None:
    for name, found in vars(one).items():
        theirs = vars(other)[name]
        if name in ("top", "samples"):
            for field, array in found.arrays().items():
                np.testing.assert_array_equal(array, theirs.arrays()[field], err_msg=field)
        else:
            np.testing.assert_array_equal(found, theirs, err_msg=name)


def test_tensors_of_the_device_and_of_the_host_do_not_mix() -> None:
    """The other tests of this file could not fail otherwise."""
    with pretend():
        there, here = torch.ones(3).to(NAME), torch.ones(3)
        assert (there + there).tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="mixed"):
            there + here
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()


@pytest.mark.parametrize(
    "wait",
    [
        lambda there: there.sum().item(),
        lambda there: there[there > 0],
        lambda there: there.nonzero(),
        lambda there: there.cpu(),
        lambda there: there.tolist(),
        lambda there: torch.unique(there),
    ],
)
def test_each_wait_for_the_device_is_counted(wait: object) -> None:
    with pretend() as device:
        there = torch.ones(3).to(NAME)
        assert device.n_waits == 0
        there * 2 + 1
        assert device.n_waits == 0
        wait(there)  # type: ignore[operator]
        assert device.n_waits == 1


def test_a_run_gives_the_data_of_a_cpu(tiny: TinyInputs, tiny_output: Path, tmp_path: Path) -> None:
    """Every comparison of the CPU's output with brute force therefore holds for the device too."""
    with pretend():
        assert main(["run", str(tiny.preset), "--out", str(tmp_path)]) == 0
    found, expected = folder_bytes(tmp_path / "data"), folder_bytes(tiny_output / "data")
    manifests = [json.loads(folder.pop("manifest.json")) for folder in (found, expected)]
    assert [m["config"]["sweep"].pop("device") for m in manifests] == [NAME, "cpu"]
    assert manifests[0] == manifests[1]
    for folder in (found, expected):
        del folder["SHA256SUMS"]
    assert found == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("features", ["", "3,17-40,92"])
def test_the_host_waits_once_a_batch_and_once_for_all_checks(
    precision: str, features: str, tiny: TinyInputs
) -> None:
    n_batches = 12
    options = [("sweep.precision", precision), ("sweep.features", features)]
    with pretend() as device:
        inputs = inputs_of(tiny, *options, ("sweep.batch_rows", "4"))
        sweeper = ShardSweeper(inputs, inputs.config)
        state, n_waits = sweeper.empty_state(), device.n_waits
        sweeper.update(state, range(4 * n_batches))
        assert device.n_waits - n_waits == n_batches + 1


def test_lists_that_are_merged_during_a_sweep_cost_no_further_wait(
    tiny: TinyInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sweep_rows(inputs_of(tiny), range(0, 160))
    monkeypatch.setattr("sitegen.sweep.best_lists.MERGED_FROM", 100)
    with pretend() as device:
        inputs = inputs_of(tiny, ("sweep.batch_rows", "4"))
        sweeper = ShardSweeper(inputs, inputs.config)
        state, n_waits = sweeper.empty_state(), device.n_waits
        sweeper.update(state, range(0, 160))
        assert device.n_waits - n_waits == 40 + 1
        assert_same(state.result(), expected)


def sweep_rows(inputs: Inputs, rows: range) -> SweepResult:
    sweeper = ShardSweeper(inputs, inputs.config)
    state = sweeper.empty_state()
    sweeper.update(state, rows)
    return state.result()


@pytest.mark.parametrize("batch_rows", [7, 341, 1000])
def test_the_size_of_a_batch_changes_no_result(batch_rows: int, tiny: TinyInputs) -> None:
    """A pass of the model has 341 rows here, so batches are parts of passes, or several passes."""
    inputs = inputs_of(tiny, ("sweep.batch_rows", str(batch_rows)))
    n_rows = len(inputs.rows.tokens)
    assert inputs.pass_rows == 341 < n_rows
    expected = sweep_rows(inputs_of(tiny), range(n_rows))
    found = sweep_rows(inputs, range(n_rows))
    # Sums are added up batch by batch: they may differ by the rounding of float64
    np.testing.assert_allclose(found.activation_sum, expected.activation_sum, rtol=1e-13)
    found.activation_sum[:] = expected.activation_sum
    assert_same(found, SweepResult(**{**vars(expected), "largest_error": found.largest_error}))


def test_too_little_memory_halves_the_batch_and_says_so(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ("corpus.n_rows", "96")
    whole = inputs_of(tiny, rows)
    expected = sweep(whole, whole.config, tmp_path / "cpu").result()
    with pretend() as device:
        inputs = inputs_of(tiny, rows, ("sweep.batch_rows", "8"))
        device.fail_above = TWO_ROWS
        found = sweep(inputs, inputs.config, tmp_path / NAME).result()
    told = [line for line in capsys.readouterr().err.splitlines() if "going on with" in line]
    assert [line.split()[-2] for line in told] == ["4", "2"]
    assert all(line.startswith(f"{NAME}: its memory is too small for the batch") for line in told)
    np.testing.assert_allclose(found.activation_sum, expected.activation_sum, rtol=1e-13)
    found.activation_sum[:] = expected.activation_sum
    assert_same(found, SweepResult(**{**vars(expected), "largest_error": found.largest_error}))


def test_too_little_memory_for_one_row_is_an_error_of_one_line(
    tiny: TinyInputs, tmp_path: Path
) -> None:
    with pretend() as device:
        inputs = inputs_of(tiny)
        device.fail_above = 93
        with pytest.raises(SpaceError, match=r"batch of one row.*--device cpu"):
            sweep(inputs, inputs.config, tmp_path)


def test_job_slices_on_several_devices_merge_to_the_same_data(
    tiny: TinyInputs, tmp_path: Path
) -> None:
    with pretend():
        alone = inputs_of(tiny, ("corpus.n_rows", "128"))
        expected = sweep(alone, alone.config, tmp_path / "alone").result()
        preset = [str(tiny.preset), "--rows", "128", "--features", "0-40"]
        for i in (1, 2):
            options = ["--out", str(tmp_path / f"gpu{i}"), "--shard", f"{i}/2"]
            assert main(["sweep", *preset, *options]) == 0
        others = ["--from", str(tmp_path / "gpu2")]
        assert main(["merge", *preset, "--out", str(tmp_path / "gpu1"), *others]) == 0
    for index, path in enumerate(sorted((tmp_path / "gpu1/data/features").iterdir())):
        assert json.loads(path.read_bytes())["n_active"] == expected.n_active[index]


def shard_state_on_device(config: object, shard: range) -> bytes:
    """What a worker of the cluster runs: the shard, on the device."""
    with pretend():
        return real_shard_state(config, shard)  # type: ignore[arg-type]


real_shard_state = cluster._shard_state


@pytest.mark.slow
def test_a_cluster_with_a_device_for_each_worker_gives_the_same_statistics(
    tiny: TinyInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(cluster, "_shard_state", shard_state_on_device)
    node = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 << 20}
    nodes = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    nodes.add_node(**node)
    try:
        with pretend():
            inputs = inputs_of(tiny, ("corpus.n_rows", "128"))
            expected = sweep(inputs, inputs.config, tmp_path / "alone").result()
            engine = ray_engine(nodes.address, None)
            assert_same(engine(inputs, inputs.config, tmp_path / "ray").result(), expected)
    finally:
        nodes.shutdown()


def test_indices_where_a_mask_is_true_are_the_same_on_both() -> None:
    mask = torch.rand(50, 70, generator=torch.Generator().manual_seed(1)) > 0.9
    expected = mask.flatten().nonzero().flatten()
    here = TrueIndices(mask)
    with pretend() as device:
        there = TrueIndices(mask.to(NAME))
        n_waits = device.n_waits
        (n,) = read_numbers([there.n])
        found = there.indices(n)
        assert device.n_waits - n_waits == 1
        assert found.tolist() == expected.tolist()
    assert torch.equal(here.indices(int(here.n)), expected)


def test_deferred_checks_raise_the_first_error_when_they_are_read() -> None:
    below_one = Check(lambda x: x < 1, lambda x: SourceError(f"{x} is too much"))
    checks = DeferredChecks()
    for number in (0.5, 2.0, float("nan")):
        checks.add(torch.tensor(number), below_one)
    with pytest.raises(SourceError, match=r"2\.0 is too much"):
        checks.settle()
    checks.settle()
    checks.add(torch.tensor(float("nan")), below_one)
    with pytest.raises(SourceError, match="nan"):
        checks.settle()
