"""Common code of the peers' scripts: read the inputs, time the encoder's product alone, and print a line of JSON.

Needs only packages that both peers' environments have; neither has the package `sitegen`.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sae_lens import HookedSAETransformer
from safetensors.torch import load_file
from torch import Tensor
from transformer_lens import HookedTransformerConfig
from transformers import AutoTokenizer

HOOK_POINT = "blocks.0.mlp.hook_post"
CHUNK_TOKENS = 4096
CHUNK_ROWS = 32
PRODUCT_RUNS = 3  # before the peer and again after it


@dataclass(frozen=True)
class Task:
    """The inputs of a peer."""

    model: HookedSAETransformer
    autoencoder: dict[str, Tensor]  # W_enc, b_enc, W_dec, b_dec
    rows: Tensor  # [n_rows, seq_len] int64
    n_features: int
    batch: int  # rows of one forward pass


def compare(
    package: str, prepare: Callable[[Task], Callable[[Path], None]], defaults: dict[str, int]
) -> None:
    """Time a peer from rows to a written page, and the encoder's product alone, and print one line.

    prepare   makes the peer's objects, untimed, and returns the function that writes the page
    defaults  of --features, --rows and --batch
    """
    with redirect_stdout(sys.stderr), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        task = _read_task(defaults)
        write_page = prepare(task)
        x = _hook_activations(task)
        _time_product(task, x)  # warms up
        product_seconds = [_time_product(task, x) for _ in range(PRODUCT_RUNS)]
        started = time.perf_counter()
        write_page(Path(folder, "features.html"))
        seconds = time.perf_counter() - started
        product_seconds += [_time_product(task, x) for _ in range(PRODUCT_RUNS)]
        print("product:", *(f"{value:.4f}" for value in product_seconds))
        pages_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
    result = {
        "tool": package,
        "version": version(package),
        "n_features": task.n_features,
        "n_tokens": task.rows.numel(),
        "seconds": round(seconds, 3),
        "product_seconds": round(statistics.median(product_seconds), 5),
        "pages_bytes": pages_bytes,
    }
    print(json.dumps(result))


def _read_task(defaults: dict[str, int]) -> Task:
    """Read the task from the command line."""
    parser = ArgumentParser()
    parser.add_argument("inputs", type=Path, help="folder that benchmarks/inputs.py made")
    parser.add_argument("tokens", type=Path, help="token ids [n_rows, seq_len] as .npy")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help="%(default)s")
    given = parser.parse_args()
    rows = torch.from_numpy(np.load(given.tokens)[: given.rows].astype(np.int64))
    if len(rows) < given.rows:
        parser.error(f"{given.tokens.name} holds {len(rows)} rows, not {given.rows}")
    autoencoder = load_file(given.inputs / "autoencoder.safetensors")
    return Task(_load_model(given.inputs), autoencoder, rows, given.features, given.batch)


def _load_model(inputs: Path) -> HookedSAETransformer:
    """The model, with its weights folded and centred as TransformerLens does for models in its list."""
    values = json.loads((inputs / "model" / "config.json").read_text())
    assert values.pop("normalization") == "LN"
    config = HookedTransformerConfig(**values, normalization_type="LNPre", init_weights=False)
    tokenizer = AutoTokenizer.from_pretrained(inputs / "tokenizer")
    model = HookedSAETransformer(config, tokenizer=tokenizer)
    model.load_and_process_state_dict(load_file(inputs / "model" / "model.safetensors"))
    return model.eval()


def _hook_activations(task: Task) -> Tensor:
    """The encoder's input [n_tokens, d_hook] for all of the rows."""
    caches = (
        task.model.run_with_cache(batch, names_filter=HOOK_POINT, stop_at_layer=1)[1]
        for batch in torch.split(task.rows, CHUNK_ROWS)
    )
    x = torch.cat([cache[HOOK_POINT].flatten(0, 1) for cache in caches])
    return x - task.autoencoder["b_dec"]


def _time_product(task: Task, x: Tensor) -> float:
    """Seconds of the encoder's product for the task's features; the result is discarded."""
    W_enc = task.autoencoder["W_enc"][:, : task.n_features]
    b_enc = task.autoencoder["b_enc"][: task.n_features]
    started = time.perf_counter()
    for chunk in torch.split(x, CHUNK_TOKENS):
        torch.addmm(b_enc, chunk, W_enc)
    return time.perf_counter() - started
