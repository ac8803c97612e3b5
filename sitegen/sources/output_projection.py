"""The direct path from a hook point to the logits: what of it is linear, as matrices, read from the raw weights.

Every matrix is held against what the model itself computes on a few tokens, so that a layout that is not
understood ends in a refusal rather than in wrong logit effects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.maths.ablation import FinalLayer

MLP_HOOK = re.compile(r"blocks\.(\d+)\.mlp\.hook_post")
HEADS_HOOK = re.compile(r"blocks\.(\d+)\.attn\.hook_z")  # [..., n_heads, d_head]
STREAM_HOOK = re.compile(r"blocks\.(\d+)\.(hook_resid_pre|hook_resid_mid|hook_resid_post)")
WRITTEN_HOOK = re.compile(r"blocks\.(\d+)\.(hook_mlp_out|hook_attn_out)")  # added to the stream
FINAL_RESIDUAL = "ln_final.hook_in"
NAMES = {"attn": "attention", "mlp": "MLP"}
TOLERANCE = 1e-3  # of the largest value; float32 errs a hundredth of it even behind many layers
EXACTLY_ONE = 1e-4  # a measured factor this near to 1 is 1


@dataclass(frozen=True)
class OutputProjection:
    """How a hook point's activations reach the logits.

    W_out     [d_hook, d_model] to the residual stream; None where the hook point is in that stream
    W_U       [d_model, d_vocab] from there to the logits: the final norm's gain folded in, centred as TransformerLens
              does by default; over the vocabulary not where a soft cap follows, since that depends on the mean
    final     the final norm and unembedding as a whole; None where it is no LayerNorm, or a soft cap follows
    formula   what a decoder row is multiplied with
    left_out  what of the path is not linear and so has no part in logit effects, beside the final norm's scale
    centres   whether the final norm takes the mean away, as LayerNorm does and RMSNorm does not
    """

    W_out: Tensor | None
    W_U: Tensor
    final: FinalLayer | None
    formula: str
    left_out: tuple[str, ...]
    centres: bool


@dataclass(frozen=True)
class Probe:
    """What the unprocessed model computes on a few tokens.

    streams  by hook point, [n_tokens, width] each
    logits   [n_tokens, d_vocab]
    """

    name: str  # of the model
    streams: dict[str, Tensor]
    logits: Tensor

    def of(self, layer: int, point: str) -> Tensor | None:
        """[n_tokens, width] at a point of a layer; None where the model has no such point."""
        return self.streams.get(f"blocks.{layer}.{point}")


@dataclass(frozen=True)
class NormGain:
    """A norm without its division by its scale: `(x - mean(x) if it centres) * gain + bias`."""

    centres: bool
    gain: Tensor  # [d_model]
    bias: Tensor  # [d_model]
    epsilon: float


def output_projection(bridge: Any, hook_point: str, probe: Probe) -> OutputProjection:
    """The path from a hook point of a model whose weights are not processed.

    probe   what the model computes on a few tokens
    raises  SourceError if the hook point is of no known kind, or the weights do not explain what the model computes
    """
    W_out, left_out = _to_stream(bridge, hook_point, probe)
    norm = norm_gain(bridge.ln_final.original_component, probe.streams[FINAL_RESIDUAL])
    if norm is None:
        raise SourceError(
            f"{probe.name}: its final norm is neither LayerNorm nor RMSNorm, so logit effects cannot be computed"
        )
    cap = _soft_cap(bridge.cfg)
    if cap:
        left_out = (*left_out, f"the soft cap of the logits at {cap:g}")
    if W_out is not None and norm.centres:  # the final norm takes the mean away in any case
        W_out = W_out - W_out.mean(-1, keepdim=True)
    unembedding = bridge.unembed.original_component
    W_raw = unembedding.weight.detach().float().T  # [d_model, d_vocab]
    bias = getattr(unembedding, "bias", None)
    b_raw = W_raw.new_zeros(W_raw.shape[1]) if bias is None else bias.detach().float()
    factor = _logit_factor(bridge, W_raw, b_raw, cap, probe)
    layers = _layer_factor(bridge, hook_point)
    W_U = W_raw * norm.gain[:, None]
    b_U = b_raw + (W_raw.T * norm.bias[None, :]).sum(-1)
    if norm.centres:
        W_U = W_U - W_U.mean(0, keepdim=True)
    if not cap:
        W_U, b_U = W_U - W_U.mean(-1, keepdim=True), b_U - b_U.mean()
    if factor != 1:
        W_U, b_U = W_U * factor, b_U * factor
    final = FinalLayer(W_U, b_U, norm.epsilon) if norm.centres and not cap else None
    W_U = W_U if layers == 1 else W_U * layers
    return OutputProjection(W_out, W_U, final, _formula(hook_point), left_out, norm.centres)


def norm_gain(norm: Any, x: Tensor) -> NormGain | None:
    """A norm's gain and bias, known to explain what it makes of `x` [n, d_model]; None if it is of another kind.

    Whether its weight is the gain or what the gain exceeds 1 by (as in Gemma) differs between makers, and so does
    whether it takes the mean away: the norm itself is asked.
    """
    expected = norm(x)
    epsilon = float(getattr(norm, "variance_epsilon", getattr(norm, "eps", 1e-6)))
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    ones = x.new_ones(x.shape[-1])
    gains = [ones] if weight is None else [weight.detach().float(), 1 + weight.detach().float()]
    shift = torch.zeros_like(ones) if bias is None else bias.detach().float()
    for centres in (True, False):
        for gain in gains:
            centred = x - x.mean(-1, keepdim=True) if centres else x
            scale = (centred.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
            if is_near(centred / scale * gain + shift, expected):
                return NormGain(centres, gain, shift, epsilon)
    return None


def is_near(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors of one shape differ by no more than rounding."""
    if found.shape != expected.shape:
        return False
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) <= TOLERANCE * max(largest, 1e-6)


def _soft_cap(cfg: Any) -> float:
    """What the logits are capped at by `cap * tanh(logits / cap)`; 0: they are not."""
    cap = getattr(cfg, "output_logits_soft_cap", None)
    return float(cap) if cap is not None and cap > 0 else 0.0


def _logit_factor(bridge: Any, W_raw: Tensor, b_raw: Tensor, cap: float, probe: Probe) -> float:
    """What the model multiplies its logits with (Cohere, Granite), measured; 1 in most models."""
    normal = bridge.ln_final.original_component(probe.streams[FINAL_RESIDUAL]).float()
    computed, logits = normal @ W_raw + b_raw, probe.logits
    if cap:
        logits = cap * torch.atanh((logits / cap).clamp(-1 + 1e-6, 1 - 1e-6))
    factor = _factor(computed, logits)
    if factor is None:
        raise SourceError(
            f"{probe.name}: its logits are not the final norm times the unembedding, so logit effects cannot be "
            "computed"
        )
    return factor


def _factor(parts: Tensor, whole: Tensor) -> float | None:
    """The number that `parts` times it is `whole`; None if there is none."""
    if parts.shape != whole.shape:
        return None
    a, b = parts.double(), whole.double()
    factor = float((a * b).sum() / a.pow(2).sum().clamp(min=1e-30))
    factor = 1.0 if abs(factor - 1) < EXACTLY_ONE else factor
    return factor if is_near(parts * factor, whole) else None


def _formula(hook_point: str) -> str:
    if MLP_HOOK.fullmatch(hook_point):
        return "W_dec W_out W_U"
    return "W_dec W_O W_U" if HEADS_HOOK.fullmatch(hook_point) else "W_dec W_U"


def _to_stream(bridge: Any, hook_point: str, probe: Probe) -> tuple[Tensor | None, tuple[str, ...]]:
    """(W_out, what of the way to the residual stream is left out)."""
    if match := STREAM_HOOK.fullmatch(hook_point):
        if match[2] == "hook_resid_mid":
            _require_replaceable(int(match[1]), probe, hook_point)
        return None, ()
    match = next(
        (
            found
            for kind in (MLP_HOOK, HEADS_HOOK, WRITTEN_HOOK)
            if (found := kind.fullmatch(hook_point))
        ),
        None,
    )
    if match is None:
        raise SourceError(
            f"hook point {hook_point}: the path from there to the logits is not linear; give blocks.N.mlp.hook_post, "
            "blocks.N.attn.hook_z, or a residual-stream hook such as blocks.N.hook_resid_pre"
        )
    layer, part = int(match[1]), "attn" if "attn" in hook_point else "mlp"
    gain = _gain_of_stream(layer, part, probe, hook_point)
    if WRITTEN_HOOK.fullmatch(hook_point):
        factor = _factor(probe.streams[hook_point], gain)
        if factor is None:
            raise SourceError(
                f"{probe.name}: what stands at {hook_point} is not what its layer adds to the residual stream; "
                f"give blocks.{layer}.hook_resid_post instead"
            )
        unit = torch.eye(gain.shape[1], device=gain.device)
        return (None if factor == 1 else factor * unit), ()
    return _projection(bridge, layer, part, hook_point, probe, gain)


def _require_replaceable(layer: int, probe: Probe, hook_point: str) -> None:
    """That the stream between attention and MLP is set by setting what attention writes, as measuring quality does."""
    written = probe.of(layer, "hook_attn_out")
    gain = _gain_of_stream(layer, "attn", probe, hook_point)
    if written is None or not is_near(written, gain):
        raise SourceError(
            f"{probe.name}: what attention writes is not all that is added to the stream before {hook_point}; "
            f"give blocks.{layer}.hook_resid_post instead"
        )


def _gain_of_stream(layer: int, part: str, probe: Probe, hook_point: str) -> Tensor:
    """[n_tokens, d_model] what a part of a layer adds to the residual stream.

    raises  SourceError if that cannot be told
    """
    pre, mid, post = (probe.of(layer, f"hook_resid_{name}") for name in ("pre", "mid", "post"))
    before, after = (pre, mid) if part == "attn" else (mid, post)
    if before is not None and after is not None:
        return after - before
    attention, mlp = (probe.of(layer, f"hook_{name}_out") for name in ("attn", "mlp"))
    if pre is not None and post is not None and attention is not None and mlp is not None:
        factor = _factor(attention + mlp, post - pre)  # side by side, as in GPT-NeoX
        if factor is not None:
            return factor * (attention if part == "attn" else mlp)
    raise SourceError(
        f"{probe.name}: what {hook_point} adds to the residual stream cannot be told; "
        f"give blocks.{layer}.hook_resid_post instead"
    )


def _projection(
    bridge: Any, layer: int, part: str, hook_point: str, probe: Probe, gain: Tensor
) -> tuple[Tensor, tuple[str, ...]]:
    """(the matrix behind a hook point [d_hook, d_model], what it leaves out), known to give what the stream gains."""
    block = bridge.blocks[layer]
    module = getattr(getattr(block, part), "out" if part == "mlp" else "o", None)
    linear = getattr(module, "original_component", None)
    weight = getattr(linear, "weight", None)
    x = probe.streams[hook_point]
    if weight is None or weight.ndim != 2 or x.shape[1] not in weight.shape:
        raise SourceError(
            f"{probe.name} has no single matrix behind {hook_point} (a mixture of experts has many): "
            f"give a hook point in the residual stream, such as blocks.{layer}.hook_resid_post"
        )
    # torch.nn.Linear keeps [out, in], GPT-2's Conv1D [in, out]
    is_in_out = type(linear).__name__ == "Conv1D"
    matrix = weight.detach().float() if is_in_out else weight.detach().float().T
    bias = getattr(linear, "bias", None)
    written = x @ matrix if bias is None else x @ matrix + bias.detach().float()
    behind = getattr(block, "ln1_post" if part == "attn" else "ln2_post", None)
    left_out: tuple[str, ...] = ()
    if behind is not None:
        norm = norm_gain(behind.original_component, written)
        written = behind.original_component(written)
        if norm is not None:
            matrix = matrix - matrix.mean(-1, keepdim=True) if norm.centres else matrix
            matrix = matrix * norm.gain
            left_out = (f"the scale of the norm behind the {NAMES[part]}",)
    # In some models a factor stands between (Granite)
    factor = _factor(written, gain)
    added = probe.of(layer, f"hook_{part}_out")
    if factor is None and added is not None and hasattr(block.original_component, "layer_scalar"):
        # Gemma 4 adds a third part behind the MLP, and its factors are known
        factor = 1.0 if is_near(written, added) else None
    if factor is None or (behind is not None and not left_out):
        raise SourceError(
            f"{probe.name}: {hook_point} times the matrix behind it is not what the layer adds to the residual stream, "
            f"so it cannot be read; give a hook point in that stream, such as blocks.{layer}.hook_resid_post"
        )
    return (matrix if factor == 1 else matrix * factor), left_out


def _layer_factor(bridge: Any, hook_point: str) -> float:
    """What the stream is multiplied with from a hook point on, as whole layers are in Gemma 4; 1 in most models."""
    _, layer, point = hook_point.split(".", 2)
    first = int(layer) + (point == "hook_resid_post")
    factor = 1.0
    for block in list(bridge.blocks)[first:]:
        factor *= float(getattr(block.original_component, "layer_scalar", 1.0))
    return factor
