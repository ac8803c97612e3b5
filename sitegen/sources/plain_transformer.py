"""A TransformerLens model as plain matrices up to its hook point, for the architectures that readers' pages can run."""

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
    """Extract the model's weights from the embedding to the hook point.

    n_positions  number of position embeddings to keep, from the first on
    raises       SourceError that names the property of the model that is not supported
    """
    # The messages below become part of the manifest (`live.why_not`), as the reason why pages have no model
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
    """Raise for properties that are known not to be supported; others show when activations are compared.

    raises  SourceError
    """
    n_kv = getattr(cfg, "n_key_value_heads", None)
    requirements = {
        f"its positions are {cfg.positional_embedding_type}, not learned embeddings": cfg.positional_embedding_type
        == "standard",
        f"its norms are {cfg.normalization_type}, not LayerNorm": cfg.normalization_type in NORMS,
        f"its activation function is {cfg.act_fn}": cfg.act_fn in ACTIVATIONS,
        "its MLPs are gated": not getattr(cfg, "gated_mlp", False),
        "its heads share keys": n_kv in (None, cfg.n_heads),
        "it has no MLPs": not getattr(cfg, "attn_only", False),
    }
    for reason, holds in requirements.items():
        if not holds:
            raise SourceError(reason)


def _parts_before(hook: str) -> tuple[str, ...]:
    """Parts of the hook point's layer that are computed before it."""
    parts = ("qkv", "attention_out", "mlp_in", "mlp_out")
    return parts[
        : {"resid_pre": 0, "attn_out": 2, "resid_mid": 2, "mlp_norm": 2, "mlp_post": 3}.get(hook, 4)
    ]


def _layer_weights(block: Any) -> dict[str, Tensor]:
    """Weights of one layer: matrices [out, in] and biases, each norm's gain and bias folded into the next matrix."""
    attention, mlp = block.attn, block.mlp
    # [n_heads, d_model, d_head] each
    heads = [getattr(attention, f"W_{name}").detach() for name in "QKV"]
    biases = [getattr(attention, f"b_{name}").detach() for name in "QKV"]  # [n_heads, d_head]
    qkv = torch.cat([head.transpose(1, 2).flatten(0, 1) for head in heads])
    qkv_bias = torch.cat([bias.flatten() for bias in biases])
    qkv, qkv_bias = _fold_norm(block.ln1, qkv, qkv_bias)
    mlp_in, mlp_in_bias = _fold_norm(block.ln2, mlp.W_in.detach().T, mlp.b_in.detach())
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


def fold_input_norm(model: HookedModel, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Fold the gain and bias that the hook point's activations have, but not those of `PlainTransformer`.

    This concerns an MLP's input, which the plain model gives without the norm's gain and bias.

    weight  [n_features, d_hook] of the encoder
    bias    [n_features]
    """
    layer, hook = model.layer_and_point
    if hook != "mlp.hook_in":
        return weight, bias
    return _fold_norm(model.bridge.blocks[layer].ln2, weight, bias)


def _fold_norm(norm: Any, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Fold a norm's gain and bias into the matrix [out, in] and the bias [out] that follow it.

    If TransformerLens has already folded them, the gain is 1 and the bias 0, and nothing changes.
    """
    module = norm.original_component
    shift = getattr(module, "bias", None)
    if shift is not None and bool(shift.any()):
        bias = bias + weight @ shift.detach()
    gain = getattr(module, "weight", None)
    return (weight if gain is None else weight * gain.detach()), bias
