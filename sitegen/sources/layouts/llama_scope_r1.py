"""Llama Scope R1: JumpReLU autoencoders of OpenMOSS on the distilled R1."""

from __future__ import annotations

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import (
    Layout,
    Reading,
    fold_input_scale,
    rename_linear,
    require_same_point,
)
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS = "config.json", "sae_weights.safetensors"
LENGTH = "dataset_average_activation_norm."


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a JumpReLU whose thresholds are stored as logarithms, trained on scaled activations.

    The average length of the activations before they were scaled to sqrt(d_hook) is among the weights.

    source  SAELens 6.54, `llama_scope_r1_distill_sae_huggingface_loader`
    """
    settings, name = source.settings(SETTINGS) or {}, source.folder
    point = require_same_point(settings, name)
    renamed = rename_linear(
        {key: weight for key, weight in weights.items() if not key.startswith(LENGTH)}, name
    )
    threshold = renamed.pop("log_jumprelu_threshold", None)
    length = weights.get(f"{LENGTH}{point}")
    if threshold is None or length is None or "W_enc" not in renamed:
        raise SourceError(
            f"{name}: {WEIGHTS} lacks log_jumprelu_threshold, {LENGTH}{point} or encoder.weight; give the two files "
            "that were saved together"
        )
    renamed["threshold"] = threshold.exp()
    scale = renamed["W_enc"].shape[0] ** 0.5 / length.float()
    return fold_input_scale(renamed, scale), Architecture(
        subtracts_b_dec=False,
        hook_point=point,
        text=TextSettings(prepend_bos=True, context_size=1024),
    )


LAYOUT = Layout(
    name="Llama Scope R1",
    files=(SETTINGS, WEIGHTS),
    is_folder=True,
    content="JumpReLU; the scale of the input is among the weights",
    n_registered={"autoencoders": 96},
    read=_read,
    # SAELens' weights have the same name
    recognised_by=lambda source: (
        source.holds(SETTINGS, WEIGHTS) and "hook_point_in" in (source.settings(SETTINGS) or {})
    ),
)
