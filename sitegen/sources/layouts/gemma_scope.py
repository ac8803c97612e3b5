"""Gemma Scope (Gemma 2): autoencoders and transcoders of DeepMind, as NumPy archives."""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Tensor

from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import Layout, Reading, number_in
from sitegen.sources.layouts.source import Source

WEIGHTS = "params.npz"
# Parts of a repository's name: google/gemma-scope-9b-pt-res
REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders?)")
POINTS = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
TEXT = TextSettings(prepend_bos=True, context_size=1024)


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a JumpReLU; the names of the repository and the folder tell where it was trained.

    source  Lieberum et al. 2024, "Gemma Scope"
    """
    # Some archives write w_enc, some W_enc
    renamed = {re.sub(r"^w_", "W_", name): weight for name, weight in weights.items()}
    match = REPOSITORY.search(source.full_name)
    layer = number_in(source.folder, r"layer_(\d+)")
    declared_l0 = float(number_in(source.folder, r"average_l0_(\d+)") or 0)
    is_transcoder = match is not None and match[3].startswith("transcoder")
    architecture = Architecture(
        subtracts_b_dec=False,
        is_transcoder=is_transcoder,
        model=f"google/gemma-2-{match[1]}{'-it' if match[2] == 'it' else ''}" if match else "",
        output_hook_point=f"blocks.{layer}.hook_mlp_out" if is_transcoder else "",
        declared_l0=declared_l0,
        text=TEXT,
    )
    if "embedding" in source.folder:
        on_embeddings = replace(architecture, hook_point="hook_embed")
        return _as_trained_on_embeddings(renamed), on_embeddings
    if match is not None and layer is not None:
        point = "ln2.hook_normalized" if is_transcoder else POINTS[match[3]]
        architecture = replace(architecture, hook_point=f"blocks.{layer}.{point}")
    return renamed, architecture


def _as_trained_on_embeddings(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo the scale: Gemma multiplies embeddings with the square root of their width, the training did not."""
    scale = weights["W_enc"].shape[0] ** 0.5
    return weights | {"W_enc": weights["W_enc"] / scale, "W_dec": weights["W_dec"] * scale}


LAYOUT = Layout(
    name="Gemma Scope (Gemma 2)",
    files=f"a folder with `{WEIGHTS}`",
    content="JumpReLU autoencoders on the residual stream, MLP output and attention heads, and transcoders",
    n_published={"residual": 1049, "attention": 888, "MLP": 888, "embedding": 8, "transcoders": 26},
    recognises=lambda source: source.holds(WEIGHTS),
    weights=lambda source: WEIGHTS,
    read=_read,
)
