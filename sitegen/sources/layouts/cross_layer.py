"""Cross-layer transcoders, which are recognised only to be refused by name."""

from __future__ import annotations

import re

from sitegen.sources.layouts.layout import Layout, read_nothing
from sitegen.sources.layouts.source import Source

FILE = re.compile(r"W_(enc|dec)_\d+\.safetensors")


def _recognises(source: Source) -> bool:
    is_gemma_scope = source.file.endswith(".safetensors") and "clt" in source.folder.split("/")
    return is_gemma_scope or FILE.fullmatch(source.file) is not None


LAYOUT = Layout(
    name="cross-layer transcoders",
    files=("W_enc_N.safetensors", "W_dec_N.safetensors", "clt/…/*.safetensors"),
    is_folder=False,
    content="",
    n_registered={"CLT": 26},
    recognised_by=_recognises,
    read=read_nothing,
    refusal="a cross-layer transcoder writes to several layers, which a site cannot show yet: give a transcoder of one "
    "layer",
)
