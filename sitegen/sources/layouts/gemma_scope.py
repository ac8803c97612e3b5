"""Gemma Scope (Gemma 2): autoencoders and transcoders of DeepMind, as NumPy archives."""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import Layout, Reading, number_in
from sitegen.sources.layouts.source import Source

WEIGHTS = "params.npz"
# Parts of a repository's name: google/gemma-scope-9b-pt-res
REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders?)")
EMBEDDING = re.compile(r"(^|/)embedding/")
POINTS = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
TEXT = TextSettings(prepend_bos=True, context_size=1024)


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a JumpReLU; the names of the repository and the folder tell where it was trained.

    source  Lieberum et al. 2024, "Gemma Scope"
    """
    # Some archives write w_enc, some W_enc
    renamed = {re.sub(r"^w_", "W_", name): weight for name, weight in weights.items()}
    name = source.full_name
    match = REPOSITORY.search(name)
    layer = number_in(name, r"layer_(\d+)")
    declared_l0 = float(number_in(name, r"average_l0_(\d+)") or 0)
    is_transcoder = match is not None and match[3].startswith("transcoder")
    architecture = Architecture(
        subtracts_b_dec=False,
        is_transcoder=is_transcoder,
        model=f"google/gemma-2-{match[1]}{'-it' if match[2] == 'it' else ''}" if match else "",
        output_hook_point=f"blocks.{layer}.hook_mlp_out"
        if is_transcoder and layer is not None
        else "",
        declared_l0=declared_l0,
        text=TEXT,
    )
    if EMBEDDING.search(name):
        raise SourceError(
            f"{source.folder}: an autoencoder on the embeddings reads a hook point that is in no layer, so no "
            "site can be made; give one of a layer"
        )
    if match is not None and layer is not None:
        point = "ln2.hook_normalized" if is_transcoder else POINTS[match[3]]
        architecture = replace(architecture, hook_point=f"blocks.{layer}.{point}")
    return renamed, architecture


LAYOUT = Layout(
    name="Gemma Scope (Gemma 2)",
    files=(WEIGHTS,),
    is_folder=True,
    content="JumpReLU autoencoders on the residual stream, MLP output and attention heads, and transcoders; not those "
    "on the embeddings",
    n_registered={"residual": 1049, "attention": 888, "MLP": 888, "transcoders": 26},
    read=_read,
    n_refused=8,
)
