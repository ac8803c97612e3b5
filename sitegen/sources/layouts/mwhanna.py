"""Michael Hanna's transcoders, a file for each layer."""

from __future__ import annotations

import re

from torch import Tensor

from sitegen.sources.architecture import Architecture
from sitegen.sources.layouts.layout import Layout, Reading, transpose
from sitegen.sources.layouts.source import Source

FILE = re.compile(r"layer_(\d+)\.safetensors")
SETTINGS = "config.yaml"
# Some repositories misspell the name
TRAINING_SETTINGS = ("wandb-config.yaml", "wanb-config.yaml")
REPOSITORY = re.compile(r"qwen3-(\d+(?:\.\d+)?)b", re.IGNORECASE)


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a ReLU transcoder whose W_enc is [d_hidden, d_hook].

    source  SAELens 6.54, `mwhanna_transcoder_huggingface_loader`
    """
    layer, name = FILE.fullmatch(source.file), REPOSITORY.search(source.full_name)
    assert layer is not None
    model = (source.settings(SETTINGS) or {}).get("model_name")
    if not model and name:
        model = f"Qwen/Qwen3-{name[1]}B"
    return transpose(weights, "W_enc"), Architecture(
        subtracts_b_dec=False,
        is_transcoder=True,
        model=str(model or ""),
        hook_point=f"blocks.{layer[1]}.mlp.hook_in",
        output_hook_point=f"blocks.{layer[1]}.hook_mlp_out",
    )


LAYOUT = Layout(
    name="mwhanna's transcoders",
    files=("layer_N.safetensors",),
    is_folder=False,
    content="ReLU transcoders",
    n_registered={"transcoders": 208},
    recognised_by=lambda source: (
        FILE.fullmatch(source.file) is not None
        and any(source.holds(name) for name in TRAINING_SETTINGS)
    ),
    read=_read,
    also="beside `wandb-config.yaml`",
)
