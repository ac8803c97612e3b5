"""The sweep on a Ray cluster of two nodes compared with one process on the same cores."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from benchmarks.inputs import SEQ_LEN, BenchmarkInputs
from sitegen.config import load_config
from sitegen.sources.inputs import load_inputs
from sitegen.sweep.cluster import ray_engine
from sitegen.sweep.driver import Engine, sweep

SHARD_ROWS = 256
N_NODES = 2  # of one core each, in total as many as one process uses


def measure_cluster(files: BenchmarkInputs, n_rows: int, folder: Path) -> dict[str, Any]:
    """Seconds of the sweep of a quarter of `n_rows` rows and of all of them, by one process and by the cluster.

    The cluster is already running; starting its workers, which load model and autoencoder, is included. The difference
    between the two times is the cost of the shards alone.
    """
    node = {"num_cpus": 1, "object_store_memory": 512 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(N_NODES - 1):
        cluster.add_node(**node)
    sizes = [n_rows // 4, n_rows]
    engines: dict[str, Engine] = {"process": sweep, "cluster": ray_engine(cluster.address, None)}
    try:
        seconds = {
            name: [_seconds(engine, files, size, folder) for size in sizes]
            for name, engine in engines.items()
        }
    finally:
        cluster.shutdown()
    return {
        "n_nodes": N_NODES,
        "shard_rows": SHARD_ROWS,
        "n_rows": sizes,
        "n_tokens": [size * SEQ_LEN for size in sizes],
        "seconds": seconds,
    }


def _seconds(engine: Engine, files: BenchmarkInputs, n_rows: int, folder: Path) -> float:
    overrides = {"corpus.n_rows": str(n_rows), "sweep.shard_rows": str(SHARD_ROWS)}
    config = load_config(str(files.preset), overrides)
    inputs = load_inputs(config)
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    engine(inputs, inputs.config, folder)
    return time.perf_counter() - started
