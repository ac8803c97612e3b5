"""Cross-layer transcoders, which are recognised only to be refused by name."""

from __future__ import annotations

import re

from torch import Tensor

from sitegen.sources.layouts.layout import Layout, Reading
from sitegen.sources.layouts.source import Source

FILE = re.compile(r"W_(enc|dec)_\d+\.safetensors")


def _recognises(source: Source) -> bool:
    is_gemma_scope = source.file.endswith(".safetensors") and "clt" in source.folder.split("/")
    return is_gemma_scope or FILE.fullmatch(source.file) is not None


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    raise NotImplementedError("a layout with a refusal is never read")


LAYOUT = Layout(
    name="cross-layer transcoders",
    files="files `W_enc_N.safetensors` and `W_dec_N.safetensors`; Gemma Scope 2's `clt/…/*.safetensors`",
    content="",
    n_published={"CLT": 26},
    recognises=_recognises,
    weights=lambda source: source.file,
    read=_read,
    refusal="a cross-layer transcoder writes to several layers, which a site cannot show yet: give a transcoder of one "
    "layer",
)
