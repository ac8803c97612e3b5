"""The sweep on a GPU: a prediction from the operations of a pretended device, and a measurement on a real one.

    python -m benchmarks.gpu predict   estimates the time on an H100; needs no GPU
    python -m benchmarks.gpu measure   compares CUDA with the CPU, and its speed with the bare product; `make gpu`

Both write a JSON below `out/bench/results`, which the report takes in.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inputs import D_HIDDEN, BenchmarkInputs, make_inputs
from sitegen.config import REPOSITORY_ROOT, Config, load_config
from sitegen.errors import UsageError
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sweep.accumulators import N_CELLS
from sitegen.sweep.best_lists import Entries
from sitegen.sweep.reader import MOST_BATCH_TOKENS
from sitegen.sweep.shards import ShardSweeper
from sitegen.sweep.state import CELL_SURPLUS, SweepResult, SweepState
from tests.pretend_device import Operation, pretend

RESULTS = REPOSITORY_ROOT / "out/bench/results"
REAL_PRESET = "gelu-1l-run1"
FULL_TOKENS = 27_000_000
SEED = 5

# An H100: what its memory and its units reach in practice, which is less than their data sheets say
MEMORY_BYTES_A_SECOND = 3.0e12
OPERATIONS_A_SECOND = {torch.bfloat16: 600e12, torch.float32: 50e12, torch.float64: 30e12}
# No operation takes less, since the host has to start it
SECONDS_AN_OPERATION = 5e-6
# From the device's last result until the host has it
SECONDS_A_WAIT = 20e-6
# Bytes a second from the device's memory to the host's, by way of ordinary memory
COPY_BYTES_A_SECOND = 5e9

# A radix sort reads and writes keys of 8 bytes and as many of indices, once for each byte of the keys
SORT_PASSES = 8
# Batches from which the prediction is made
N_BATCHES = 2
# The lists are merged at the end of a shard, into the total, and a few times within the first shards
MERGES_A_SHARD = 3
# Tokens of a measurement on a real GPU
MEASURED_ROWS = 8192
COMPARED_ROWS = 512


@dataclass(frozen=True)
class Cost:
    """What one operation takes of a device.

    n_bytes       read and written
    n_operations  multiplications and additions in products
    precision     of these
    """

    n_bytes: float
    n_operations: float = 0.0
    precision: torch.dtype = torch.float32

    @property
    def seconds(self) -> float:
        """The longer of both, and never less than starting it takes."""
        in_memory = self.n_bytes / MEMORY_BYTES_A_SECOND
        in_units = self.n_operations / OPERATIONS_A_SECOND[self.precision]
        return max(in_memory, in_units, SECONDS_AN_OPERATION)


def cost_of(operation: Operation) -> Cost:
    """Estimate what an operation takes of an H100, from the shapes of its tensors."""
    inputs, outputs, name = operation.inputs, operation.outputs, operation.name
    read, written = sum(map(_n_bytes, inputs)), sum(map(_n_bytes, outputs))
    if "mm." in name and "sampled" not in name:
        left, right = [tensor for tensor in inputs if tensor.dim() >= 2][-3:][:2]
        n_operations = 2.0 * left.numel() * right.shape[-1]
        return Cost(read + written, n_operations, left.dtype)
    if "sampled_addmm" in name:
        pattern, columns, tokens = inputs[:3]
        n_entries, width = pattern.values().numel(), tokens.shape[0]
        # Entries are in the order of their columns, which are read once; each reads its token's activations
        n_bytes = n_entries * (width * tokens.itemsize + 3 * 8) + _n_bytes(columns)
        return Cost(n_bytes, 2.0 * n_entries * width, tokens.dtype)
    if name.startswith(("aten.sort", "aten.argsort")):
        return Cost(SORT_PASSES * 2 * inputs[0].numel() * (8 + 8))
    if name.startswith(("aten.index.", "aten.gather", "aten.index_select", "aten.embedding")):
        # Of what is looked up, only the elements that are asked for
        return Cost(sum(map(_n_bytes, inputs[1:])) + 2 * written)
    if name.startswith(("aten.scatter", "aten.index_put", "aten.index_add")):
        # Elements that are changed are read and written
        return Cost(3 * sum(map(_n_bytes, inputs[1:])))
    if name.startswith("aten.searchsorted"):
        return Cost(written + outputs[0].numel() * 8 * math.log2(inputs[0].numel() + 2))
    if name.startswith("aten.nonzero_static"):
        return Cost(2 * read + written)
    return Cost(read + written)


def _n_bytes(tensor: torch.Tensor) -> int:
    if tensor.layout != torch.strided:
        return 0
    return tensor.numel() * tensor.itemsize


class CostModel:
    """Adds up the estimated seconds of operations, by their names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, operation: Operation) -> None:
        """Add an operation that was carried out."""
        if operation.is_view:
            return
        name = operation.name.removeprefix("aten.").split(".")[0]
        self.counts[name] += 1
        self.seconds[name] += cost_of(operation).seconds
        if operation.waits:
            n_bytes = sum(map(_n_bytes, operation.outputs))
            self.seconds["waits"] += SECONDS_A_WAIT + n_bytes / COPY_BYTES_A_SECOND
            self.counts["waits"] += 1

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())


def predict(files: BenchmarkInputs) -> dict[str, Any]:
    """Predict the seconds of a sweep of 27 million tokens at full width on an H100.

    The first batches are taken for all of them. That is more than a later batch takes: at first every entry is kept.
    """
    shard_rows = load_config(REAL_PRESET).sweep.shard_rows
    with pretend() as device:
        # The pretended device claims too little memory for batches as long as those of an H100
        n_rows = MOST_BATCH_TOKENS // load_config(str(files.preset)).corpus.seq_len
        options = {"sweep.precision": "bf16", "sweep.batch_rows": str(n_rows)}
        inputs = load_inputs(load_config(str(files.preset), options))
        config = inputs.config
        sweeper = ShardSweeper(inputs, config)
        batches, merge, shard_end = CostModel(), CostModel(), CostModel()
        state = sweeper.empty_state()
        device.operations = batches.add
        sweeper.update(state, range(N_BATCHES * n_rows))
        device.operations = None
        other = _full_state(inputs, config)
        device.operations = merge.add
        state.merge(other)
        device.operations = None
        state.result()
        device.operations = shard_end.add
        state.result()
        device.operations = None
    n_batches = FULL_TOKENS / MOST_BATCH_TOKENS
    n_shards = math.ceil(FULL_TOKENS / (shard_rows * inputs.seq_len))
    n_merges = n_shards * MERGES_A_SHARD
    parts = [
        ("batches", batches, n_batches / N_BATCHES),
        ("merges of full lists", merge, n_merges),
        ("ends of shards", shard_end, n_shards),
    ]
    table: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for _, model, times in parts:
        for name, seconds in model.seconds.items():
            table[name][0] += times * seconds
            table[name][1] += times * model.counts[name]
    rows = sorted(((s, n, name) for name, (s, n) in table.items()), reverse=True)
    return {
        "batch_tokens": MOST_BATCH_TOKENS,
        "n_tokens": FULL_TOKENS,
        "seconds": sum(times * model.total for _, model, times in parts),
        "parts": {name: times * model.total for name, model, times in parts},
        "operations": [{"name": name, "n": round(n), "seconds": s} for s, n, name in rows],
    }


def _full_state(inputs: Inputs, config: Config) -> SweepState:
    """Make a state whose lists are full, with random entries."""
    state = SweepState(inputs.feature_ids, config.contexts, inputs.device)
    n_samples = N_CELLS * CELL_SURPLUS * config.contexts.n_per_interval
    for lists, each in ((state.top.lists, config.contexts.n_top), (state.samples.lists, n_samples)):
        n = len(inputs.feature_ids) * each
        random = np.random.default_rng(SEED)
        arrays = {
            "feature": np.repeat(np.arange(len(inputs.feature_ids)), each),
            "rank": random.integers(0, 1 << 32, n) - 1,
            "token_index": random.integers(0, FULL_TOKENS, n),
            "activation": random.random(n, np.float32) + np.float32(0.01),
            "text_key": random.integers(0, 1 << 62, n),
        }
        lists.replace_all(Entries.restored(arrays, inputs.device))
        lists.entries()
    return state


def measure(files: BenchmarkInputs) -> dict[str, Any]:
    """Compare CUDA with the CPU on the same activations, and the sweep's speed with that of a bare bf16 product.

    raises  UsageError if there is no CUDA device
    """
    if not torch.cuda.is_available():
        raise UsageError("no CUDA device here: `make gpu` needs one, and a CUDA build of torch")
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "same": {
            "demo": compare(load_config("demo")),
            "full width": compare(
                load_config(str(files.preset), {"corpus.n_rows": str(COMPARED_ROWS)})
            ),
        },
        "speed": {precision: _speed(files, precision) for precision in ("fp32", "tf32", "bf16")},
    }


def compare(config: Config) -> dict[str, Any]:
    """Sweep the same rows on both, from the CPU's activations, and from each device's own."""
    found: dict[str, SweepResult] = {}
    on_cpu = load_inputs(_on(config, "cpu", "fp32"))
    found["cpu"] = _swept(on_cpu)
    for precision in ("fp32", "tf32", "bf16"):
        found[precision] = _swept(load_inputs(_on(config, "cuda", precision)), on_cpu)
    own = _swept(load_inputs(_on(config, "cuda", "fp32")))
    return {
        "n_tokens": found["cpu"].n_positions,
        "same": {p: differences(found["cpu"], found[p]) for p in ("fp32", "tf32", "bf16")},
        "own_activations": {
            "n_active": int(own.n_active.sum()),
            "n_active_cpu": int(found["cpu"].n_active.sum()),
            "features_with_other_counts": int((own.n_active != found["cpu"].n_active).sum()),
            "largest_relative_difference_of_maxima": float(
                np.max(
                    np.abs(own.max_activation - found["cpu"].max_activation)
                    / np.maximum(found["cpu"].max_activation, 1e-9)
                )
            ),
        },
    }


def differences(one: SweepResult, other: SweepResult) -> dict[str, int]:
    """Count the elements in which two sweeps differ, by statistic; sums are compared to 1e-12."""
    counted = {}
    for name in ("n_active", "n_active_special", "max_activation", "max_special", "histogram"):
        counted[name] = int((getattr(one, name) != getattr(other, name)).sum())
    close = np.isclose(one.activation_sum, other.activation_sum, rtol=1e-12, atol=0)
    counted["activation_sum"] = int((~close).sum())
    for name in ("top", "samples"):
        mine, theirs = getattr(one, name).arrays(), getattr(other, name).arrays()
        same_length = len(mine["feature"]) == len(theirs["feature"])
        counted[name] = (
            int((mine["token_index"] != theirs["token_index"]).sum())
            if same_length
            else abs(len(mine["feature"]) - len(theirs["feature"]))
        )
    return counted


def _on(config: Config, device: str, precision: str) -> Config:
    sweep = dataclasses.replace(config.sweep, device=device, precision=precision)
    return dataclasses.replace(config, sweep=sweep)


class _ModelElsewhere:
    """A model that runs on the CPU and hands its activations to another device."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model, self._device = model, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def hook_activations(self, tokens: torch.Tensor, checks: object = None) -> torch.Tensor:
        """Activations at the hook point, computed on the CPU."""
        found: torch.Tensor = self._model.hook_activations(tokens.cpu()).to(self._device)
        return found


def _swept(inputs: Inputs, model_of: Inputs | None = None) -> SweepResult:
    """Sweep all rows; the model's activations come from other inputs if they are given."""
    if model_of is not None:
        elsewhere: Any = _ModelElsewhere(model_of.model, inputs.device)
        inputs = dataclasses.replace(inputs, model=elsewhere)
    sweeper = ShardSweeper(inputs, inputs.config)
    state = sweeper.empty_state()
    sweeper.update(state, range(len(inputs.rows.tokens)))
    return state.result()


def _speed(files: BenchmarkInputs, precision: str) -> dict[str, float]:
    """Tokens a second of the sweep and of a bare bf16 product of the same size, in turns on the same card."""
    config = _on(
        load_config(str(files.preset), {"corpus.n_rows": str(MEASURED_ROWS)}), "cuda", precision
    )
    inputs = load_inputs(config)
    sweeper = ShardSweeper(inputs, inputs.config)
    state = sweeper.empty_state()
    columns = inputs.autoencoder.W_enc.T.bfloat16().contiguous()
    x = torch.randn(MOST_BATCH_TOKENS, columns.shape[1], device="cuda").bfloat16()
    out = torch.empty(D_HIDDEN, MOST_BATCH_TOKENS, device="cuda", dtype=torch.bfloat16)
    turn_rows = MEASURED_ROWS // 8
    n_products = turn_rows * inputs.seq_len // MOST_BATCH_TOKENS
    seconds = {"sweep": 0.0, "product": 0.0}

    def multiply() -> None:
        for _ in range(n_products):
            torch.mm(columns, x.T, out=out)

    for turn in range(8):
        rows = range(turn * turn_rows, (turn + 1) * turn_rows)
        # The first turn starts the libraries and is not counted
        taken = {
            "sweep": _timed(lambda rows=rows: sweeper.update(state, rows)),  # type: ignore[misc]
            "product": _timed(multiply),
        }
        for name, value in taken.items():
            seconds[name] += value if turn else 0.0
    n_tokens = 7 * turn_rows * inputs.seq_len
    rates = {name: n_tokens / value for name, value in seconds.items()}
    return {
        "sweep_tokens_a_second": rates["sweep"],
        "product_tokens_a_second": rates["product"],
        "share": rates["sweep"] / rates["product"],
        "peak_bytes": float(torch.cuda.max_memory_allocated()),
    }


def _timed(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Predict or measure, and store the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("what", choices=("predict", "measure"))
    what = parser.parse_args().what
    files = make_inputs(REPOSITORY_ROOT / "out/bench/inputs", 16_384)
    found = predict(files) if what == "predict" else measure(files)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path: Path = RESULTS / f"gpu_{what}.json"
    path.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
