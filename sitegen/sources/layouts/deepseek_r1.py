"""The autoencoder on DeepSeek-R1-Distill-Llama-8B."""

from __future__ import annotations

import re

from torch import Tensor

from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import Layout, Reading, rename_linear
from sitegen.sources.layouts.source import Source

FILE = re.compile(r"(DeepSeek-R1-.*)-SAE-l(\d+)\.pt")


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a ReLU with the names of linear layers.

    source  SAELens 6.54, `deepseek_r1_sae_huggingface_loader`
    """
    match = FILE.fullmatch(source.file)
    assert match is not None
    return rename_linear(weights, source.file), Architecture(
        subtracts_b_dec=False,
        model=f"deepseek-ai/{match[1]}",
        hook_point=f"blocks.{match[2]}.hook_resid_post",
        text=TextSettings(prepend_bos=True, context_size=1024),
    )


LAYOUT = Layout(
    name="DeepSeek R1 (qresearch)",
    files=("DeepSeek-R1-…-SAE-lN.pt",),
    is_folder=False,
    content="ReLU",
    n_registered={"autoencoders": 1},
    recognised_by=lambda source: FILE.fullmatch(source.file) is not None,
    read=_read,
)
