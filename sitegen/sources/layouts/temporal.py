"""Temporal autoencoders, which are recognised only to be refused by name."""

from __future__ import annotations

from torch import Tensor

from sitegen.sources.layouts.layout import Layout, Reading
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS = "conf.yaml", "latest_ckpt.safetensors"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    raise NotImplementedError("a layout with a refusal is never read")


LAYOUT = Layout(
    name="temporal autoencoders",
    files=f"a folder with `{SETTINGS}` and `{WEIGHTS}`",
    content="",
    n_published={"temporal": 3},
    recognises=lambda source: source.holds(SETTINGS) and source.holds(WEIGHTS),
    weights=lambda source: WEIGHTS,
    read=_read,
    refusal="a temporal autoencoder's activations depend on earlier tokens, so they are not a function of one "
    "activation vector: give another autoencoder",
)
