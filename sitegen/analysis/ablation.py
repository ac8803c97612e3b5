"""What each feature does to the model's predictions where it fires in a shown context."""

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

EFFECTS_BYTES = 1 << 29  # up to which the logit effects of all features are kept
CHANGE_DIGITS = 3  # of a nat, in the lists: they are most of all data
FEATURES_AT_ONCE = 256  # whose effects are made at once
LOGITS_BYTES = 1 << 26  # up to which the logits of more than one batch's tokens are kept


@dataclass(frozen=True)
class AblationTable:
    """Ablations, sorted by context and column; the arrays run parallel.

    context      [n] int64: index among the chosen contexts
    column       [n] int64: token of the context
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
    """Firings that are shown; the arrays of the firings run parallel.

    residual         [n_tokens, d_model] before the final norm
    next_id          [n_tokens] int64: the token that follows each; -1 at a row's end
    feature, token   [n] int64: the token is a row of the residual stream
    activation       [n] float32
    context, column  [n] int64: where each is shown; the same one may be shown twice
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
        """Those of several batches, whose tokens follow each other."""
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
    """Takes features out where they fire, batch by batch."""

    @classmethod
    def of(cls, inputs: Inputs, config: Config) -> Self | None:
        """One for a subject, where the final norm alone comes after the hook point; None elsewhere."""
        if not config.analysis.n_ablated:
            return None
        final = inputs.final_layer
        if final is None:
            return None
        n_tokens = config.sweep.batch_rows * inputs.rows.tokens.shape[1]
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
        """Takes in a batch of rows.

        residual         [n_rows, seq_len, d_model]
        tokens           [n_rows, seq_len] int64
        active           [n] feature, [n] token of the batch, [n] activation
        context, column  [n] where each is shown; the same one may be shown twice
        """
        feature, token, activation = active
        seen, token = np.unique(token, return_inverse=True)
        there = torch.from_numpy(seen).to(residual.device)
        shown = ShownActivations(
            residual.flatten(0, 1)[there],
            _next_ids(tokens)[there],
            *(feature, token, activation, context, column),
        )
        if sum(len(waiting.residual) for waiting in self._waiting) + len(seen) > self._n_tokens:
            self._remove_waiting()
        self._waiting.append(shown)

    def _remove_waiting(self) -> None:
        """Removes features from the tokens of several batches at once: fewer and longer passes."""
        if not self._waiting:
            return
        shown = ShownActivations.joined(self._waiting)
        self._waiting = []
        self._remover.set_tokens(shown.residual, shown.next_id)
        _, once, again = np.unique(
            shown.feature * len(shown.residual) + shown.token,
            return_index=True,
            return_inverse=True,
        )
        found = self._removed(shown.feature[once], shown.token[once], shown.activation[once])
        self._columns.append((shown.context, shown.column))
        self._parts.append([array[again] for array in _arrays(found)])

    def _removed(self, feature: np.ndarray, token: np.ndarray, activation: np.ndarray) -> Ablation:
        """Ablations of pairs that are sorted by feature."""
        device = self._written.device
        used, of = np.unique(feature, return_inverse=True)
        if len(self._written) <= self._at_once:
            used, of = np.arange(len(self._written)), feature
        parts = []
        for first in range(0, len(used), self._at_once):
            group = used[first : first + self._at_once]
            low, high = np.searchsorted(of, [first, first + len(group)])
            if len(self._written) > self._at_once:
                self._remover.set_features(self._written[torch.from_numpy(group).to(device)])
            here = (of[low:high] - first, token[low:high], activation[low:high])
            pairs = [torch.from_numpy(array).to(device) for array in here]
            parts.append(self._remover.remove(pairs[0], pairs[1], pairs[2], self._k))
        return Ablation.joined(parts)

    def table(self) -> AblationTable:
        """All that was taken in."""
        self._remove_waiting()
        if not self._columns:
            none, lists = np.empty(0, np.int64), np.empty((0, self._k))
            return AblationTable(none, none, np.empty(0), lists, lists, lists, lists)
        context, column = (np.concatenate(part) for part in zip(*self._columns, strict=True))
        order = np.lexsort((column, context))
        arrays = (np.concatenate(part)[order] for part in zip(*self._parts, strict=True))
        return AblationTable(context[order], column[order], *arrays)


def _next_ids(tokens: Tensor) -> Tensor:
    """[n_tokens] the token that follows each; -1 at a row's end."""
    follows = torch.full_like(tokens, -1)
    follows[:, :-1] = tokens[:, 1:]
    return follows.flatten()


def _arrays(found: Ablation) -> list[np.ndarray]:
    """In the order of `AblationTable`: ids in the fewest bytes, the lists' changes rounded."""
    values = [
        found.loss_change,
        found.promoted_id.int(),
        found.promoted_change.round(decimals=CHANGE_DIGITS),
        found.suppressed_id.int(),
        found.suppressed_change.round(decimals=CHANGE_DIGITS),
    ]
    return [value.cpu().numpy() for value in values]
