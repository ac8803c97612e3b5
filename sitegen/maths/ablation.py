"""Ablation: what the model predicts without a feature, exactly, where only the final norm and unembedding follow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding_bag

from sitegen.maths.sparse import csr_pattern

# Logits that are processed at once, in bytes, so that they stay within a processor's caches
CACHED_BYTES = 1 << 22
# Pairs of feature and token that are processed at once at least, however large the vocabulary
MIN_PAIRS = 16
# Tokens whose logits are computed by one product
TOKENS_AT_ONCE = 512
# Rows of those logits that the cross-entropy takes at once, so that they stay within the caches
LOGIT_ROWS = 32
# Columns in a group, of which `_extremes` first takes the maximum or minimum
GROUP = 64


@dataclass(frozen=True)
class FinalLayer:
    """Final norm and unembedding: logits(r) = `centred(r) / sqrt(mean(centred(r)^2) + epsilon) W_U + b_U`."""

    W_U: Tensor  # [d_model, d_vocab], folded and centred as TransformerLens does by default
    b_U: Tensor  # [d_vocab]
    epsilon: float

    def centre(self, residual: Tensor) -> Tensor:
        """Subtract each token's mean from residual streams, [n, d_model], as the norm does."""
        return residual - residual.mean(-1, keepdim=True)

    def scale(self, centred: Tensor) -> Tensor:
        """Compute what the norm divides centred residual streams [n, d_model] by, [n, 1]."""
        return (centred.pow(2).mean(-1, keepdim=True) + self.epsilon).sqrt()

    def logits(self, residual: Tensor) -> Tensor:
        """Compute the logits of residual streams [..., d_model], [..., d_vocab]."""
        centred = self.centre(residual)
        return (centred / self.scale(centred) @ self.W_U).add_(self.b_U)

    @torch.no_grad()
    def losses(self, residual: Tensor, next_id: Tensor) -> Tensor:
        """Compute the cross-entropy of the tokens [n] int64 that follow residual streams [n, d_model], [n] in nats."""
        room = self.W_U.new_empty(min(len(residual), TOKENS_AT_ONCE), self.W_U.shape[1])
        found = []
        for first in range(0, len(residual), TOKENS_AT_ONCE):
            centred = self.centre(residual[first : first + TOKENS_AT_ONCE])
            unit, follows = centred / self.scale(centred), next_id[first : first + TOKENS_AT_ONCE]
            # Into the same memory every time, then in blocks of rows that the caches hold
            logits = torch.addmm(self.b_U, unit, self.W_U, out=room[: len(unit)])
            for part, to in zip(
                torch.split(logits, LOGIT_ROWS), torch.split(follows, LOGIT_ROWS), strict=True
            ):
                found.append(cross_entropy(part, to, reduction="none"))
        return torch.cat(found)


@dataclass(frozen=True)
class Ablation:
    """Effect of removing a feature at each of some active tokens.

    loss_change        [n] float32, nats: by how much the next token's loss rises; NaN where there is no next token
    promoted_id        [n, k] int64: the tokens that the feature promotes most: without it their log-probability falls
    promoted_change    [n, k] float32, nats: log-probability with the feature minus that without it, largest first
    suppressed_id      [n, k] int64: the tokens that the feature suppresses most
    suppressed_change  [n, k] float32, nats: log-probability with the feature minus that without it, smallest first
    """

    loss_change: Tensor
    promoted_id: Tensor
    promoted_change: Tensor
    suppressed_id: Tensor
    suppressed_change: Tensor

    @staticmethod
    def joined(parts: list[Ablation]) -> Ablation:
        """Join the active tokens of all parts, in order."""
        names = list(Ablation.__dataclass_fields__)
        return Ablation(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Remover:
    """Removes features from residual streams, one at a time.

    But for the norm's scale, logits are linear in the residual stream. So the change of the logits without a feature is
    a multiple of the stream's own unscaled logits plus a multiple of the feature's. Both are rows of one table, and a
    change is one weighted sum of two rows, without any product over d_model.

    source  definitions.md, "ablation"
    """

    def __init__(self, final: FinalLayer, n_features: int, n_tokens: int) -> None:
        """Allocate memory for `n_features` features and `n_tokens` tokens at once."""
        self._final, self._n_features = final, n_features
        d_model, d_vocab = final.W_U.shape
        # Unscaled logits, without the bias: first those of the features, then those of the tokens
        self._rows = final.W_U.new_empty(n_features + n_tokens, d_vocab)
        self._probabilities = final.W_U.new_empty(n_tokens, d_vocab)
        self._logits = final.W_U.new_empty(min(n_tokens, TOKENS_AT_ONCE), d_vocab)
        self._removed = final.W_U.new_empty(0, d_model)
        self._pairs_at_once = max(MIN_PAIRS, CACHED_BYTES // (4 * d_vocab))

    @torch.no_grad()
    def set_features(self, written: Tensor) -> None:
        """Set the features by what one unit of each adds to the residual stream, [n_features, d_model]."""
        self._removed = self._final.centre(written)
        torch.mm(self._removed, self._final.W_U, out=self._rows[: len(written)])

    @torch.no_grad()
    def set_tokens(self, residual: Tensor, next_id: Tensor) -> None:
        """Set the tokens by their residual streams before the final norm and by the tokens that follow.

        residual  [n_tokens, d_model]
        next_id   [n_tokens] int64; -1 where no token follows
        """
        self._next_id = next_id
        self._centred = self._final.centre(residual)
        self._scale = self._final.scale(self._centred)  # [n_tokens, 1]
        of_tokens = self._rows[self._n_features :]
        # Block by block, in memory that is allocated already: each step finds the former one's result in the caches
        for first in range(0, len(residual), TOKENS_AT_ONCE):
            block = slice(first, min(first + TOKENS_AT_ONCE, len(residual)))
            unscaled = torch.mm(self._centred[block], self._final.W_U, out=of_tokens[block])
            logits = self._logits[: len(unscaled)]
            torch.addcdiv(self._final.b_U, unscaled, self._scale[block], out=logits)
            torch.softmax(logits, 1, out=self._probabilities[block])

    def remove(self, feature: Tensor, token: Tensor, activation: Tensor, k: int) -> Ablation:
        """Remove a feature at each of some active tokens.

        feature, token  [n] int64: indices among those that were set
        activation      [n] float32
        returns         the ablation at each, with the k tokens most promoted and most suppressed
        formula         log p(r) - log p(r - activation written), where p is the softmax of the final layer's logits and
                        `written` is what one unit of the feature adds to the residual stream
        """
        split = (
            torch.split(values, self._pairs_at_once) for values in (feature, token, activation)
        )
        parts = (self._remove(f, t, a, k) for f, t, a in zip(*split, strict=True))
        return Ablation.joined(list(parts))

    @torch.no_grad()
    def _remove(self, feature: Tensor, token: Tensor, activation: Tensor, k: int) -> Ablation:
        strength, scale = activation[:, None], self._scale[token]
        left = self._centred[token] - strength * self._removed[feature]
        scale_without = self._final.scale(left)
        # With residual stream r, feature w, activation a and scales s (with) and s' (without the feature):
        # (r - a w) W_U / s' - r W_U / s = (1 / s' - 1 / s) r W_U - (a / s') w W_U
        weights = torch.cat([1 / scale_without - 1 / scale, -strength / scale_without], 1)
        rows = torch.stack([token + self._n_features, feature], 1)
        # [n, d_vocab] logits without the feature minus those with it; `embedding_bag` makes the weighted sums of rows
        # without ever copying the rows
        rise = embedding_bag(rows, self._rows, per_sample_weights=weights, mode="sum")
        lowest, highest = _extremes(rise, k, False), _extremes(rise, k, True)
        follows = self._next_id[token]
        at_next = rise.gather(1, follows.clamp(min=0)[:, None])
        # log p'(t) = log p(t) + rise(t) - shift, where shift is the log of the sum over the vocabulary of p exp(rise)
        shift = _row_dots(rise.exp_(), self._probabilities, token).log_()[:, None]
        loss_change = (shift - at_next)[:, 0].masked_fill(follows < 0, math.nan)
        return Ablation(loss_change, lowest[0], shift - lowest[1], highest[0], shift - highest[1])


def _row_dots(rows: Tensor, others: Tensor, other: Tensor) -> Tensor:
    """Compute the dot product of each of `rows` [n, width] with the row of `others` that `other` [n] gives, [n]."""
    # A sampled product with one entry for each row reads `others` where they are, instead of copying the chosen rows
    starts = torch.arange(len(rows) + 1, device=rows.device)
    nothing = torch.zeros(len(rows), device=rows.device)
    pattern = csr_pattern(starts, other, nothing, (len(rows), len(others)))
    dots: Tensor = torch.sparse.sampled_addmm(pattern, rows, others.T, beta=0.0).values()
    return dots


def _extremes(values: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Find the k largest or k smallest values of each row: ([n, k] columns, [n, k] values), the outermost first.

    The k largest values are in the k groups of columns with the largest maxima. So one pass over the whole rows and a
    few short sorts find them, in a fraction of the time of `topk`.
    """
    n, width = values.shape
    n_groups = width // GROUP
    if n_groups <= k:
        top = torch.topk(values, k, dim=1, largest=largest)
        return top.indices, top.values
    # Group g holds the columns g, g + n_groups, g + 2 n_groups, ...: so the maxima of neighbouring groups are computed
    # together, in a processor's vector registers
    grouped = values[:, : n_groups * GROUP].view(n, GROUP, n_groups)
    group, _ = _extremes(grouped.amax(1) if largest else grouped.amin(1), k, largest)
    inside = grouped.gather(2, group[:, None, :].expand(n, GROUP, k)).flatten(1)
    # The last columns, fewer than a group's, are candidates as they are
    rest = values[:, n_groups * GROUP :]
    candidates = torch.cat([inside, rest], 1) if rest.shape[1] else inside
    top = torch.topk(candidates, k, dim=1, largest=largest)
    # Back from a candidate's index to its column: candidate `within * k + nth` is element `within` of group `nth`
    within, nth = top.indices // k, top.indices % k
    column = n_groups * within + group.gather(1, nth)
    # 0 or more for candidates from the rest
    past = top.indices - GROUP * k
    return torch.where(past < 0, column, n_groups * GROUP + past), top.values
