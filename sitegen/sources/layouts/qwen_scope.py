"""Qwen Scope: TopK autoencoders of the Qwen team, a file for each layer."""

from __future__ import annotations

import re

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import Layout, Reading, require_k, transpose
from sitegen.sources.layouts.source import Source

SETTINGS = "config.json"
FILE = re.compile(r"layer(\d+)\.sae\.pt")
REPOSITORY = re.compile(r"SAE-Res-([^/]+)-W\d+K-L0_(\d+)")


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a TopK whose matrices are [out, in]; the repository's settings or its name tell its k and the model.

    source  SAELens 6.54, `qwen_scope_sae_huggingface_loader`
    """
    layer, match = FILE.fullmatch(source.file), REPOSITORY.search(source.full_name)
    assert layer is not None
    settings = source.settings(SETTINGS) or {}
    k = settings.get("k") or (int(match[2]) if match else None)
    if k is None:
        raise SourceError(
            f"{source.file}: its k is in the repository's {SETTINGS} or in its name: keep the file beside {SETTINGS}, "
            "or in a folder of the repository's name, such as SAE-Res-Qwen3-1.7B-Base-W32K-L0_50"
        )
    return transpose(weights, "W_enc", "W_dec"), Architecture(
        subtracts_b_dec=False,
        k=require_k(k, source.file),
        model=str(settings.get("base_model") or (f"Qwen/{match[1]}" if match else "")),
        hook_point=f"blocks.{layer[1]}.hook_resid_post",
        # Qwen's tokenizers have no BOS
        text=TextSettings(context_size=1024),
    )


LAYOUT = Layout(
    name="Qwen Scope",
    files=("layerN.sae.pt",),
    is_folder=False,
    content="TopK; the k and the model are in the repository's settings or name",
    n_registered={"autoencoders": 544},
    recognised_by=lambda source: FILE.fullmatch(source.file) is not None,
    read=_read,
)
