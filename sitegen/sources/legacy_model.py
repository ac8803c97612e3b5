"""Models in the layout of TransformerLens' early years: a config.json without `model_type`, and a state dict.

source  transformer_lens/model_bridge/sources/tl_legacy.py. That downloads what it reads; here the same is made of
        files that are at hand, so that what is loaded is what was hashed, and no Hub is needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sitegen.errors import SourceError

OLD_LAYOUT = "neel-solu-old"
SIZES = ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab", "act_fn")


def boot_legacy(name: str, values: dict[str, Any], weights: dict[str, Tensor]) -> Any:
    """A TransformerLens bridge of these weights, as float32; attention masks beside them are left out.

    name     the repository or folder; one with `_old` in it has weights the other way round
    values   of its config.json
    weights  under TransformerLens' names; an unembedding without a bias gets one of zeros
    raises   SourceError, KeyError if a size is missing, or what TransformerLens raises over weights that do not fit
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    config = _config(name, values)
    weights = {key: weight.float() for key, weight in weights.items()}
    converted = convert_tl_checkpoint(_in_later_layout(name, values, weights, config), config)
    converted.setdefault("unembed.bias", torch.zeros(config.d_vocab))
    bridge = TransformerBridge.boot_native(config)
    bridge.load_state_dict(converted, strict=True)
    return bridge


def _config(name: str, values: dict[str, Any]) -> Any:
    """The bridge's configuration."""
    from transformer_lens.config import TransformerBridgeConfig

    if values.get("shortformer_pos"):
        raise SourceError(
            f"{name}: it adds positions to keys and queries (shortformer_pos), which TransformerLens no longer does: "
            "give another model"
        )
    return TransformerBridgeConfig(
        **{size: values[size] for size in SIZES},
        attn_only=values.get("attn_only", False),
        final_rms=values.get("final_rms", False),
        normalization_type=values.get("normalization", values.get("normalization_type")),
        positional_embedding_type="standard",
        architecture="TransformerLensNative",
    )


def _in_later_layout(
    name: str, values: dict[str, Any], weights: dict[str, Tensor], config: Any
) -> dict[str, Tensor]:
    """The weights under the names and with the axes that TransformerLens used last."""
    from transformer_lens.model_bridge.sources import tl_legacy

    layout = values.get("architecture", OLD_LAYOUT if "_old" in name else None)
    converters = {
        OLD_LAYOUT: tl_legacy._convert_neel_solu_old_weights,
        "mingpt": tl_legacy._convert_mingpt_weights,
    }
    if layout not in converters:
        return weights
    later: dict[str, Tensor] = converters[layout](weights, config)
    return later
