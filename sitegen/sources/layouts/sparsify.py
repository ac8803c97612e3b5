"""EleutherAI's sparsify: TopK autoencoders and transcoders."""

from __future__ import annotations

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.hook_points import to_hook_point
from sitegen.sources.layouts.layout import Layout, Reading, rename_linear, require_k
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS, TRAINING = "cfg.json", "sae.safetensors", "../config.json"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a TopK; the folder's name is that of a module in `transformers`, and its output is what was read.

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
    renamed = rename_linear(weights, name)
    if "W_skip" in renamed:
        renamed["W_skip"] = renamed["W_skip"].T.contiguous()
    # Early versions had a skip connection, which only transcoders use, before they had a name for transcoders
    is_transcoder = bool(settings.get("transcode") or settings.get("skip_connection"))
    point = to_hook_point(source.folder.rpartition("/")[2])
    size = training.get("ctx_len")
    return renamed, Architecture(
        subtracts_b_dec=not settings.get("transcode"),
        k=require_k(settings.get("k"), name),
        is_transcoder=is_transcoder,
        model=str(training.get("model") or ""),
        hook_point=point.replace("hook_mlp_out", "mlp.hook_in") if is_transcoder else point,
        output_hook_point=point if is_transcoder else "",
        text=TextSettings(
            context_size=size if type(size) is int and size >= 2 else None,
            dataset=str(training.get("dataset") or ""),
        ),
    )


LAYOUT = Layout(
    name="sparsify",
    files=f"a folder with `{SETTINGS}` and `{WEIGHTS}`",
    content="TopK autoencoders, and transcoders with a skip connection or without",
    n_published={},
    recognises=lambda source: source.holds(SETTINGS) and source.holds(WEIGHTS),
    weights=lambda source: WEIGHTS,
    read=_read,
)
