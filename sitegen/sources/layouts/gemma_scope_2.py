"""Gemma Scope 2 (Gemma 3): autoencoders and transcoders of DeepMind, as safetensors."""

from __future__ import annotations

import re

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.hook_points import to_hook_point
from sitegen.sources.layouts.layout import Layout, Reading, number_in
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS = "config.json", "params.safetensors"
REPOSITORY = re.compile(r"gemma-scope-2-([0-9]+[bm])-(pt|it)")
NAMES = {"w_enc": "W_enc", "w_dec": "W_dec", "affine_skip_connection": "W_skip"}
# Kinds of folders, which the folder's name tells, and the hook points that they read and write
POINTS = {
    "resid_post": ("hook_resid_post", ""),
    "attn_out": ("attn.hook_z", ""),
    "mlp_out": ("hook_mlp_out", ""),
    "transcoder": ("mlp.hook_in", "hook_mlp_out"),
}


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a JumpReLU. Without settings, the folder's name tells layer and hook point."""
    settings = source.settings(SETTINGS) or {}
    kind = settings.get("architecture", "jump_relu")
    if kind != "jump_relu":
        raise SourceError(
            f"{source.folder}: Gemma Scope 2's architecture {kind!r} is not supported (jump_relu is); give another "
            "autoencoder"
        )
    if settings.get("type") in ("clt", "crosscoder"):
        raise SourceError(
            f"{source.folder}: a {settings['type']} reads or writes several layers, which a site cannot show yet: give "
            "an autoencoder or a transcoder of one layer"
        )
    name = source.full_name
    layer = number_in(name, r"layer_(\d+)")
    points = next((points for part, points in POINTS.items() if part in name), None)
    hook_point = to_hook_point(str(settings.get("hf_hook_point_in") or ""))
    output_point = to_hook_point(str(settings.get("hf_hook_point_out") or ""))
    if layer is not None and points is not None:
        hook_point = hook_point or f"blocks.{layer}.{points[0]}"
        output_point = output_point or (points[1] and f"blocks.{layer}.{points[1]}")
    # Settings of autoencoders name their hook point as the output, too
    is_transcoder = bool(output_point) and output_point != hook_point
    return {NAMES.get(key, key): weight for key, weight in weights.items()}, Architecture(
        subtracts_b_dec=False,
        is_transcoder=is_transcoder,
        model=_find_model(str(settings.get("model_name") or ""), name),
        hook_point=hook_point,
        output_hook_point=output_point if is_transcoder else "",
        text=TextSettings(prepend_bos=True, context_size=1024),
    )


def _find_model(declared: str, name: str) -> str:
    """Find the model's name on the Hub from the settings, or else from the repository's name."""
    match = REPOSITORY.search(name)
    model = declared.removeprefix("google/").replace("-v3", "-3")
    if not model and match:
        model = f"gemma-3-{match[1]}-{match[2]}"
    # The smallest pretrained model has no `-pt` in its name
    model = model.replace("270m-pt", "270m")
    return f"google/{model}" if model else ""


LAYOUT = Layout(
    name="Gemma Scope 2 (Gemma 3)",
    files=(WEIGHTS,),
    is_folder=True,
    content="JumpReLU autoencoders on the residual stream, MLP output and attention heads, and transcoders, with an "
    "affine skip connection or without",
    n_registered={
        "residual": 2024,
        "attention": 1580,
        "MLP": 1604,
        "transcoders": 1782,
        "affine-skip transcoders": 1794,
    },
    read=_read,
    also="mostly beside `config.json`",
)
