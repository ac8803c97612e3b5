"""Ablations: how the model's predictions change without a feature, at the active tokens of its shown contexts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sitegen.config import Config
from sitegen.maths.ablation import Ablation, FinalLayer
from sitegen.maths.logits import written_by
from sitegen.maths.removal import Removals, Remover, Streams
from sitegen.progress import within
from sitegen.sources.inputs import Inputs

# Decimal places of the changes in the token lists, in nats. The lists are the larger part of all data.
CHANGE_DIGITS = 3
# Residual streams of several batches are collected up to this many bytes: the effects of features on the vocabulary are
# computed once for all of them
RESIDUAL_BYTES = 1 << 29


@dataclass(frozen=True)
class AblationTable:
    """Ablations, sorted by context and column; index i of every array belongs to the same ablation.

    context      [n] int64: index among the chosen contexts
    column       [n] int64: index of the token in its context
    loss_change  [n] float32, nats; NaN where no token follows
    promoted_id, suppressed_id          [n, k] int32
    promoted_change, suppressed_change  [n, k] float32, nats, rounded
    """

    context: np.ndarray
    column: np.ndarray
    loss_change: np.ndarray
    promoted_id: np.ndarray
    promoted_change: np.ndarray
    suppressed_id: np.ndarray
    suppressed_change: np.ndarray


@dataclass(frozen=True)
class ShownActivations:
    """Activations that are shown; index i of every array belongs to the same activation.

    feature, token   [n] int64; `token` counts the streams that are collected
    activation       [n] float32
    context, column  [n] int64: where each activation is shown; several contexts may show the same one
    """

    feature: np.ndarray
    token: np.ndarray
    activation: np.ndarray
    context: np.ndarray
    column: np.ndarray


class Ablator:
    """Removes features at the tokens on which they are active, for many batches together."""

    @classmethod
    def of(cls, inputs: Inputs, config: Config) -> Self | None:
        """Make an ablator for the inputs; None if ablations are not configured or not exact.

        They are exact where nothing but the final norm comes after the hook point.
        """
        if not config.analysis.n_ablated:
            return None
        final = inputs.final_layer
        if final is None:
            return None
        n_tokens = inputs.pass_rows * inputs.seq_len
        return cls(inputs, final, config.analysis.n_ablated, n_tokens)

    def __init__(self, inputs: Inputs, final: FinalLayer, k: int, n_tokens: int) -> None:
        """Take the inputs, their final layer, the length of the token lists, and the tokens of a batch at most."""
        d_model, d_vocab = final.W_U.shape
        self._final, self._k = final, min(k, d_vocab)
        chosen = torch.tensor(inputs.feature_ids, device=inputs.device)
        written = written_by(inputs.autoencoder.W_dec[chosen], inputs.model.W_out)
        self._remover = Remover(final, written)
        # Memory is taken only where streams are written
        n_streams = max(n_tokens, RESIDUAL_BYTES // (4 * d_model))
        self._centred = final.W_U.new_empty(n_streams, d_model)
        self._next_id = torch.empty(n_streams, dtype=torch.int64, device=inputs.device)
        self._n_streams = 0
        self._waiting: list[ShownActivations] = []
        self._columns: list[tuple[np.ndarray, np.ndarray]] = []
        self._parts: list[list[np.ndarray]] = []

    def add(
        self,
        residual: Tensor,
        tokens: Tensor,
        active: tuple[np.ndarray, np.ndarray, np.ndarray],
        context: np.ndarray,
        column: np.ndarray,
    ) -> None:
        """Add the activations of a batch of rows, which must not be added again.

        residual         [n_rows, seq_len, d_model]
        tokens           [n_rows, seq_len] int64
        active           [n] feature, [n] index of the token in the batch, [n] activation
        context, column  [n] where each activation is shown; several contexts may show the same one
        """
        feature, token, activation = active
        # Only the tokens on which a feature is active are kept
        distinct, token = np.unique(token, return_inverse=True)
        if self._n_streams + len(distinct) > len(self._centred):
            self._remove_waiting()
        chosen = torch.from_numpy(distinct).to(residual.device)
        new = slice(self._n_streams, self._n_streams + len(distinct))
        self._centred[new] = self._final.centre(residual.flatten(0, 1)[chosen])
        self._next_id[new] = _next_ids(tokens)[chosen]
        shown = (feature, token + self._n_streams, activation, context, column)
        self._waiting.append(ShownActivations(*shown))
        self._n_streams = new.stop

    def _remove_waiting(self) -> None:
        """Remove features at all tokens collected so far."""
        if not self._waiting:
            return
        names = ("feature", "token", "activation", "context", "column")
        feature, token, activation, context, column = (
            np.concatenate([getattr(shown, name) for shown in self._waiting]) for name in names
        )
        # The same pair of feature and token may be shown in several contexts: it is computed once. Sorted by token,
        # then feature, the pairs are in the order that `Remover` expects.
        n_features = int(feature.max()) + 1
        _, first, pair_of = np.unique(
            token * n_features + feature, return_index=True, return_inverse=True
        )
        device = self._centred.device
        pairs = (torch.from_numpy(a[first]).to(device) for a in (feature, token, activation))
        streams = Streams(self._centred[: self._n_streams], self._next_id[: self._n_streams])
        with within("contexts"):
            found = self._remover.remove(streams, Removals(*pairs), self._k)
        self._columns.append((context, column))
        self._parts.append([array[pair_of] for array in _arrays(found)])
        self._waiting, self._n_streams = [], 0

    def table(self) -> AblationTable:
        """Compute what is still waiting, and return the ablations of all activations that were added."""
        self._remove_waiting()
        if not self._columns:
            empty, lists = np.empty(0, np.int64), np.empty((0, self._k))
            return AblationTable(empty, empty, np.empty(0), lists, lists, lists, lists)
        context, column = (np.concatenate(part) for part in zip(*self._columns, strict=True))
        order = np.lexsort((column, context))
        arrays = (np.concatenate(part)[order] for part in zip(*self._parts, strict=True))
        return AblationTable(context[order], column[order], *arrays)


def _next_ids(tokens: Tensor) -> Tensor:
    """Get the token that follows each token, [n_tokens]; -1 at a row's end."""
    follows = torch.full_like(tokens, -1)
    follows[:, :-1] = tokens[:, 1:]
    return follows.flatten()


def _arrays(found: Ablation) -> list[np.ndarray]:
    """Get the arrays in the order of `AblationTable`: ids as int32, the changes in the lists rounded."""
    values = [
        found.loss_change,
        found.promoted_id.int(),
        found.promoted_change.round(decimals=CHANGE_DIGITS),
        found.suppressed_id.int(),
        found.suppressed_change.round(decimals=CHANGE_DIGITS),
    ]
    return [value.cpu().numpy() for value in values]
