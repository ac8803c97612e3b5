"""Temporal autoencoders, which are recognised only to be refused by name."""

from __future__ import annotations

from sitegen.sources.layouts.layout import Layout, read_nothing

SETTINGS, WEIGHTS = "conf.yaml", "latest_ckpt.safetensors"


LAYOUT = Layout(
    name="temporal autoencoders",
    files=(SETTINGS, WEIGHTS),
    is_folder=True,
    content="",
    n_registered={"temporal": 3},
    read=read_nothing,
    refusal="a temporal autoencoder's activations depend on earlier tokens, so they are not a function of one "
    "activation vector: give another autoencoder",
)
