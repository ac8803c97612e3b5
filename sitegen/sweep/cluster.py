"""The sweep on a Ray cluster: workers sweep shards and return the states, which are saved and merged here in order.

A shard's state is the same wherever it is computed, and computing it twice does no harm. So Ray may give the shard of a
lost worker or node to another one.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from io import BytesIO
from pathlib import Path
from typing import Any

from sitegen.config import Config, is_number
from sitegen.errors import SitegenError, SourceError, UsageError
from sitegen.files import whole_file
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sweep.driver import Engine
from sitegen.sweep.shards import SavedStates, ShardSweeper, empty_state
from sitegen.sweep.state import SweepState

# Retries of a shard whose worker or node is lost
MAX_RETRIES = 8
# Shards for each worker that are being swept, wait for the worker, or wait to be fetched
IN_FLIGHT = 2


def ray_engine(address: str | None, n_workers: int | None) -> Engine:
    """Make an engine that sweeps on the cluster at `address`, or on a new one on this machine with `n_workers` workers.

    raises  UsageError if Ray is not installed or nothing answers at the address
    """
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install -e '.[ray]'") from None

    if address is not None:
        _require_answer(address)

    def sweep_on_cluster(inputs: Inputs, config: Config, folder: Path) -> SweepState:
        saved = SavedStates(inputs, config, [folder])
        _connect(ray, address, n_workers)
        try:
            return _merged(ray, inputs, config, saved)
        finally:
            ray.shutdown()

    return sweep_on_cluster


def _require_answer(address: str) -> None:
    """Raise UsageError unless something listens at the address; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and is_number(port)):
        raise UsageError(f"--address {address}: give HOST:PORT, as `ray start` prints it")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"no Ray cluster at {address}: {error}") from None


def _connect(ray: Any, address: str | None, n_workers: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"num_cpus": n_workers or os.cpu_count(), "include_dashboard": False}
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"no Ray cluster at {address or 'this machine'}: {reason}") from None


def _merged(ray: Any, inputs: Inputs, config: Config, saved: SavedStates) -> SweepState:
    """Merge all shards' states in order, while later shards are still being swept."""
    on_gpu = inputs.device.type != "cpu"
    sweep_shard = ray.remote(_shard_state).options(
        num_cpus=1, num_gpus=int(on_gpu), max_retries=MAX_RETRIES
    )
    # Stored once on the cluster, instead of being sent with every task
    held = ray.put(config)
    wanted = "GPU" if on_gpu else "CPU"
    n_workers = int(ray.cluster_resources().get(wanted, 0))
    if not n_workers:
        raise UsageError(
            f"the Ray cluster has no {wanted}: start its nodes with some, or give --device"
        )
    at_once = IN_FLIGHT * n_workers
    total, progress = empty_state(inputs, config), saved.progress(saved.shards)
    missing: deque[range] = deque()
    for shard in saved.shards:
        if saved.load(shard) is None:
            missing.append(shard)
        else:
            progress.advance(saved.n_tokens(shard), already_there=True)
    running: dict[Any, range] = {}
    for shard in saved.shards:
        # States come back in any order. Each is saved when it does, and merged in its turn.
        while shard in missing or shard in running.values():
            # A limited number is in flight, so that no more states wait in memory than are soon merged
            while missing and len(running) < at_once:
                following = missing.popleft()
                running[sweep_shard.remote(held, following)] = following
            done = ray.wait(list(running))[0][0]
            _keep(_fetched(ray, done, running[done]), saved.path(running[done]))
            progress.advance(saved.n_tokens(running.pop(done)))
        state = saved.load(shard)
        if state is None:
            raise SourceError(
                f"a worker's state of rows {shard.start} to {shard.stop - 1} came from other files or another version "
                "of torch than are here: give all nodes the same"
            )
        total.merge(state)
    progress.finish()
    return total


def _fetched(ray: Any, reference: Any, shard: range) -> bytes:
    """Fetch the file of a shard's state from the worker that swept it."""
    try:
        found: bytes = ray.get(reference)
        return found
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (SitegenError, OSError)):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(
            f"rows {shard.start} to {shard.stop - 1} were given to {MAX_RETRIES + 1} workers, all of which were lost: "
            f"{reason}"
        ) from None


def _keep(state: bytes, path: Path) -> None:
    """Write the file of a state, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_bytes(state)


# Each worker process has its own, so that it loads the inputs once rather than for every shard
_sweeper: tuple[Config, ShardSweeper, SavedStates] | None = None


def _shard_state(config: Config, shard: range) -> bytes:
    """Sweep a shard in a worker process; return the bytes of its state's file."""
    global _sweeper
    if _sweeper is None or _sweeper[0] != config:
        inputs = load_inputs(config)
        _sweeper = (
            config,
            ShardSweeper(inputs, inputs.config),
            SavedStates(inputs, inputs.config, []),
        )
    _, sweeper, saved = _sweeper
    file = BytesIO()
    sweeper.sweep(shard).write(file, saved.key(shard))
    return file.getvalue()
