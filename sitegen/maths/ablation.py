"""What the model predicts without a feature, where nothing but the final norm comes after it: exact, and cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding_bag

from sitegen.maths.sparse import csr_pattern

CACHED_BYTES = 1 << 22  # of logits worked on at once, so that they stay within a processor's caches
MIN_PAIRS = 16
TOKENS_AT_ONCE = 512  # whose logits are made at once
LOGIT_ROWS = 32  # of them that pass through the softmax at once, within the caches
GROUP = 64  # columns of which a first pass takes the extremes


@dataclass(frozen=True)
class FinalLayer:
    """From the last residual stream to the logits: `centred(r) / sqrt(mean(centred(r)^2) + epsilon) W_U + b_U`."""

    W_U: Tensor  # [d_model, d_vocab], folded and centred as TransformerLens does by default
    b_U: Tensor  # [d_vocab]
    epsilon: float

    def centred(self, residual: Tensor) -> Tensor:
        """[n, d_model] what the norm takes of the residual stream."""
        return residual - residual.mean(-1, keepdim=True)

    def scale(self, centred: Tensor) -> Tensor:
        """[n, 1] what the norm divides by."""
        return (centred.pow(2).mean(-1, keepdim=True) + self.epsilon).sqrt()

    def logits(self, residual: Tensor) -> Tensor:
        """[..., d_vocab] for residual streams [..., d_model]."""
        centred = self.centred(residual)
        return (centred / self.scale(centred) @ self.W_U).add_(self.b_U)

    @torch.no_grad()
    def losses(self, residual: Tensor, next_id: Tensor) -> Tensor:
        """[n] cross-entropy, in nats, of the tokens [n] int64 that follow residual streams [n, d_model]."""
        room = self.W_U.new_empty(min(len(residual), TOKENS_AT_ONCE), self.W_U.shape[1])
        found = []
        for first in range(0, len(residual), TOKENS_AT_ONCE):
            centred = self.centred(residual[first : first + TOKENS_AT_ONCE])
            unit, follows = centred / self.scale(centred), next_id[first : first + TOKENS_AT_ONCE]
            logits = torch.addmm(self.b_U, unit, self.W_U, out=room[: len(unit)])
            for part, to in zip(
                torch.split(logits, LOGIT_ROWS), torch.split(follows, LOGIT_ROWS), strict=True
            ):
                found.append(cross_entropy(part, to, reduction="none"))
        return torch.cat(found)


@dataclass(frozen=True)
class Ablation:
    """What taking a feature out changes at each of some firings.

    loss_change       [n] float32, nats: by how much the next token's loss rises; NaN where there is no next token
    promoted_id       [n, k] int64: the tokens whose log-probability falls most
    promoted_change   [n, k] float32, nats: log-probability with the feature less that without it, largest first
    suppressed_id, suppressed_change  [n, k]: likewise, smallest first
    """

    loss_change: Tensor
    promoted_id: Tensor
    promoted_change: Tensor
    suppressed_id: Tensor
    suppressed_change: Tensor

    @staticmethod
    def joined(parts: list[Ablation]) -> Ablation:
        """The firings of all parts, in order."""
        names = list(Ablation.__dataclass_fields__)
        return Ablation(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Remover:
    """Takes features out of residual streams, one at a time.

    The logits are linear in the residual stream but for the norm's scale: without a feature they change by a multiple
    of what the stream gives and a multiple of what the feature gives. Both stand as rows of one table, so that a
    change is one weighted sum of two rows.

    source  definitions.md, "ablation"
    """

    def __init__(self, final: FinalLayer, n_features: int, n_tokens: int) -> None:
        """Makes room for so many features and tokens at once."""
        self._final, self._n_features = final, n_features
        d_model, d_vocab = final.W_U.shape
        self._rows = final.W_U.new_empty(n_features + n_tokens, d_vocab)
        self._probabilities = final.W_U.new_empty(n_tokens, d_vocab)
        self._logits = final.W_U.new_empty(min(n_tokens, TOKENS_AT_ONCE), d_vocab)
        self._removed = final.W_U.new_empty(0, d_model)
        self._pairs_at_once = max(MIN_PAIRS, CACHED_BYTES // (4 * d_vocab))

    @torch.no_grad()
    def set_features(self, written: Tensor) -> None:
        """Takes [n_features, d_model] what one unit of each adds to the residual stream."""
        self._removed = self._final.centred(written)
        torch.mm(self._removed, self._final.W_U, out=self._rows[: len(written)])

    @torch.no_grad()
    def set_tokens(self, residual: Tensor, next_id: Tensor) -> None:
        """Takes [n_tokens, d_model] before the final norm, and [n_tokens] int64 what follows; -1 where nothing does."""
        self._next_id = next_id
        self._centred = self._final.centred(residual)
        self._scale = self._final.scale(self._centred)  # [n_tokens, 1]
        of_tokens = self._rows[self._n_features :]
        # Block by block in memory that is there, of which the caches still hold what the next line reads
        for first in range(0, len(residual), TOKENS_AT_ONCE):
            block = slice(first, min(first + TOKENS_AT_ONCE, len(residual)))
            unscaled = torch.mm(self._centred[block], self._final.W_U, out=of_tokens[block])
            logits = self._logits[: len(unscaled)]
            torch.addcdiv(self._final.b_U, unscaled, self._scale[block], out=logits)
            torch.softmax(logits, 1, out=self._probabilities[block])

    def remove(self, feature: Tensor, token: Tensor, activation: Tensor, k: int) -> Ablation:
        """Takes each feature out where it fires.

        feature, token  [n] int64
        activation      [n] float32
        returns         the ablation at each, with the k tokens most promoted and suppressed
        formula         log p(r) - log p(r - activation written), p the softmax of the final layer's logits
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
        weights = torch.cat([1 / scale_without - 1 / scale, -strength / scale_without], 1)
        rows = torch.stack([token + self._n_features, feature], 1)
        # [n, d_vocab] logits without the feature less those with it
        rise = embedding_bag(rows, self._rows, per_sample_weights=weights, mode="sum")
        lowest, highest = _extremes(rise, k, False), _extremes(rise, k, True)
        follows = self._next_id[token]
        at_next = rise.gather(1, follows.clamp(min=0)[:, None])
        # log of the sum of p exp(rise): what normalising takes from every log-probability
        shift = _row_dots(rise.exp_(), self._probabilities, token).log_()[:, None]
        loss_change = (shift - at_next)[:, 0].masked_fill(follows < 0, math.nan)
        return Ablation(loss_change, lowest[0], shift - lowest[1], highest[0], shift - highest[1])


def _row_dots(rows: Tensor, others: Tensor, other: Tensor) -> Tensor:
    """[n] dot products of each of `rows` [n, width] with one of `others`, chosen by `other` [n]."""
    starts = torch.arange(len(rows) + 1, device=rows.device)
    nothing = torch.zeros(len(rows), device=rows.device)
    pattern = csr_pattern(starts, other, nothing, (len(rows), len(others)))
    dots: Tensor = torch.sparse.sampled_addmm(pattern, rows, others.T, beta=0.0).values()
    return dots


def _extremes(values: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """([n, k] columns of one end of each row, its values), the outermost first.

    The largest k stand in the k groups with the largest maxima: so passes over whole rows and a few short sorts find
    them, which takes a fraction of `topk`'s time.
    """
    n, width = values.shape
    n_groups = width // GROUP
    if n_groups <= k:
        top = torch.topk(values, k, dim=1, largest=largest)
        return top.indices, top.values
    # Every n_groups-th column is of a group, so that a pass takes whole vectors of a processor's registers
    grouped = values[:, : n_groups * GROUP].view(n, GROUP, n_groups)
    group, _ = _extremes(grouped.amax(1) if largest else grouped.amin(1), k, largest)
    inside = grouped.gather(2, group[:, None, :].expand(n, GROUP, k)).flatten(1)
    rest = values[:, n_groups * GROUP :]
    candidates = torch.cat([inside, rest], 1) if rest.shape[1] else inside
    top = torch.topk(candidates, k, dim=1, largest=largest)
    within, nth = top.indices // k, top.indices % k
    column = n_groups * within + group.gather(1, nth)
    past = top.indices - GROUP * k  # 0 or more in the rest
    return torch.where(past < 0, column, n_groups * GROUP + past), top.values
