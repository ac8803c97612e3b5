"""The model that pages run, cut into small files, of which a text needs only a few.

A file holds the embeddings of some tokens, one layer, or the encoder rows of some features, as little-endian numbers in
base64. `static/js/live.js` loads them, `engine.js` computes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import orjson

from sitegen.file_names import (
    EMBEDDING_SCRIPTS,
    ENCODER_SCRIPTS,
    LAYER_SCRIPTS,
    LIBRARY_SCRIPT,
    POSITIONS_SCRIPT,
    SETTINGS_SCRIPT,
    TOKENIZER_SCRIPT,
)
from sitegen.records import LiveModel
from sitegen.render.environment import STATIC_FOLDER
from sitegen.render.scripts import call, loaded_as
from sitegen.store import read_live

TOKENS_PER_FILE = 32
FEATURES_PER_FILE = 64
EVERY = slice(None)
LIBRARY = STATIC_FOLDER / "vendor/tokenizers/tokenizers.min.cjs"


def live_scripts(data: Path, special_ids: list[int]) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of everything that pages load to run the model; nothing if the data holds no model.

    raises  StoreError if its files are missing or damaged
    """
    model = read_live(data)
    if model is None:
        return
    yield call(SETTINGS_SCRIPT, orjson.dumps(_settings(model, special_ids)))
    yield _library()
    yield call(TOKENIZER_SCRIPT, model.tokenizer)
    yield _arrays(POSITIONS_SCRIPT, model, "positions")
    for layer in range(model.settings.model.n_layers):
        prefix = f"layers.{layer}."
        names = sorted(name for name in model.weights if name.startswith(prefix))
        yield _arrays(LAYER_SCRIPTS.name(layer), model, *names)
    d_vocab, n_features = len(model.weights["embedding"]), len(model.weights["encoder.bias"])
    for number, rows in _blocks(d_vocab, TOKENS_PER_FILE):
        yield _arrays(EMBEDDING_SCRIPTS.name(number), model, "embedding", rows=rows)
    for number, rows in _blocks(n_features, FEATURES_PER_FILE):
        names = ["encoder.weight", "encoder.bias", "encoder.threshold"]
        yield _arrays(ENCODER_SCRIPTS.name(number), model, *names, rows=rows)


def _settings(model: LiveModel, special_ids: list[int]) -> dict[str, object]:
    n_features, d_hook = model.weights["encoder.weight"].shape
    return {
        **msgspec.to_builtins(model.settings),
        "special_ids": special_ids,
        "d_model": model.weights["positions"].shape[1],
        "d_hook": d_hook,
        "n_features": n_features,
        "tokens_per_file": TOKENS_PER_FILE,
        "features_per_file": FEATURES_PER_FILE,
    }


def _library() -> tuple[str, bytes]:
    """The tokenizer's code, a CommonJS module, wrapped as a data script."""
    head = (
        f'sitegen.data("{loaded_as(LIBRARY_SCRIPT)}",((module)=>{{const exports=module.exports;\n'
    )
    return (
        LIBRARY_SCRIPT,
        head.encode() + LIBRARY.read_bytes() + b"\nreturn module.exports})({exports:{}}));\n",
    )


def _blocks(n: int, size: int) -> Iterator[tuple[int, slice]]:
    """(number, rows) of each file of an array of n rows, `size` rows per file."""
    for first in range(0, n, size):
        yield first // size, slice(first, first + size)


def _arrays(file: str, model: LiveModel, *names: str, rows: slice = EVERY) -> tuple[str, bytes]:
    """(file name, content) with rows of some arrays by name, and the scales of those that are stored as int16."""
    known = [name for stem in names for name in (stem, f"{stem}.scale") if name in model.weights]
    arrays = {name: _base64(model.weights[name][rows]) for name in dict.fromkeys(known)}
    return call(file, orjson.dumps(arrays), repeats=False)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
