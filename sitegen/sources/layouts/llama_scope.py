"""Llama Scope: TopK autoencoders of OpenMOSS, published as JumpReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import (
    Layout,
    Reading,
    expand_threshold,
    fold_input_scale,
    rename_linear,
    require_same_point,
)
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a JumpReLU with one threshold, trained on activations that were scaled to an average length of sqrt(d_hook).

    source  SAELens 6.54, `llama_scope_sae_huggingface_loader`, which scales the threshold too
    """
    settings, name = source.settings(SETTINGS) or {}, source.folder
    renamed = rename_linear(weights, name)
    scale = _read_scale(settings, name)
    threshold = settings.get("jump_relu_threshold")
    if not isinstance(threshold, int | float):
        raise SourceError(
            f"{name}/{SETTINGS}: jump_relu_threshold is {threshold!r}; a number is expected: download it again"
        )
    renamed["threshold"] = torch.tensor([threshold * scale])
    return fold_input_scale(expand_threshold(renamed), scale), Architecture(
        subtracts_b_dec=False,
        model="meta-llama/Llama-3.1-8B" if "Llama3_1-8B" in source.full_name else "",
        hook_point=require_same_point(settings, name),
        text=TextSettings(prepend_bos=True, context_size=1024),
    )


def _read_scale(settings: dict[str, Any], name: str) -> float:
    """Compute the factor that gave the training's activations an average length of sqrt(d_hook)."""
    norms, d_model = settings.get("dataset_average_activation_norm"), settings.get("d_model")
    norm = norms.get("in") if isinstance(norms, dict) else None
    if not isinstance(norm, int | float) or not isinstance(d_model, int) or not norm > 0:
        raise SourceError(
            f"{name}/{SETTINGS}: d_model is {d_model!r} and dataset_average_activation_norm {norms!r}; numbers are "
            "expected: download it again"
        )
    return float(d_model**0.5 / norm)


LAYOUT = Layout(
    name="Llama Scope",
    files=(SETTINGS, WEIGHTS),
    is_folder=True,
    content="JumpReLU with one threshold; the scale of the input is in the settings",
    n_registered={"autoencoders": 192},
    read=_read,
)
