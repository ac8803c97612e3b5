"""Llama Scope R1: JumpReLU autoencoders of OpenMOSS on the distilled R1."""

from __future__ import annotations

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import Layout, Reading, rename_linear
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS = "config.json", "sae_weights.safetensors"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a JumpReLU whose thresholds are stored as logarithms.

    source  SAELens 6.54, `llama_scope_r1_distill_sae_huggingface_loader`
    """
    settings, name = source.settings(SETTINGS) or {}, source.folder
    renamed = rename_linear(weights, name)
    threshold = renamed.pop("log_jumprelu_threshold", None)
    if threshold is None:
        raise SourceError(
            f"{name}: {WEIGHTS} lacks log_jumprelu_threshold; give the two files that were saved together"
        )
    renamed["threshold"] = threshold.exp()
    return renamed, Architecture(
        subtracts_b_dec=False,
        lacks_input_scale=True,
        model="deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        hook_point=str(settings.get("hook_point_in") or ""),
        text=TextSettings(prepend_bos=True, context_size=1024),
    )


LAYOUT = Layout(
    name="Llama Scope R1",
    files=f"a folder with `{SETTINGS}` and `{WEIGHTS}`",
    content="JumpReLU; the scale of the input is `autoencoder.input_scale`",
    n_published={"autoencoders": 96},
    recognises=lambda source: source.holds(SETTINGS) and source.holds(WEIGHTS),
    weights=lambda source: WEIGHTS,
    read=_read,
)
