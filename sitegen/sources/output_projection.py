"""The output projection: the linear direct path from a hook point to the logits, as matrices from the raw weights.

Every matrix is compared with what the model itself computes on a few tokens. So a weight layout that is not understood
raises an error instead of giving wrong logit effects.
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
# Share of the largest value; the rounding error of float32 is a hundredth of this even after many layers
TOLERANCE = 1e-3
# A measured factor that differs from 1 by less than this counts as exactly 1
EXACTLY_ONE = 1e-4


@dataclass(frozen=True)
class OutputProjection:
    """Matrices from a hook point's activations to the logits.

    W_out     [d_hook, d_model] to the residual stream; None if the hook point is in that stream
    W_U       [d_model, d_vocab] from the stream to the logits, with the final norm's gain folded in and centred as
              TransformerLens does by default; not centred over the vocabulary if a soft cap follows, because the
              capped logits depend on the mean
    final     final norm and unembedding as a whole; None if the norm is not a LayerNorm, or a soft cap follows
    formula   product of a decoder row and matrices that gives its logit effects
    left_out  parts of the path that are not linear and therefore ignored in logit effects, besides the final norm's
              scale
    centres   whether the final norm subtracts the mean, as LayerNorm does and RMSNorm does not
    """

    W_out: Tensor | None
    W_U: Tensor
    final: FinalLayer | None
    formula: str
    left_out: tuple[str, ...]
    centres: bool


@dataclass(frozen=True)
class Probe:
    """Activations and logits of the unprocessed model on a few tokens.

    name     of the model, for messages
    streams  activations [n_tokens, width] by hook point
    logits   [n_tokens, d_vocab]
    """

    name: str
    streams: dict[str, Tensor]
    logits: Tensor

    def at(self, layer: int, point: str) -> Tensor | None:
        """Activations [n_tokens, width] at a point of a layer; None if the model has no such point."""
        return self.streams.get(f"blocks.{layer}.{point}")


@dataclass(frozen=True)
class NormGain:
    """A norm without the division by its scale: `(x - mean(x)) * gain + bias`, or `x * gain + bias` if not centring."""

    centres: bool
    gain: Tensor  # [d_model]
    bias: Tensor  # [d_model]
    epsilon: float


def output_projection(bridge: Any, hook_point: str, probe: Probe) -> OutputProjection:
    """Compute the output projection from a hook point of a model whose weights are not processed.

    probe   the model's activations and logits on a few tokens
    raises  SourceError if the kind of hook point is not supported, or the weights do not reproduce the model's values
    """
    W_out, left_out = _stream_matrix(bridge, hook_point, probe)
    norm = find_norm_gain(bridge.ln_final.original_component, probe.streams[FINAL_RESIDUAL])
    if norm is None:
        raise SourceError(
            f"{probe.name}: its final norm is neither LayerNorm nor RMSNorm, so logit effects cannot be computed: give "
            "another model"
        )
    cap = _soft_cap(bridge.cfg)
    if cap:
        left_out = (*left_out, f"the soft cap of the logits at {cap:g}")
    # A mean over d_model has no effect after a final norm that subtracts it, so W_out is centred
    if W_out is not None and norm.centres:
        W_out = W_out - W_out.mean(-1, keepdim=True)
    unembedding = bridge.unembed.original_component
    W_raw = unembedding.weight.detach().float().T  # [d_model, d_vocab]
    bias = getattr(unembedding, "bias", None)
    b_raw = W_raw.new_zeros(W_raw.shape[1]) if bias is None else bias.detach().float()
    logit_factor = _logit_factor(bridge, W_raw, b_raw, cap, probe)
    layer_factor = _layer_factor(bridge, hook_point)
    # Fold the final norm's gain and bias into the unembedding, then centre it over d_model (which the norm's own
    # centring allows) and over the vocabulary (which softmax ignores, but a soft cap does not)
    W_U = W_raw * norm.gain[:, None]
    b_U = b_raw + (W_raw.T * norm.bias[None, :]).sum(-1)
    if norm.centres:
        W_U = W_U - W_U.mean(0, keepdim=True)
    if not cap:
        W_U, b_U = W_U - W_U.mean(-1, keepdim=True), b_U - b_U.mean()
    if logit_factor != 1:
        W_U, b_U = W_U * logit_factor, b_U * logit_factor
    # The factor of later layers is on the way to the final norm, so it belongs to logit effects but not to `final`
    final = FinalLayer(W_U, b_U, norm.epsilon) if norm.centres and not cap else None
    W_U = W_U if layer_factor == 1 else W_U * layer_factor
    return OutputProjection(W_out, W_U, final, _formula(hook_point), left_out, norm.centres)


def find_norm_gain(norm: Any, x: Tensor) -> NormGain | None:
    """Find the gain and bias that reproduce a norm's output on `x` [n, d_model]; None if no known kind does.

    Architectures differ in whether the weight is the gain or the gain minus 1 (as in Gemma), and in whether the norm
    subtracts the mean. The class of the norm does not tell, so each combination is tried against the norm's own output.
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
    """Whether two tensors have the same shape and differ by no more than rounding."""
    if found.shape != expected.shape:
        return False
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) <= TOLERANCE * max(largest, 1e-6)


def _soft_cap(cfg: Any) -> float:
    """Soft cap of the logits, `cap * tanh(logits / cap)`; 0 if there is none."""
    cap = getattr(cfg, "output_logits_soft_cap", None)
    return float(cap) if cap is not None and cap > 0 else 0.0


def _logit_factor(bridge: Any, W_raw: Tensor, b_raw: Tensor, cap: float, probe: Probe) -> float:
    """Measure the factor that the model multiplies its logits with (as Cohere and Granite do); 1 in most models."""
    normal = bridge.ln_final.original_component(probe.streams[FINAL_RESIDUAL]).float()
    computed, logits = normal @ W_raw + b_raw, probe.logits
    if cap:
        # Undo the soft cap; logits at the cap itself would become infinite
        logits = cap * torch.atanh((logits / cap).clamp(-1 + 1e-6, 1 - 1e-6))
    factor = _fit_factor(computed, logits)
    if factor is None:
        raise SourceError(
            f"{probe.name}: its logits are not the final norm times the unembedding, so logit effects cannot be "
            "computed: give another model"
        )
    return factor


def _fit_factor(source: Tensor, target: Tensor) -> float | None:
    """Number that turns `source` into `target` by multiplication, by least squares; None if there is none."""
    if source.shape != target.shape:
        return None
    a, b = source.double(), target.double()
    factor = float((a * b).sum() / a.pow(2).sum().clamp(min=1e-30))
    factor = 1.0 if abs(factor - 1) < EXACTLY_ONE else factor
    return factor if is_near(source * factor, target) else None


def _formula(hook_point: str) -> str:
    """Formula of logit effects, as the about page shows it."""
    if MLP_HOOK.fullmatch(hook_point):
        return "W_dec W_out W_U"
    return "W_dec W_O W_U" if HEADS_HOOK.fullmatch(hook_point) else "W_dec W_U"


def _stream_matrix(
    bridge: Any, hook_point: str, probe: Probe
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Compute the matrix from a hook point to the residual stream.

    returns  (W_out [d_hook, d_model] or None if the hook point is in the stream, nonlinear parts that are left out)
    raises   SourceError if that path is not linear, or the weights do not reproduce it
    """
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
            f"model.hook_point: the path from {hook_point} to the logits is not linear; give blocks.N.mlp.hook_post, "
            "blocks.N.attn.hook_z, or a hook point in the residual stream such as blocks.N.hook_resid_pre"
        )
    layer, part = int(match[1]), "attn" if "attn" in hook_point else "mlp"
    added = _added_to_stream(layer, part, probe, hook_point)
    if WRITTEN_HOOK.fullmatch(hook_point):
        factor = _fit_factor(probe.streams[hook_point], added)
        if factor is None:
            raise SourceError(
                f"{probe.name}: the activations at {hook_point} are not what the layer adds to the residual stream; "
                f"set model.hook_point to blocks.{layer}.hook_resid_post instead"
            )
        unit = torch.eye(added.shape[1], device=added.device)
        return (None if factor == 1 else factor * unit), ()
    return _part_matrix(bridge, layer, part, hook_point, probe, added)


def _require_replaceable(layer: int, probe: Probe, hook_point: str) -> None:
    """Raise unless attention output is all that is added to the stream before the MLP.

    Only then can the stream there be set by setting the attention output, as `HookedModel.losses` does.

    raises  SourceError
    """
    attention = probe.at(layer, "hook_attn_out")
    added = _added_to_stream(layer, "attn", probe, hook_point)
    if attention is None or not is_near(attention, added):
        raise SourceError(
            f"{probe.name}: the residual stream before {hook_point} gains more than the attention output, so it cannot "
            f"be replaced there; set model.hook_point to blocks.{layer}.hook_resid_post instead"
        )


def _added_to_stream(layer: int, part: str, probe: Probe, hook_point: str) -> Tensor:
    """Measure what a part of a layer adds to the residual stream, [n_tokens, d_model].

    part    attn or mlp
    raises  SourceError if the model's hook points do not determine it
    """
    pre, mid, post = (probe.at(layer, f"hook_resid_{name}") for name in ("pre", "mid", "post"))
    before, after = (pre, mid) if part == "attn" else (mid, post)
    if before is not None and after is not None:
        return after - before
    # Without a point between them, attention and MLP run in parallel, as in GPT-NeoX: only their sum can be compared
    # with the stream, and a factor on both (if there is one) is measured from it
    attention, mlp = (probe.at(layer, f"hook_{name}_out") for name in ("attn", "mlp"))
    if pre is not None and post is not None and attention is not None and mlp is not None:
        factor = _fit_factor(attention + mlp, post - pre)
        if factor is not None:
            return factor * (attention if part == "attn" else mlp)
    raise SourceError(
        f"{probe.name}: what {hook_point} adds to the residual stream cannot be determined; "
        f"set model.hook_point to blocks.{layer}.hook_resid_post instead"
    )


def _part_matrix(
    bridge: Any, layer: int, part: str, hook_point: str, probe: Probe, added: Tensor
) -> tuple[Tensor, tuple[str, ...]]:
    """Compute the matrix after a hook point inside an MLP or attention, and check it against the stream.

    added    [n_tokens, d_model] that the part adds to the residual stream
    returns  (matrix [d_hook, d_model], nonlinear parts that are left out)
    raises   SourceError if there is no such matrix, or it does not give `added`
    """
    block = bridge.blocks[layer]
    module = getattr(getattr(block, part), "out" if part == "mlp" else "o", None)
    linear = getattr(module, "original_component", None)
    weight = getattr(linear, "weight", None)
    x = probe.streams[hook_point]
    if weight is None or weight.ndim != 2 or x.shape[1] not in weight.shape:
        raise SourceError(
            f"{probe.name} has no single matrix after {hook_point} (a mixture of experts has many): "
            f"set model.hook_point to one in the residual stream, such as blocks.{layer}.hook_resid_post"
        )
    # The class tells the axes, never the shape, since the matrix may be square: torch.nn.Linear stores [out, in],
    # GPT-2's Conv1D [in, out]
    is_in_out = type(linear).__name__ == "Conv1D"
    matrix = weight.detach().float() if is_in_out else weight.detach().float().T
    bias = getattr(linear, "bias", None)
    written = x @ matrix if bias is None else x @ matrix + bias.detach().float()
    # Gemma 2 and 3 normalise the output before it is added: the norm's gain is folded into the matrix, and its scale,
    # which is not linear, is left out
    norm_after = getattr(block, "ln1_post" if part == "attn" else "ln2_post", None)
    left_out: tuple[str, ...] = ()
    if norm_after is not None:
        norm = find_norm_gain(norm_after.original_component, written)
        written = norm_after.original_component(written)
        if norm is not None:
            matrix = matrix - matrix.mean(-1, keepdim=True) if norm.centres else matrix
            matrix = matrix * norm.gain
            left_out = (f"the scale of the norm behind the {NAMES[part]}",)
    # Some models (Granite) multiply the output with a factor before they add it
    factor = _fit_factor(written, added)
    output = probe.at(layer, f"hook_{part}_out")
    # Gemma 4 adds a third part after the MLP, so the stream gains more than the output. Its factors are known, so the
    # matrix is compared with the output alone
    if factor is None and output is not None and hasattr(block.original_component, "layer_scalar"):
        factor = 1.0 if is_near(written, output) else None
    if factor is None or (norm_after is not None and not left_out):
        raise SourceError(
            f"{probe.name}: {hook_point} times the matrix after it is not what the layer adds to the residual stream, "
            "so its logit effects cannot be computed; set model.hook_point to one in that stream, such as "
            f"blocks.{layer}.hook_resid_post"
        )
    return (matrix if factor == 1 else matrix * factor), left_out


def _layer_factor(bridge: Any, hook_point: str) -> float:
    """Factor that the later layers multiply the stream with, as in Gemma 4; 1 in most models."""
    _, layer, point = hook_point.split(".", 2)
    # A layer's factor applies to its output, so only hook_resid_post is already multiplied with it
    first = int(layer) + (point == "hook_resid_post")
    factor = 1.0
    for block in list(bridge.blocks)[first:]:
        factor *= float(getattr(block.original_component, "layer_scalar", 1.0))
    return factor
