"""The sweep compared with the encoder's product alone, on the same tokens, in turns batch by batch."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inputs import BenchmarkInputs
from sitegen.analysis.contexts import choose_contexts, read_contexts
from sitegen.config import load_config
from sitegen.maths.encoder import ActivationSearch
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sweep.reader import row_ranges
from sitegen.sweep.shards import ShardSweeper, make_encoder
from sitegen.sweep.state import SweepState

TURN_ROWS = 32
BATCH_ROWS = 8
STRETCHES = 4  # in a long sweep, the lists fill up in the first one
FASTEST_TOKENS = (
    1024  # batch of the transposed product that was fastest on the machine of the report
)
PRECISIONS = ("fp32", "bf16")
REAL_PRESET = "gelu-1l-run1"


class _Clock:
    """Seconds by name, for each turn."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def time(self, name: str, work: Callable[[], object]) -> None:
        """Run `work` and record how long it took."""
        started = time.perf_counter()
        work()
        self.seconds[name].append(time.perf_counter() - started)

    def total(self, name: str) -> float:
        """Total seconds of a name."""
        return sum(self.seconds[name])

    def stretch_ratios(self, name: str, other: str) -> list[float]:
        """Time of `name` divided by that of `other`, in each part of the measurement."""
        pairs = zip(self._stretches(name), self._stretches(other), strict=True)
        return [one / two for one, two in pairs]

    def _stretches(self, name: str) -> list[float]:
        turns = self.seconds[name]
        parts = np.array_split(turns, min(STRETCHES, len(turns)))
        return [float(part.sum()) for part in parts]


class _Products:
    """The encoder's product alone, on precomputed activations."""

    def __init__(self, inputs: Inputs) -> None:
        weights = inputs.autoencoder
        self._W_enc, self._b_enc = weights.W_enc, weights.b_enc
        self._columns = weights.W_enc.T.contiguous()
        self._by_token = torch.empty(0)
        self._by_feature = torch.empty(weights.d_hidden, FASTEST_TOKENS)
        self._bf16_columns = self._columns.bfloat16()
        self._bf16_by_feature = self._by_feature.bfloat16()

    def as_written(self, x: torch.Tensor) -> None:
        """Compute `torch.addmm(b_enc, x, W_enc)` with the weights as stored, for all tokens of a turn at once."""
        if len(self._by_token) != len(x):
            self._by_token = torch.empty(len(x), len(self._b_enc))
        torch.addmm(self._b_enc, x, self._W_enc, out=self._by_token)

    def fastest(self, x: torch.Tensor) -> None:
        """Compute the same numbers feature by token, for a few tokens at a time, as the sweep does."""
        for part in torch.split(x, FASTEST_TOKENS):
            out = self._by_feature[:, : len(part)]
            torch.addmm(self._b_enc[:, None], self._columns, part.T, out=out)

    def in_bf16(self, x: torch.Tensor) -> None:
        """Compute the same in bfloat16 from rounded activations, without the bias."""
        for part in torch.split(x, FASTEST_TOKENS):
            torch.mm(self._bf16_columns, part.T, out=self._bf16_by_feature[:, : len(part)])


def measure_sweep(files: BenchmarkInputs, n_rows: int, folder: Path) -> dict[str, Any]:
    """Sweep `n_rows` rows in both precisions and compute the product alone; ratios, and whether both found the same."""
    overrides = {
        "corpus.n_rows": str(n_rows),
        "sweep.shard_rows": str(n_rows),
        "analysis.n_ablated": "0",  # measured separately
    }
    config = load_config(str(files.preset), overrides)
    inputs = load_inputs(config)
    config = inputs.config
    sweepers = {
        precision: ShardSweeper(
            inputs,
            dataclasses.replace(
                config, sweep=dataclasses.replace(config.sweep, precision=precision)
            ),
        )
        for precision in PRECISIONS
    }
    states = {precision: sweepers[precision].empty_state() for precision in PRECISIONS}
    products, clock = _Products(inputs), _Clock()
    for turn, rows in enumerate(row_ranges(0, n_rows, TURN_ROWS)):
        x = _activations(inputs, rows)
        works: list[tuple[str, Callable[[], object]]] = [
            ("product", partial(products.as_written, x)),
            *((p, partial(_sweep_rows, sweepers[p], states[p], rows)) for p in PRECISIONS),
        ]
        for i in range(len(works)):
            clock.time(*works[(turn + i) % len(works)])
    shard_rows = load_config(REAL_PRESET).sweep.shard_rows
    shard_seconds = {
        precision: n_rows
        / shard_rows
        * _save_and_merge(sweepers[precision], states[precision], folder)
        for precision in PRECISIONS
    }
    results = {precision: state.result() for precision, state in states.items()}
    table = choose_contexts(results["fp32"], config, config.corpus.seq_len)
    clock.time("contexts", lambda: read_contexts(table, inputs, config))
    parts = _parts(inputs, range(0, min(n_rows, 8 * TURN_ROWS)))
    return {
        "n_rows": n_rows,
        "n_tokens": n_rows * config.corpus.seq_len,
        "shard_rows": shard_rows,
        "seconds": {
            **{name: clock.total(name) for name in clock.seconds},
            "product_fastest": parts["product_fastest"] * clock.total("product"),
            **{f"{precision}_shard": seconds for precision, seconds in shard_seconds.items()},
        },
        "stretch_ratios": {name: clock.stretch_ratios("product", name) for name in PRECISIONS},
        "density": float(results["fp32"].n_active.mean()) / (n_rows * config.corpus.seq_len),
        "same_in_bf16": _same(states["fp32"], states["bf16"]),
        "error_bounds": {
            p: {"n_examined": found.n_examined, "largest_error": found.largest_error}
            for p, found in results.items()
        },
        "parts": parts,
    }


def _activations(inputs: Inputs, rows: range) -> torch.Tensor:
    """The encoder's input [n_tokens, d_hook]."""
    x = inputs.model.hook_activations(inputs.ids(rows)).flatten(0, 1)
    return x - inputs.autoencoder.b_dec


def _sweep_rows(sweeper: ShardSweeper, state: SweepState, rows: range) -> None:
    """Find the active entries of some rows and add them to a state."""
    sweeper.update(state, rows)


def _save_and_merge(sweeper: ShardSweeper, state: SweepState, folder: Path) -> float:
    """Seconds to save and merge the state of a first shard; later states are smaller."""
    total = sweeper.empty_state()
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    state.save(folder / "measured.npz", "measured")
    total.merge(state)
    return time.perf_counter() - started


def _same(one: SweepState, other: SweepState) -> bool:
    """Whether two sweeps agree in every array except those of the error bound."""
    return all(
        np.array_equal(array, other.accumulators[name].arrays()[field])
        for name, accumulator in one.accumulators.items()
        if accumulator is not one.error_bound
        for field, array in accumulator.arrays().items()
    )


def _parts(inputs: Inputs, rows: range) -> dict[str, float]:
    """Time of each part of a batch, as a fraction of the product as written."""
    clock, products = _Clock(), _Products(inputs)
    encoder = make_encoder(inputs)
    searches = {precision: ActivationSearch(encoder, precision) for precision in PRECISIONS}
    for turn in row_ranges(rows.start, rows.stop, TURN_ROWS):
        centred = _activations(inputs, turn)
        clock.time("product", partial(products.as_written, centred))
        clock.time("product_fastest", partial(products.fastest, centred))
        rounded = centred.bfloat16()
        clock.time("product_bf16", partial(products.in_bf16, rounded))
        for batch in row_ranges(turn.start, turn.stop, BATCH_ROWS):
            clock.time("model", partial(_activations, inputs, batch))
        for part in torch.split(centred, BATCH_ROWS * inputs.rows.tokens.shape[1]):
            x = part + inputs.autoencoder.b_dec
            for precision, search in searches.items():
                clock.time(f"search {precision}", partial(search.active_entries, x))
            found = searches["bf16"].active_entries(x)
            clock.time(
                "single dot products alone",
                partial(encoder.pre_activations, part, found.feature, found.token),
            )
    return {name: clock.total(name) / clock.total("product") for name in clock.seconds}
