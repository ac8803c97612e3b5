"""The language model, read at one hook point: rows of ids to activations, and the path from there to the logits.

Activations come from the weights as the model's maker published them, unless processed ones are asked for; logit
effects always from the folded and centred weights.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sitegen.config import PROCESSING
from sitegen.errors import SourceError
from sitegen.maths.ablation import FinalLayer
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

LAST_HOOK = re.compile(r"blocks\.\d+\.(mlp\.hook_post|hook_mlp_out|hook_resid_post)")
PROBED = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")


class _ReachedHook(BaseException):
    """Ends the forward pass at the hook: no attention of later layers, no unembedding."""


@dataclass(frozen=True)
class HookedModel:
    """A TransformerLens model, read at one hook point."""

    bridge: Any  # transformer_lens.TransformerBridge
    hook_point: str
    d_hook: int  # width of the activations at the hook point
    output: OutputProjection
    processing: tuple[str, ...]  # of the weights that activations come from; none: as they are
    provenance: Provenance

    @property
    def W_out(self) -> Tensor | None:
        """[d_hook, d_model] from the hook point to the residual stream; None where it is in that stream."""
        return self.output.W_out

    @property
    def W_U(self) -> Tensor:
        """[d_model, d_vocab] from the residual stream to the logits, folded and centred."""
        return self.output.W_U

    @property
    def n_ctx(self) -> int:
        """Longest row the model takes, in tokens."""
        return int(self.bridge.cfg.n_ctx)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.bridge.cfg.n_layers)

    @property
    def d_vocab(self) -> int:
        """Number of token ids the unembedding knows."""
        return int(self.W_U.shape[1])

    @property
    def layer_and_point(self) -> tuple[int, str]:
        """(layer, name within it) of the hook point."""
        return layer_and_point(self.hook_point)

    @property
    def reads_neurons(self) -> bool:
        """Whether the hook point's activations are an MLP's neurons."""
        return MLP_HOOK.fullmatch(self.hook_point) is not None

    @torch.no_grad()
    def hook_activations(self, tokens: Tensor) -> Tensor:
        """[n_rows, seq_len, d_hook] float32 at the hook point for `tokens` [n_rows, seq_len] int64.

        The pass ends there, which gives the same bits as the whole one for a fraction of its cost.
        """
        return self.read(tokens, self.hook_point)[0]

    @torch.no_grad()
    def activations_and_residual(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """([n_rows, seq_len, d_hook] at the hook point, [n_rows, seq_len, d_model] before the final norm)."""
        activations, residual = self.read(tokens, self.hook_point, FINAL_RESIDUAL)
        return activations, residual

    @torch.no_grad()
    def losses(self, tokens: Tensor, activations: Tensor | None = None) -> Tensor:
        """[n_rows, seq_len - 1] cross-entropy of each next token, in nats.

        activations  [n_rows, seq_len, d_hook] to put in the place of those at the hook point
        """
        hooks = [] if activations is None else self._replacing(activations)
        logits = self.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        follows = logits.gather(2, tokens.roll(-1, 1)[:, :, None])[..., 0]
        losses: Tensor = (torch.logsumexp(logits, 2) - follows)[:, :-1]
        return losses

    def _replacing(self, activations: Tensor) -> list[tuple[str, Any]]:
        """Hooks that put activations [n_rows, seq_len, d_hook] in the place of those at the hook point."""
        layer, point = self.layer_and_point
        if point != "hook_resid_mid":
            return [(self.hook_point, lambda found, hook: activations.view_as(found))]
        # In TransformerLens that point is an input of the MLP alone: what attention writes takes the stream there
        before: list[Tensor] = []
        return [
            (f"blocks.{layer}.hook_resid_pre", lambda found, hook: before.append(found)),
            (
                f"blocks.{layer}.hook_attn_out",
                lambda found, hook: activations.view_as(found) - before[0],
            ),
        ]

    def final_layer(self, tokens: Tensor) -> FinalLayer | None:
        """What comes after the hook point, where that is the final norm alone; None where more does.

        That it is this norm and nothing else is seen by holding its log-probabilities against the model's, on `tokens`
        [n_rows, seq_len].
        """
        layer, is_exact = self.output.final, not self.output.left_out
        is_last = self.layer_and_point[0] == self.n_layers - 1 and LAST_HOOK.fullmatch(
            self.hook_point
        )
        if layer is None or not is_last or not is_exact:
            return None
        with torch.no_grad():
            expected = torch.log_softmax(self.bridge.run_with_hooks(tokens, fwd_hooks=[]), -1)
            _, residual = self.activations_and_residual(tokens)
            difference = (torch.log_softmax(layer.logits(residual), -1) - expected).abs().max()
        return layer if float(difference) <= TOLERANCE else None

    @torch.no_grad()
    def seen(self, tokens: Tensor, points: tuple[str, ...]) -> dict[str, Tensor]:
        """[n_rows, seq_len, width] float32 at each of some hook points, those left out that nothing passes."""
        return run_with_points(self.bridge, tokens, points)[0]

    @torch.no_grad()
    def read(self, tokens: Tensor, *points: str) -> list[Tensor]:
        """[n_rows, seq_len, width] float32 at each of some hook points, which stand in the model's order.

        The pass ends at the last of them.
        """
        found: list[Tensor] = []

        def keep(activations: Tensor, hook: Any) -> None:
            found.append(activations.flatten(2))  # heads, where there are any, side by side
            if len(found) == len(points):
                raise _ReachedHook

        with suppress(_ReachedHook):
            self.bridge.run_with_hooks(tokens, fwd_hooks=[(point, keep) for point in points])
        # One NaN or infinity shows in the sum, which takes a fraction of looking at each
        if not all(torch.isfinite(activations.sum()) for activations in found):
            raise SourceError(
                f"{self.provenance.name}: activations at {self.hook_point} are NaN or infinite; the weights are damaged"
            )
        return found


def layer_and_point(hook_point: str) -> tuple[int, str]:
    """(layer, name within it) of a hook point such as `blocks.3.mlp.hook_post`."""
    _, layer, name = hook_point.split(".", 2)
    return int(layer), name


def load_model(
    name: str,
    hook_point: str,
    tokenizer: Any,
    device: torch.device,
    processing: tuple[str, ...] = (),
) -> HookedModel:
    """The model of a folder, of a legacy TransformerLens repository, or of any other name TransformerLens knows.

    tokenizer   the `transformers` tokenizer; handed on so that TransformerLens loads none of its own
    processing  of the weights that activations come from, by TransformerLens' names; none: as their maker left them
    raises      SourceError if it cannot be read, has no such hook point, the path from there to the logits is not
                linear, or the processing changes what the model predicts
    """
    model = hooked_model(boot_model(name, tokenizer, device), hook_point)
    return processed(model, processing) if processing else model


@torch.no_grad()
def hooked_model(booted: BootedModel, hook_point: str) -> HookedModel:
    """A model whose weights are not processed, read at a hook point.

    raises  SourceError as `load_model` does
    """
    bridge, name = booted.bridge, booted.provenance.name
    if hook_point not in bridge.hook_dict:
        example = f"blocks.{bridge.cfg.n_layers - 1}.hook_resid_post"
        raise SourceError(f"{name} has no hook point {hook_point}; {example} is one, for example")
    probe = _probe(bridge, hook_point, name)
    output = output_projection(bridge, hook_point, probe)
    d_hook = probe.streams[hook_point].shape[1]
    return HookedModel(bridge, hook_point, int(d_hook), output, (), booted.provenance)


def _probe(bridge: Any, hook_point: str, name: str) -> Probe:
    """What a model computes on a few tokens at and around a hook point.

    raises  SourceError if nothing passes the hook point
    """
    tokens = _probe_tokens(bridge)
    parts = hook_point.split(".")
    near = [f"blocks.{parts[1]}.{point}" for point in PROBED] if parts[0] == "blocks" else []
    seen, logits = run_with_points(bridge, tokens, (hook_point, FINAL_RESIDUAL, *near))
    found = {point: activations.flatten(0, 1) for point, activations in seen.items()}
    if hook_point not in found or FINAL_RESIDUAL not in found:
        missing = hook_point if hook_point not in found else FINAL_RESIDUAL
        raise SourceError(
            f"{name}: nothing passes {missing} when the model runs, so it cannot be read"
        )
    return Probe(name, found, logits.flatten(0, 1).float())


def _probe_tokens(bridge: Any) -> Tensor:
    ids = probe_ids(int(bridge.cfg.d_vocab), int(bridge.cfg.n_ctx))
    return ids.to(bridge.unembed.original_component.weight.device)


@torch.no_grad()
def processed(model: HookedModel, processing: tuple[str, ...]) -> HookedModel:
    """The same model, its weights processed as TransformerLens does; its path to the logits stays the same.

    The bridge that the model shares is changed.

    raises  SourceError if that changes what the model predicts, as folding value biases does where attention does not
            add up to 1
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
            f"({reason}): leave model.processing out"
        ) from None
    bridge.eval().requires_grad_(False)
    after = torch.log_softmax(bridge.run_with_hooks(tokens, fwd_hooks=[]), -1)
    difference = float((after - before).abs().max())
    if not difference <= TOLERANCE * max(float(before.abs().max()), 1.0):
        raise SourceError(
            f"{model.provenance.name}: processing its weights ({', '.join(processing)}) changes its predictions by "
            f"{difference:.2g} nats, so this architecture does not allow it: leave that out of model.processing"
        )
    return HookedModel(
        bridge, model.hook_point, model.d_hook, model.output, processing, model.provenance
    )
