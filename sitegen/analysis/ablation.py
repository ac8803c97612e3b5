"""Ablations: how the model's predictions change without a feature, at the active tokens of its shown contexts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sitegen.config import Config
from sitegen.maths.ablation import Ablation, FinalLayer, Remover
from sitegen.maths.logits import written_by
from sitegen.sources.inputs import Inputs

# If the logit effects of all features fit into this many bytes, they are computed once and kept
EFFECTS_BYTES = 1 << 29
# Otherwise, the logit effects of this many features are computed at a time
FEATURES_AT_ONCE = 256
# Decimal places of the changes in the token lists, in nats. The lists are the larger part of all data.
CHANGE_DIGITS = 3
# Tokens of several batches are collected up to this many bytes of logits
LOGITS_BYTES = 1 << 26


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
    """Activations that are shown; index i of `feature` to `column` belongs to the same activation.

    residual         [n_tokens, d_model] before the final norm
    next_id          [n_tokens] int64: the token that follows each; -1 at a row's end
    feature, token   [n] int64; `token` is a row of `residual`
    activation       [n] float32
    context, column  [n] int64: where each activation is shown; several contexts may show the same one
    """

    residual: Tensor
    next_id: Tensor
    feature: np.ndarray
    token: np.ndarray
    activation: np.ndarray
    context: np.ndarray
    column: np.ndarray

    @staticmethod
    def joined(parts: list[ShownActivations]) -> ShownActivations:
        """Join the activations of several batches; their tokens are numbered one batch after the other."""
        starts = np.cumsum([0, *(len(part.residual) for part in parts)])
        token = [part.token + start for part, start in zip(parts, starts[:-1], strict=True)]
        return ShownActivations(
            residual=torch.cat([part.residual for part in parts]),
            next_id=torch.cat([part.next_id for part in parts]),
            feature=np.concatenate([part.feature for part in parts]),
            token=np.concatenate(token),
            activation=np.concatenate([part.activation for part in parts]),
            context=np.concatenate([part.context for part in parts]),
            column=np.concatenate([part.column for part in parts]),
        )


class Ablator:
    """Removes features at the tokens on which they are active, batch by batch."""

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
        self._k = min(k, len(final.b_U))
        chosen = torch.tensor(inputs.feature_ids, device=inputs.device)
        self._written = written_by(inputs.autoencoder.W_dec[chosen], inputs.model.W_out)
        fits = len(chosen) * len(final.b_U) * 4 <= EFFECTS_BYTES
        self._at_once = len(chosen) if fits else FEATURES_AT_ONCE
        self._n_tokens = max(n_tokens, LOGITS_BYTES // (4 * len(final.b_U)))
        self._remover = Remover(final, self._at_once, self._n_tokens)
        if len(chosen) <= self._at_once:
            self._remover.set_features(self._written)
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
        """Add the activations of a batch of rows.

        residual         [n_rows, seq_len, d_model]
        tokens           [n_rows, seq_len] int64
        active           [n] feature, [n] index of the token in the batch, [n] activation
        context, column  [n] where each activation is shown; several contexts may show the same one
        """
        feature, token, activation = active
        # Only the tokens on which a feature is active are kept
        distinct, token = np.unique(token, return_inverse=True)
        chosen = torch.from_numpy(distinct).to(residual.device)
        shown = ShownActivations(
            residual.flatten(0, 1)[chosen],
            _next_ids(tokens)[chosen],
            *(feature, token, activation, context, column),
        )
        n_waiting = sum(len(waiting.residual) for waiting in self._waiting)
        if n_waiting + len(distinct) > self._n_tokens:
            self._remove_waiting()
        self._waiting.append(shown)

    def _remove_waiting(self) -> None:
        """Remove features at the tokens of all waiting batches together: fewer and longer passes are faster."""
        if not self._waiting:
            return
        shown = ShownActivations.joined(self._waiting)
        self._waiting = []
        self._remover.set_tokens(shown.residual, shown.next_id)
        # The same pair of feature and token may be shown in several contexts: it is computed once. Sorted by feature,
        # then token, the pairs are in the order that `_ablate` expects.
        _, first_shown, pair_of = np.unique(
            shown.feature * len(shown.residual) + shown.token,
            return_index=True,
            return_inverse=True,
        )
        found = self._ablate(
            *(array[first_shown] for array in (shown.feature, shown.token, shown.activation))
        )
        self._columns.append((shown.context, shown.column))
        self._parts.append([array[pair_of] for array in _arrays(found)])

    def _ablate(self, feature: np.ndarray, token: np.ndarray, activation: np.ndarray) -> Ablation:
        """Compute the ablations of pairs of feature and token, which are sorted by feature."""
        device = self._written.device
        # Where not all features fit at once, only those that occur are loaded, group by group; `index` is the
        # feature's index in `used`
        used, index = np.unique(feature, return_inverse=True)
        if len(self._written) <= self._at_once:
            used, index = np.arange(len(self._written)), feature
        parts = []
        for first in range(0, len(used), self._at_once):
            group = used[first : first + self._at_once]
            low, high = np.searchsorted(index, [first, first + len(group)])
            if len(self._written) > self._at_once:
                self._remover.set_features(self._written[torch.from_numpy(group).to(device)])
            arrays = (index[low:high] - first, token[low:high], activation[low:high])
            pairs = [torch.from_numpy(array).to(device) for array in arrays]
            parts.append(self._remover.remove(pairs[0], pairs[1], pairs[2], self._k))
        return Ablation.joined(parts)

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
