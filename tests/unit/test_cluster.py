"""Distributed sweeps: job slices that are merged, and a Ray cluster of two nodes that loses a worker and a node."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.errors import SourceError
from sitegen.sources.inputs import load_inputs
from sitegen.sweep.cluster import ray_engine
from tests.conftest import REPOSITORY, folder_bytes
from tests.tiny import TinyInputs, documents

N_SHARDS = 606


@pytest.fixture(scope="module")
def preset(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of the tiny inputs with fourteen times the text, in many shards."""
    folder = tmp_path_factory.mktemp("cluster")
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    texts = (f"{i} {text}" for i in range(14) for text in documents())
    (folder / "text.jsonl").write_text("".join(f"{json.dumps({'text': t})}\n" for t in texts))
    path = folder / "tiny.toml"
    path.write_text(path.read_text().replace("shard_rows = 32", "shard_rows = 16"))
    return path


@pytest.fixture(scope="module")
def one_process(preset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone")
    assert main(["sweep", str(preset), "--out", str(out)]) == 0
    assert len([*(out / "sweep").glob("rows-*.npz")]) == N_SHARDS
    return folder_bytes(out / "data")


def test_job_slices_swept_separately_merge_to_the_same_data(
    preset: Path, one_process: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three machines with separate folders; missing shards are reported, and merging twice changes nothing."""
    outs = [tmp_path / f"machine{i}" for i in (1, 2, 3)]
    for i in (3, 1):
        shared = ["sweep", str(preset), "--out", str(outs[i - 1]), "--shard", f"{i}/3"]
        assert main(shared) == 0
        assert "shards of job slice" in capsys.readouterr().err
    others = ["--from", str(outs[0]), str(outs[1])]
    merge = ["merge", str(preset), "--out", str(outs[2])]
    assert main([*merge, *others]) == 2
    assert f"--from {outs[1]}: there is no" in capsys.readouterr().err
    outs[1].mkdir()
    (outs[1] / "sweep").mkdir()
    assert main([*merge, *others]) == 2
    message = capsys.readouterr().err
    assert "rows 16 to 31 have no state that this preset and machine would give" in message
    assert f"--shard 2/{N_SHARDS}" in message
    assert not (outs[2] / "data").exists()
    assert main(["sweep", str(preset), "--out", str(outs[1]), "--shard", "2/3"]) == 0
    n_states = [len([*(out / "sweep").glob("rows-*.npz")]) for out in outs]
    assert sum(n_states) == N_SHARDS
    assert max(n_states) - min(n_states) <= 1
    for _ in range(2):
        assert main([*merge, *others]) == 0
        assert folder_bytes(outs[2] / "data") == one_process


@pytest.mark.parametrize("job_slice", ["0/3", "4/3", "3", "a/3", "1/0", "1/3/5", "-1/3"])
def test_an_invalid_job_slice_is_refused(
    job_slice: str, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(preset), "--out", str(tmp_path), f"--shard={job_slice}"]) == 2
    assert f"--shard {job_slice}: give I/N with I from 1 to N" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--workers", "2"], "give --engine ray"),
        (["--shard", "1/2", "--address", "127.0.0.1:1"], "give --engine ray"),
        (["--engine", "ray", "--address", "nowhere"], "give HOST:PORT"),
        (["--engine", "ray", "--workers", "0"], "--workers 0: give 1 or more"),
        (
            ["--engine", "ray", "--workers", "2", "--address", "127.0.0.1:1"],
            "--address uses another one: give only one of them",
        ),
        (["--engine", "ray", "--shard", "1/2"], "leave --engine out"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_conflicting_options_are_refused(
    options: list[str],
    complaint: str,
    preset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sweep", str(preset), "--out", str(tmp_path), *options]) == 2
    assert complaint in capsys.readouterr().err


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and another node with one processor each, which quickly notice a lost node."""
    settings = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "_system_config": settings})
    cluster.add_node(**{**node, "include_dashboard": None})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _wait(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    started = time.monotonic()
    while not holds():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() - started < 120
        time.sleep(0.02)


def _workers() -> list[psutil.Process]:
    """Processes that are sweeping shards."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("ray::_shard_state" in part for part in process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.slow
def test_lost_worker_and_lost_node_change_no_byte(
    preset: Path, one_process: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    command = [sys.executable, "build.py", "sweep", str(preset), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--engine", "ray", "--address", cluster.address],
        cwd=REPOSITORY,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    states = tmp_path / "sweep"

    def n_states() -> int:
        return len([*states.glob("rows-*.npz")]) if states.is_dir() else 0

    _wait(lambda: n_states() >= 10 and len(_workers()) > 0, process)
    _workers()[0].kill()
    before = n_states()
    _wait(lambda: n_states() >= before + 10, process)
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    assert n_states() < N_SHARDS - 20, "the run was over before the node was lost"
    _, message = process.communicate(timeout=300)
    assert process.returncode == 0, message
    assert n_states() == N_SHARDS
    assert folder_bytes(tmp_path / "data") == one_process


@pytest.mark.slow
def test_a_local_cluster_resumes_where_one_process_stopped(
    preset: Path, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    """States are the same whichever engine computed them."""
    command = [sys.executable, "build.py", "sweep", str(preset), "--out", str(tmp_path)]
    assert main([*command[2:], "--shard", "1/2"]) == 0
    done = subprocess.run(
        [*command, "--engine", "ray", "--workers", "2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert folder_bytes(tmp_path / "data") == one_process


@pytest.mark.slow
def test_a_worker_reports_errors_as_a_single_process_does(tiny: TinyInputs, tmp_path: Path) -> None:
    config = load_config(str(tiny.preset), {})
    inputs = load_inputs(config)
    elsewhere = dataclasses.replace(config.autoencoder, source="/nowhere/at/all.safetensors")
    engine = ray_engine(None, 1)
    with pytest.raises(
        SourceError, match=r"/nowhere/at/all\.safetensors: no such autoencoder file"
    ):
        engine(inputs, dataclasses.replace(config, autoencoder=elsewhere), tmp_path)
    assert not [*tmp_path.iterdir()]
