"""The repositories of the gelu-1l presets on a loopback Hub: the real file layout, at the sizes of the tiny inputs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from tests.loopback_hub import LoopbackHub
from tests.tiny import TinyInputs, autoencoder_weights, documents, model_config, model_weights

RUN1_CONFIG = {
    "batch_size": 4096,
    "beta1": 0.9,
    "beta2": 0.99,
    "dict_mult": 8,
    "enc_dtype": "fp32",
    "l1_coeff": 0.0003,
    "lr": 0.0001,
    "num_tokens": 2000000000,
    "seed": 52,
    "seq_len": 128,
}


def make_gelu_hub(tiny: TinyInputs) -> LoopbackHub:
    """A Hub with the model, the tokenizer, both autoencoder runs and the dataset."""
    d_vocab = json.loads((tiny.model / "config.json").read_text())["d_vocab"]
    hub = LoopbackHub()
    hub.add(
        "models",
        "NeelNanda/GELU_1L512W_C4_Code",
        {
            "config.json": json.dumps({**model_config(d_vocab), "n_ctx": 64}).encode(),
            "model_final.pth": saved(model_weights(d_vocab)),
            "README.md": b"A model.\n",
        },
    )
    tokenizer = {path.name: path.read_bytes() for path in sorted(Path(tiny.tokenizer).iterdir())}
    hub.add("models", "NeelNanda/gpt-neox-tokenizer-digits", tokenizer)
    versions = {}
    for version, seed in (("25", 5), ("47", 6)):
        versions[f"{version}.pt"] = saved(autoencoder_weights(seed))
        versions[f"{version}_cfg.json"] = json.dumps(RUN1_CONFIG).encode()
    hub.add("models", "NeelNanda/sparse_autoencoder", versions)
    hub.add(
        "datasets",
        "NeelNanda/c4-code-20k",
        {
            "data/train-00000-of-00001-0123456789abcdef.parquet": as_parquet(documents()),
            "README.md": b"A dataset.\n",
        },
    )
    return hub


def as_parquet(texts: list[str]) -> bytes:
    """A Parquet file of a dataset with one column of text."""
    file = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), file)
    return file.getvalue()


def saved(weights: dict[str, Tensor]) -> bytes:
    """The bytes of a plain state dict as torch saves it."""
    file = io.BytesIO()
    torch.save(weights, file)
    return file.getvalue()
