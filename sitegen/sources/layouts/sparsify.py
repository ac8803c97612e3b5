"""EleutherAI's sparsify: TopK autoencoders and transcoders."""

from __future__ import annotations

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.hook_points import to_hook_point
from sitegen.sources.layouts.layout import (
    Layout,
    Reading,
    context_size,
    rename_linear,
    require_k,
    transpose,
)
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS, TRAINING = "cfg.json", "sae.safetensors", "../config.json"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a TopK; the folder is named after the module in `transformers` whose output it reconstructs.

    source  sparsify 1.3, `SparseCoder`
    """
    settings, name = source.settings(SETTINGS) or {}, source.folder
    training = source.settings(TRAINING) or {}
    for key, expected in (("activation", "topk"), ("signed", False)):
        if settings.get(key, expected) not in (expected, None):
            raise SourceError(
                f"{name}: sparsify's {key} of {settings[key]!r} is not supported ({expected!r} is); give another "
                "autoencoder"
            )
    renamed = transpose(rename_linear(weights, name), "W_skip")
    # Early versions have no `transcode`; there, a skip connection marks a transcoder
    is_transcoder = bool(settings.get("transcode") or settings.get("skip_connection"))
    module = source.folder.rpartition("/")[2]
    point = to_hook_point(module)
    size = training.get("ctx_len")
    return renamed, Architecture(
        subtracts_b_dec=not settings.get("transcode"),
        k=require_k(settings.get("k"), name),
        is_transcoder=is_transcoder,
        model=str(training.get("model") or ""),
        hook_point=to_hook_point(f"{module}.input") if is_transcoder else point,
        output_hook_point=point if is_transcoder else "",
        text=TextSettings(
            context_size=context_size(size),
            dataset=str(training.get("dataset") or ""),
        ),
    )


LAYOUT = Layout(
    name="sparsify",
    files=(SETTINGS, WEIGHTS),
    is_folder=True,
    content="TopK autoencoders, and transcoders with a skip connection or without",
    n_registered={},
    read=_read,
)
