"""The language model, read at one hook point: from token ids to activations, and from there to the logits.

An autoencoder reconstructs the activations that it reads. A transcoder reconstructs those at another hook point, the
output point; everything that follows from a feature's decoder row starts there.

Activations come from the published weights, unless processed weights are requested; logit effects always come from the
folded and centred weights.
"""

from __future__ import annotations

import dataclasses
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sitegen.config import PROCESSING
from sitegen.errors import SourceError
from sitegen.maths.ablation import FinalLayer, next_losses
from sitegen.maths.deferred import Check, DeferredChecks
from sitegen.sources.model_files import BootedModel, boot_model, probe_ids, run_with_points
from sitegen.sources.output_projection import (
    FINAL_RESIDUAL,
    MLP_HOOK,
    TOLERANCE,
    OutputProjection,
    Probe,
    output_projection,
)
from sitegen.sources.provenance import Provenance

# Output points from which the rest of their layer is linear
LAST_HOOK = re.compile(r"blocks\.\d+\.(mlp\.hook_post|hook_mlp_out|hook_resid_post)")
# Read around the hook point, to find out what its layer adds to the residual stream
PROBED_POINTS = (
    "hook_resid_pre",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_out",
    "hook_resid_post",
)


class _ReachedHook(BaseException):
    """Ends the forward pass at a hook, so that later layers and the unembedding are not computed."""


@dataclass(frozen=True)
class HookedModel:
    """A TransformerLens model, read at one hook point.

    bridge        transformer_lens.TransformerBridge
    d_hook        width of the activations at the hook point
    output_point  hook point whose activations are reconstructed: hook_point, except for a transcoder
    d_output      width of the activations at the output point
    output        output projection from the output point
    processing    steps applied to the weights that activations come from; empty: the published weights
    """

    bridge: Any
    hook_point: str
    d_hook: int
    output_point: str
    d_output: int
    output: OutputProjection
    processing: tuple[str, ...]
    provenance: Provenance

    @property
    def W_out(self) -> Tensor | None:
        """Matrix [d_output, d_model] from the output point to the residual stream; None if it is in that stream."""
        return self.output.W_out

    @property
    def W_U(self) -> Tensor:
        """Matrix [d_model, d_vocab] from the residual stream to the logits, folded and centred."""
        return self.output.W_U

    @property
    def n_ctx(self) -> int:
        """Longest row that the model takes, in tokens."""
        return int(self.bridge.cfg.n_ctx)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.bridge.cfg.n_layers)

    @property
    def d_vocab(self) -> int:
        """Number of token ids that the unembedding covers."""
        return int(self.W_U.shape[1])

    @property
    def layer_and_point(self) -> tuple[int, str]:
        """Layer of the hook point, and its name within the layer."""
        return layer_and_point(self.hook_point)

    @property
    def is_transcoded(self) -> bool:
        """Whether a transcoder reconstructs activations at another point than the one that is read."""
        return self.output_point != self.hook_point

    @property
    def reads_neurons(self) -> bool:
        """Whether the activations that are read and reconstructed are an MLP's neurons."""
        return not self.is_transcoded and MLP_HOOK.fullmatch(self.hook_point) is not None

    @torch.no_grad()
    def hook_activations(self, tokens: Tensor, checks: DeferredChecks | None = None) -> Tensor:
        """Activations [n_rows, seq_len, d_hook] float32 at the hook point for `tokens` [n_rows, seq_len] int64.

        The forward pass ends there, which gives the same bits as a whole pass for a fraction of its cost.

        checks  receives the check that they are finite, which is otherwise made at once
        """
        return self.read(tokens, self.hook_point, checks=checks)[0]

    @torch.no_grad()
    def input_and_target(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Activations at the hook point and at the output point, in one pass; the same tensor twice if these are one.

        tokens   [n_rows, seq_len] int64
        returns  ([n_rows, seq_len, d_hook], [n_rows, seq_len, d_output]), float32
        """
        found = self.read(tokens, *self._points)
        return found[0], found[-1]

    @torch.no_grad()
    def input_target_and_residual(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `input_and_target`, and the residual stream before the final norm, [n_rows, seq_len, d_model] float32."""
        found = self.read(tokens, *self._points, FINAL_RESIDUAL)
        return found[0], found[-2], found[-1]

    @property
    def _points(self) -> tuple[str, ...]:
        """The hook point, and the output point if it is another."""
        return (self.hook_point, self.output_point) if self.is_transcoded else (self.hook_point,)

    @torch.no_grad()
    def losses(self, tokens: Tensor, activations: Tensor | None = None) -> Tensor:
        """Cross-entropy [n_rows, seq_len - 1] of each next token, in nats.

        tokens       [n_rows, seq_len] int64
        activations  [n_rows, seq_len, d_output] that replace those at the output point; None: the model's own
        """
        hooks = [] if activations is None else self.replacement_hooks(activations)
        return next_losses(self.bridge.run_with_hooks(tokens, fwd_hooks=hooks), tokens)

    def n_weights(self, first_layer: int) -> int:
        """Count the weights in the matrices of the layers from one on, without the unembedding."""
        layers = list(self.bridge.blocks)[first_layer:]
        return sum(p.numel() for layer in layers for p in layer.parameters() if p.ndim > 1)

    def replacement_hooks(self, activations: Tensor) -> list[tuple[str, Any]]:
        """Hooks that replace the activations at the output point with `activations` [n_rows, seq_len, d_output]."""
        layer, point = layer_and_point(self.output_point)
        if point != "hook_resid_mid":
            return [(self.output_point, lambda found, hook: activations.view_as(found))]
        # TransformerLens' hook_resid_mid is only the MLP's input, and the residual stream bypasses it. To set the
        # stream itself, the attention output is set to the difference between the new stream and the stream before it
        before: list[Tensor] = []
        return [
            (f"blocks.{layer}.hook_resid_pre", lambda found, hook: before.append(found)),
            (
                f"blocks.{layer}.hook_attn_out",
                lambda found, hook: activations.view_as(found) - before[0],
            ),
        ]

    def final_layer(self, tokens: Tensor) -> FinalLayer | None:
        """Final norm and unembedding, if nothing else follows the output point; otherwise None.

        tokens  [n_rows, seq_len] on which their log-probabilities have to equal the model's
        """
        layer, is_exact = self.output.final, not self.output.left_out
        layer_number = layer_and_point(self.output_point)[0]
        is_last = layer_number == self.n_layers - 1 and LAST_HOOK.fullmatch(self.output_point)
        if layer is None or not is_last or not is_exact:
            return None
        # The model may still have a step that is not known here, so the result is compared with the model's
        with torch.no_grad():
            expected = torch.log_softmax(self.bridge.run_with_hooks(tokens, fwd_hooks=[]), -1)
            residual = self.read(tokens, FINAL_RESIDUAL)[0]
            difference = (torch.log_softmax(layer.logits(residual), -1) - expected).abs().max()
        return layer if float(difference) <= TOLERANCE else None

    @torch.no_grad()
    def activations_at(self, tokens: Tensor, points: tuple[str, ...]) -> dict[str, Tensor]:
        """Activations [n_rows, seq_len, width] float32 at hook points, by name.

        The forward pass is a whole one, so the points may come in any order. Points that the model does not compute
        are left out.
        """
        return run_with_points(self.bridge, tokens, points)[0]

    @torch.no_grad()
    def read(
        self, tokens: Tensor, *points: str, checks: DeferredChecks | None = None
    ) -> list[Tensor]:
        """Activations [n_rows, seq_len, width] float32 at hook points, in the order in which they are named.

        The forward pass ends when all have been reached.

        checks  receives the check that all activations are finite, which is otherwise made at once
        raises  SourceError if an activation is NaN or infinite
        """
        found: dict[str, Tensor] = {}

        def keep_as(point: str) -> Any:
            def keep(activations: Tensor, hook: Any) -> None:
                # Heads, if there are any, are concatenated: [n_rows, seq_len, n_heads * d_head]
                found[point] = activations.flatten(2)
                if len(found) == len(points):
                    raise _ReachedHook

            return keep

        with suppress(_ReachedHook):
            hooks = [(point, keep_as(point)) for point in points]
            self.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        made = DeferredChecks() if checks is None else checks
        for activations in found.values():
            # The sum is NaN or infinite if any activation is, and costs a fraction of a test of each
            made.add(activations.sum(), self._all_finite(points))
        if checks is None:
            made.settle()
        return [found[point] for point in points]

    def _all_finite(self, points: tuple[str, ...]) -> Check:
        """Make the check of a sum of activations at some hook points."""
        return Check(
            math.isfinite,
            lambda total: SourceError(
                f"{self.provenance.name}: activations at {' or '.join(points)} are NaN or infinite, so its weights are "
                "damaged: download or save the model again"
            ),
        )


def layer_and_point(hook_point: str) -> tuple[int, str]:
    """Layer of a hook point such as `blocks.3.mlp.hook_post`, and its name within the layer."""
    _, layer, name = hook_point.split(".", 2)
    return int(layer), name


def load_model(
    name: str,
    hook_point: str,
    tokenizer: Any,
    device: torch.device,
    processing: tuple[str, ...] = (),
    output_point: str = "",
) -> HookedModel:
    """Load the model of a folder, a legacy TransformerLens repository, or any other name that TransformerLens knows.

    tokenizer     the `transformers` tokenizer; passed on so that TransformerLens does not load another
    processing    steps to apply to the weights that activations come from, by TransformerLens' names; empty: none
    output_point  hook point that a transcoder reconstructs; empty: the hook point itself
    raises        SourceError if it cannot be read, lacks a hook point, the path from the output point to the logits is
                  not linear, or the processing changes the model's predictions
    """
    model = hook_model(boot_model(name, tokenizer, device), hook_point, output_point)
    return process_weights(model, processing) if processing else model


@torch.no_grad()
def hook_model(booted: BootedModel, hook_point: str, output_point: str = "") -> HookedModel:
    """Prepare a model with unprocessed weights to be read at a hook point.

    output_point  hook point that a transcoder reconstructs; empty: the hook point itself
    raises        SourceError if it lacks a hook point, or the path from the output point to the logits is not linear
    """
    bridge, name = booted.bridge, booted.provenance.name
    output_point = output_point or hook_point
    settings = {"hook_point": hook_point, "output_hook_point": output_point}
    for setting, point in settings.items():
        if point not in bridge.hook_dict:
            example = f"blocks.{bridge.cfg.n_layers - 1}.hook_resid_post"
            raise SourceError(
                f"{name} has no hook point {point}: set model.{setting} to one that it has, such as {example}"
            )
        if not point.startswith("blocks."):
            raise SourceError(
                f"model.{setting}: {point} is in no layer; give a hook point of a layer, such as "
                "blocks.0.hook_resid_pre"
            )
    probe = _probe(bridge, hook_point, output_point, name)
    output = output_projection(bridge, output_point, probe)
    d_hook, d_output = (int(probe.streams[point].shape[1]) for point in (hook_point, output_point))
    return HookedModel(
        bridge, hook_point, d_hook, output_point, d_output, output, (), booted.provenance
    )


def _probe(bridge: Any, hook_point: str, output_point: str, name: str) -> Probe:
    """Run a model on a few tokens and keep its activations at both points and around the output point.

    raises  SourceError if the model does not compute one of the points
    """
    tokens = _probe_tokens(bridge)
    parts = output_point.split(".")
    nearby = []
    if parts[0] == "blocks":
        nearby = [f"blocks.{parts[1]}.{point}" for point in PROBED_POINTS]
    needed = (hook_point, output_point, FINAL_RESIDUAL)
    by_row, logits = run_with_points(bridge, tokens, (*needed, *nearby))
    streams = {point: activations.flatten(0, 1) for point, activations in by_row.items()}
    missing = [point for point in needed if point not in streams]
    if missing:
        raise SourceError(
            f"{name}: the model declares {missing[0]} but does not compute it, so it cannot be read: set another "
            "model.hook_point"
        )
    return Probe(name, streams, logits.flatten(0, 1).float())


def _probe_tokens(bridge: Any) -> Tensor:
    ids = probe_ids(int(bridge.cfg.d_vocab), int(bridge.cfg.n_ctx))
    return ids.to(bridge.unembed.original_component.weight.device)


@torch.no_grad()
def process_weights(model: HookedModel, processing: tuple[str, ...]) -> HookedModel:
    """Process a model's weights as TransformerLens does; the output projection stays the same.

    The given model shares the bridge whose weights are changed.

    raises  SourceError if that changes the model's predictions, as folding value biases does where attention does not
            sum to 1
    """
    bridge = model.bridge
    tokens = _probe_tokens(bridge)
    before = torch.log_softmax(bridge.run_with_hooks(tokens, fwd_hooks=[]), -1)
    options = {name: name in processing for name in PROCESSING}
    try:
        bridge.enable_compatibility_mode(disable_warnings=True, **options)
    except (RuntimeError, NotImplementedError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SourceError(
            f"{model.provenance.name}: TransformerLens cannot process its weights by {', '.join(processing)} "
            f'({reason}): set model.processing = ["none"]'
        ) from None
    bridge.eval().requires_grad_(False)
    after = torch.log_softmax(bridge.run_with_hooks(tokens, fwd_hooks=[]), -1)
    difference = float((after - before).abs().max())
    if not difference <= TOLERANCE * max(float(before.abs().max()), 1.0):
        raise SourceError(
            f"{model.provenance.name}: processing its weights ({', '.join(processing)}) changes its predictions by "
            f"{difference:.2g} nats, so this architecture does not allow it: set model.processing without the step "
            'that does so, or to ["none"]'
        )
    return dataclasses.replace(model, processing=processing)
