"""Goodfire's autoencoders on Llama."""

from __future__ import annotations

import re

from torch import Tensor

from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import Layout, Reading, rename_linear
from sitegen.sources.layouts.source import Source

FILE = re.compile(r"(Llama-3.*)-SAE-l(\d+)\.pth?")


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a ReLU whose linear layers are named `encoder_linear` and `decoder_linear`.

    source  SAELens 6.54, `get_goodfire_huggingface_loader`
    """
    renamed = {name.replace("coder_linear.", "coder."): weight for name, weight in weights.items()}
    match = FILE.fullmatch(source.file)
    assert match is not None
    return rename_linear(renamed, source.file), Architecture(
        subtracts_b_dec=False,
        model=f"meta-llama/{match[1]}",
        hook_point=f"blocks.{match[2]}.hook_resid_post",
        text=TextSettings(prepend_bos=True),
    )


LAYOUT = Layout(
    name="Goodfire's (Llama 3)",
    files=("MODEL-SAE-lN.pt", "MODEL-SAE-lN.pth"),
    is_folder=False,
    content="ReLU",
    n_registered={"autoencoders": 2},
    recognised_by=lambda source: FILE.fullmatch(source.file) is not None,
    read=_read,
)
