"""The model's losses with other activations at the output point, without running again what stands before it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sitegen.maths.ablation import FinalLayer, next_losses
from sitegen.maths.logits import written_by
from sitegen.sources.later_layers import LaterLayers
from sitegen.sources.model import HookedModel, layer_and_point
from sitegen.sources.model_files import run_with_points

# Losses by the later layers alone may differ from those of a whole pass by so much, in nats
TOLERANCE = 1e-5


class ReplacedLosses(ABC):
    """The losses of some rows, with the model's own activations at the output point and with others in their place."""

    @abstractmethod
    def start(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the model on some rows, to which `losses` then refers.

        tokens   [n_rows, seq_len] int64
        returns  activations at the hook point [n_rows, seq_len, d_hook] and at the output point
                 [n_rows, seq_len, d_output], float32, and the model's own losses [n_rows, seq_len - 1] in nats
        """

    @abstractmethod
    def losses(self, activations: Tensor, *constants: Tensor) -> list[Tensor]:
        """Compute losses [n_rows, seq_len - 1] in nats with other activations at the output point.

        activations  [n_rows, seq_len, d_output]
        constants    [d_output] each
        returns      the losses with these activations, then with each constant at every position
        """

    @property
    @abstractmethod
    def n_weights(self) -> int:
        """Count the weights that each token is multiplied with in `start` and then with three replacements."""


def replaced_losses(model: HookedModel, final: FinalLayer | None, tokens: Tensor) -> ReplacedLosses:
    """Choose the shortest way that is exact.

    final   final norm and unembedding, if nothing else follows the output point; otherwise None
    tokens  [n_rows, seq_len] int64: a few rows, on which the way through the later layers is tried
    """
    return _LayerLosses(model, tokens) if final is None else _StreamLosses(model, final)


class _StreamLosses(ReplacedLosses):
    """Where only the final norm follows: a replacement changes the last residual stream, and no layer runs again."""

    def __init__(self, model: HookedModel, final: FinalLayer) -> None:
        self._model, self._final = model, final

    def start(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, self._target, self._residual = self._model.input_target_and_residual(tokens)
        self._next_id = tokens[:, 1:].flatten()
        return x, self._target, self.losses(self._target)[0]

    def losses(self, activations: Tensor, *constants: Tensor) -> list[Tensor]:
        nothing = torch.zeros_like(activations[0, 0])
        found = self._with(activations, nothing[None])
        # Constants have the rest of the stream in common, which is multiplied with the unembedding once for all
        if constants:
            found += self._with(torch.zeros_like(activations), torch.stack(constants))
        return found

    def _with(self, activations: Tensor, added: Tensor) -> list[Tensor]:
        """Compute the losses with each of `added` [n_added, d_output] added to the activations."""
        W_out, shape = self._model.W_out, self._residual.shape
        changed = self._residual + written_by(activations - self._target, W_out)
        streams = changed[:, :-1].flatten(0, 1)
        found = self._final.losses(streams, self._next_id, written_by(added, W_out))
        return list(found.view(len(added), shape[0], shape[1] - 1))

    @property
    def n_weights(self) -> int:
        # The model's own stream, the reconstruction's, and one for both constants
        return self._model.n_weights(0) + 3 * self._final.W_U.numel()


class _LayerLosses(ReplacedLosses):
    """Elsewhere: only the layers from the output point's on run again, or the whole model where that is not exact."""

    def __init__(self, model: HookedModel, tokens: Tensor) -> None:
        self._model = model
        self._n_before = layer_and_point(model.output_point)[0]
        self._layers = LaterLayers(model.bridge, self._n_before)
        # A model's later layers could need more of its first ones than what these return
        _, target, _ = self.start(tokens)
        zero = torch.zeros_like(target)
        difference = (self.losses(zero)[0] - model.losses(tokens, zero)).abs().max()
        if not float(difference) <= TOLERANCE:
            self._n_before = 0
            self._layers = LaterLayers(model.bridge, 0)

    @torch.no_grad()
    def start(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self._tokens = tokens
        points = (self._model.hook_point, self._model.output_point)
        with self._layers.keeping():
            found, logits = run_with_points(self._model.bridge, tokens, points)
        x, target = (found[point] for point in points)
        return x, target, next_losses(logits, tokens)

    @torch.no_grad()
    def losses(self, activations: Tensor, *constants: Tensor) -> list[Tensor]:
        replacements = [activations, *(c.expand_as(activations) for c in constants)]
        found = []
        for replacement in replacements:
            hooks = self._model.replacement_hooks(replacement)
            logits = self._layers.run_later(self._tokens, hooks)
            found.append(next_losses(logits, self._tokens))
        return found

    @property
    def n_weights(self) -> int:
        model = self._model
        again = model.n_weights(self._n_before) + model.W_U.numel()
        return model.n_weights(0) + model.W_U.numel() + 3 * again
