"""Models in TransformerLens' early layout: a config.json without `model_type`, and a state dict.

source  transformer_lens/model_bridge/sources/tl_legacy.py, which downloads the files itself. Here the same model is
        made from local files, so that the files loaded are the files that were hashed, and the Hub is not needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sitegen.errors import SourceError

OLD_LAYOUT = "neel-solu-old"
SIZES = ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab", "act_fn")


def boot_legacy(name: str, values: dict[str, Any], weights: dict[str, Tensor]) -> Any:
    """Make a TransformerLens bridge with these weights in float32; stored attention masks are left out.

    name     of the repository or folder; `_old` in the name stands for the oldest layout, with transposed matrices
    values   of its config.json
    weights  by TransformerLens' names; an unembedding without a bias gets a bias of zeros
    raises   SourceError if the architecture is not supported, KeyError if a size is missing, and the errors of
             TransformerLens for weights that do not fit
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    config = _config(name, values)
    weights = {key: weight.float() for key, weight in weights.items()}
    converted = convert_tl_checkpoint(_convert_layout(name, values, weights, config), config)
    converted.setdefault("unembed.bias", torch.zeros(config.d_vocab))
    bridge = TransformerBridge.boot_native(config)
    bridge.load_state_dict(converted, strict=True)
    return bridge


def _config(name: str, values: dict[str, Any]) -> Any:
    """Translate a legacy configuration to the bridge's."""
    from transformer_lens.config import TransformerBridgeConfig

    if values.get("shortformer_pos"):
        raise SourceError(
            f"{name}: the model adds positions to keys and queries (shortformer_pos), which TransformerLens no longer "
            "supports: give another model"
        )
    return TransformerBridgeConfig(
        **{size: values[size] for size in SIZES},
        attn_only=values.get("attn_only", False),
        final_rms=values.get("final_rms", False),
        normalization_type=values.get("normalization", values.get("normalization_type")),
        positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )


def _convert_layout(
    name: str, values: dict[str, Any], weights: dict[str, Tensor], config: Any
) -> dict[str, Tensor]:
    """Convert the weights to the names and axes of TransformerLens' last legacy layout."""
    from transformer_lens.model_bridge.sources import tl_legacy

    layout = values.get("architecture", OLD_LAYOUT if "_old" in name else None)
    converters = {
        OLD_LAYOUT: tl_legacy._convert_neel_solu_old_weights,
        "mingpt": tl_legacy._convert_mingpt_weights,
    }
    if layout not in converters:
        return weights
    converted: dict[str, Tensor] = converters[layout](weights, config)
    return converted
