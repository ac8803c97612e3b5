"""A TransformerLens model as plain matrices up to its hook point, where it is of a make that these can say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.maths.transformer import ACTIVATIONS, PlainTransformer
from sitegen.records import HOOKS, ModelSettings
from sitegen.sources.model import HookedModel

NORMS = ("LN", "LNPre")


def plain_transformer(model: HookedModel, n_positions: int) -> PlainTransformer:
    """The model's weights from its embedding to the hook point.

    n_positions  so many of the position embeddings, from the first on
    raises       SourceError naming what of the model cannot be said in these terms
    """
    cfg = model.bridge.cfg
    layer, hook = model.layer_and_point
    if hook not in HOOKS:
        raise SourceError(f"hook point {model.hook_point} is none of those known")
    _require_known_architecture(cfg)
    settings = ModelSettings(
        n_layers=layer + 1,
        n_heads=int(cfg.n_heads),
        activation=str(cfg.act_fn),
        epsilon=float(cfg.eps),
        score_scale=float(cfg.attn_scale) if cfg.attn_scale > 0 else float(cfg.d_head) ** 0.5,
        hook=HOOKS[hook],
    )
    weights = {
        "embedding": model.bridge.W_E.detach(),
        "positions": model.bridge.W_pos.detach()[:n_positions],
    }
    for number in range(layer + 1):
        needed = _parts_before(settings.hook) if number == layer else None
        parts = _layer_weights(model.bridge.blocks[number])
        weights |= {
            f"layers.{number}.{name}": weight.contiguous()
            for name, weight in parts.items()
            if needed is None or name.partition(".")[0] in needed
        }
    return PlainTransformer(settings, weights)


def _require_known_architecture(cfg: Any) -> None:
    """Refuses what is known to differ; whatever else does shows when activations are compared."""
    n_kv = getattr(cfg, "n_key_value_heads", None)
    wants = {
        f"its positions are {cfg.positional_embedding_type}, not learned embeddings": cfg.positional_embedding_type
        == "standard",
        f"its norms are {cfg.normalization_type}, not LayerNorm": cfg.normalization_type in NORMS,
        f"its activation function is {cfg.act_fn}": cfg.act_fn in ACTIVATIONS,
        "its MLPs are gated": not getattr(cfg, "gated_mlp", False),
        "its heads share keys": n_kv in (None, cfg.n_heads),
        "it has no MLPs": not getattr(cfg, "attn_only", False),
    }
    for reason, holds in wants.items():
        if not holds:
            raise SourceError(reason)


def _parts_before(hook: str) -> tuple[str, ...]:
    """The parts of the hook point's layer that come before it."""
    parts = ("qkv", "attention_out", "mlp_in", "mlp_out")
    return parts[: {"resid_pre": 0, "attn_out": 2, "resid_mid": 2, "mlp_post": 3}.get(hook, 4)]


def _layer_weights(block: Any) -> dict[str, Tensor]:
    """One layer's matrices, [out, in], and biases; each norm's gain and bias folded into the matrix behind it."""
    attention, mlp = block.attn, block.mlp
    heads = [
        getattr(attention, f"W_{name}").detach() for name in "QKV"
    ]  # [n_heads, d_model, d_head]
    biases = [getattr(attention, f"b_{name}").detach() for name in "QKV"]  # [n_heads, d_head]
    qkv = torch.cat([head.transpose(1, 2).flatten(0, 1) for head in heads])
    qkv_bias = torch.cat([bias.flatten() for bias in biases])
    qkv, qkv_bias = _behind(block.ln1, qkv, qkv_bias)
    mlp_in, mlp_in_bias = _behind(block.ln2, mlp.W_in.detach().T, mlp.b_in.detach())
    return {
        "qkv.weight": qkv,
        "qkv.bias": qkv_bias,
        "attention_out.weight": attention.W_O.detach().flatten(0, 1).T,
        "attention_out.bias": attention.b_O.detach(),
        "mlp_in.weight": mlp_in,
        "mlp_in.bias": mlp_in_bias,
        "mlp_out.weight": mlp.W_out.detach().T,
        "mlp_out.bias": mlp.b_out.detach(),
    }


def _behind(norm: Any, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [out, in] and its bias [out] with the gain and bias of the norm before them folded in.

    Where TransformerLens has folded them already, the gain is 1 and the bias 0, and nothing changes.
    """
    module = norm.original_component
    shift = getattr(module, "bias", None)
    if shift is not None and bool(shift.any()):
        bias = bias + weight @ shift.detach()
    gain = getattr(module, "weight", None)
    return (weight if gain is None else weight * gain.detach()), bias
