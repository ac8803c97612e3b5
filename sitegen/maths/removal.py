"""Removal of features from residual streams, exactly, where only the final norm and unembedding follow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sitegen.maths.ablation import DEPTH, STREAMS_AT_ONCE, Ablation, FinalLayer
from sitegen.maths.extremes import Extremes, find_extremes
from sitegen.maths.sparse import csr_pattern
from sitegen.progress import Progress

# Tokens of the vocabulary whose logits are computed at once: few enough that every step finds the result of the one
# before in the processor's caches
COLUMNS_AT_ONCE = 2048
# The logit effects of all features on as many tokens as that take at most so many bytes
EFFECTS_BYTES = 1 << 28
# Removals for which a vector [d_model] each is computed at once
REMOVALS_AT_ONCE = 4096
# Removals of which the logits of the whole vocabulary are computed at once, and features of which the effects are
ROWS_AT_ONCE = 128
# Tokens that a feature raises most, and as many that it lowers most, among which the extremes are sought first
N_CANDIDATES = 128
# Rises that differ by less, in nats, are not told apart when it is decided which tokens are listed
MARGIN = 1e-5


@dataclass(frozen=True)
class Streams:
    """Residual streams before the final norm, at tokens on which features are active.

    centred  [n_tokens, d_model], as `FinalLayer.centre` returns them
    next_id  [n_tokens] int64: the token that follows each; -1 where none does
    """

    centred: Tensor
    next_id: Tensor


@dataclass(frozen=True)
class Removals:
    """Removals of one feature at one token each; index i of every tensor belongs to the same removal.

    feature, token  [n] int64, sorted by token
    activation      [n] float32
    """

    feature: Tensor
    token: Tensor
    activation: Tensor

    def take(self, index: Tensor | slice) -> Removals:
        """Choose removals by their indices."""
        return Removals(self.feature[index], self.token[index], self.activation[index])


@dataclass(frozen=True)
class Rises:
    """How the logits rise without the feature: by a multiple of the stream's unscaled logits and one of the feature's.

    of_stream, of_feature  [n, 1] the multiples for each removal
    of_next                [n] the rise of the next token's logit; without meaning where no token follows
    """

    of_stream: Tensor
    of_feature: Tensor
    of_next: Tensor


@dataclass(frozen=True)
class Sums:
    """What one pass over the whole vocabulary gives for each removal.

    shift         [n] nats: the log of the softmax's denominator rises by that
    n_low, n_high  [n] float32: tokens whose rise is below the lower limit given, or above the upper
    """

    shift: Tensor
    n_low: Tensor
    n_high: Tensor


class Remover:
    """Removes features from residual streams, one at a time.

    But for the norm's scale, logits are linear in the residual stream. With stream r, feature w, activation a and
    scales s (with the feature) and s' (without), all logits rise by

        (r - a w) W_U / s' - r W_U / s = (1 / s' - 1 / s) r W_U - (a / s') w W_U.

    So each stream and each feature is multiplied with the unembedding, and no removal is. A removal takes one pass over
    the vocabulary, for the softmax's denominator. The tokens of the largest and smallest rises are sought before it,
    among those on which the feature has its largest and smallest effects. The pass then counts the tokens whose rise
    is beyond the last one found. Where there are more of them than are listed, the whole vocabulary is searched.

    source  definitions.md, "ablation"
    """

    def __init__(self, final: FinalLayer, written: Tensor) -> None:
        """Take the final layer, and what one unit of each feature adds to the stream, [n_features, d_model]."""
        self._final = final
        self._removed = final.centre(written)
        self._columns = final.W_U.T.contiguous()  # [d_vocab, d_model]
        self._effects = final.W_U.new_empty(ROWS_AT_ONCE, final.W_U.shape[1])

    @torch.no_grad()
    def remove(self, streams: Streams, removals: Removals, k: int) -> Ablation:
        """Remove a feature at each of some active tokens.

        k        number of tokens listed that are promoted most, and that are suppressed most
        formula  log p(r) - log p(r - activation written), where p is the softmax of the final layer's logits and
                 `written` is what one unit of the feature adds to the residual stream
        """
        rises = self._weigh(streams, removals)
        low, high = self._search(streams, removals, rises, k)
        sums = self._sum(streams, removals, rises, low.value[:, -1], high.value[:, -1])
        self._search_everywhere(streams, removals, sums, low, high)
        shift = sums.shift
        # An exponential may be too large for float32
        infinite = torch.nonzero(~torch.isfinite(shift))[:, 0]
        for part in torch.split(infinite, ROWS_AT_ONCE):
            shift[part] = self._shift(streams, removals.take(part))
        # log p'(t) = log p(t) + rise(t) - shift, where shift is the log of the sum over the vocabulary of p exp(rise)
        ends = streams.next_id[removals.token] < 0
        loss_change = (shift - rises.of_next).masked_fill(ends, math.nan)
        changes = [shift[:, None] - found.value for found in (low, high)]
        return Ablation(loss_change, low.column, changes[0], high.column, changes[1])

    def _without(self, streams: Streams, removals: Removals) -> tuple[Tensor, Tensor]:
        """Compute (the centred streams [n, d_model] without the feature, their change after the final norm)."""
        centred = streams.centred[removals.token]
        left = centred - removals.activation[:, None] * self._removed[removals.feature]
        return left, left / self._final.scale(left) - centred / self._final.scale(centred)

    def _weigh(self, streams: Streams, removals: Removals) -> Rises:
        parts = []
        for first in range(0, len(removals.token), REMOVALS_AT_ONCE):
            part = removals.take(slice(first, first + REMOVALS_AT_ONCE))
            left, change = self._without(streams, part)
            scale = self._final.scale(streams.centred[part.token])
            scale_without = self._final.scale(left)
            next_columns = self._columns[streams.next_id[part.token].clamp(min=0)]
            parts.append(
                (
                    1 / scale_without - 1 / scale,
                    -part.activation[:, None] / scale_without,
                    (change * next_columns).sum(1),
                )
            )
        return Rises(*map(torch.cat, zip(*parts, strict=True)))

    def _sum(
        self, streams: Streams, removals: Removals, rises: Rises, low: Tensor, high: Tensor
    ) -> Sums:
        """Pass over the vocabulary part by part, and within a part over the streams block by block.

        So the effects of all features fit in memory, and each stream's logits are computed once for all its removals.

        low, high  [n] the rises beyond which tokens are counted, by more than MARGIN
        """
        used, feature = torch.unique(removals.feature, return_inverse=True)
        removed = self._removed[used]
        n_tokens, d_vocab = len(streams.centred), len(self._columns)
        n_columns = max(1, min(COLUMNS_AT_ONCE, d_vocab, EFFECTS_BYTES // (4 * len(used))))
        # Unscaled logits: first those of the features, then those of a block of streams
        table = removed.new_empty((len(used) + STREAMS_AT_ONCE) * n_columns)
        weights = torch.cat([rises.of_stream, rises.of_feature], 1)
        totals = _Totals(n_tokens, low - MARGIN, high + MARGIN)
        starts = range(0, n_tokens, STREAMS_AT_ONCE)
        edges = torch.tensor([*starts, n_tokens], device=removed.device)
        first_removals = torch.searchsorted(removals.token, edges).tolist()
        scale = self._final.scale(streams.centred)
        progress = Progress("ablation", n_tokens * d_vocab, "logits")
        for column in range(0, d_vocab, n_columns):
            W_U = self._columns[column : column + n_columns].T
            b_U = self._final.b_U[column : column + n_columns]
            rows = table[: (len(used) + STREAMS_AT_ONCE) * len(b_U)].view(-1, len(b_U))
            torch.mm(removed, W_U, out=rows[: len(used)])
            for i, first in enumerate(starts):
                tokens = slice(first, min(first + STREAMS_AT_ONCE, n_tokens))
                own = slice(first_removals[i], first_removals[i + 1])
                unscaled = rows[len(used) : len(used) + tokens.stop - first]
                torch.mm(streams.centred[tokens], W_U, out=unscaled)
                token = removals.token[own] - first
                pairs = torch.stack([token + len(used), feature[own]], 1)
                # [n, n_columns]; `embedding_bag` makes the weighted sums of rows without ever copying the rows
                rise = embedding_bag(pairs, rows, per_sample_weights=weights[own], mode="sum")
                totals.add(tokens, own, token, unscaled, scale[tokens], b_U, rise)
                progress.advance((tokens.stop - first) * len(b_U))
        progress.finish()
        return totals.sums(removals.token)

    def _search(
        self, streams: Streams, removals: Removals, rises: Rises, k: int
    ) -> tuple[Extremes, Extremes]:
        """Find the k smallest and the k largest rises among each feature's candidates."""
        shape, device = (len(removals.token), k), removals.token.device
        low, high = (
            Extremes(
                torch.empty(shape, dtype=torch.int64, device=device),
                torch.empty(shape, device=device),
            )
            for _ in range(2)
        )
        by_feature = torch.argsort(removals.feature, stable=True)
        used, counts = torch.unique_consecutive(removals.feature[by_feature], return_counts=True)
        ends = counts.cumsum(0).tolist()
        progress = Progress("changes", len(used), "features")
        for first in range(0, len(used), ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, len(used))
            candidates = self._candidates(used[first:last], k)
            own = by_feature[ends[first - 1] if first else 0 : ends[last - 1]]
            nth = torch.repeat_interleave(counts[first:last])
            column, effect = candidates.column[nth], candidates.value[nth]  # [n, n_candidates]
            unscaled = _chosen_dots(streams.centred[removals.token[own]], self._columns, column)
            rise = rises.of_stream[own] * unscaled + rises.of_feature[own] * effect
            for found, largest in ((low, False), (high, True)):
                top = torch.topk(rise, k, dim=1, largest=largest)
                found.column[own], found.value[own] = column.gather(1, top.indices), top.values
            progress.advance(last - first)
        progress.finish()
        return low, high

    def _search_everywhere(
        self, streams: Streams, removals: Removals, sums: Sums, low: Extremes, high: Extremes
    ) -> None:
        """Search all tokens where others than those listed were counted, or a token is listed twice; sets the lists."""
        # With twice the margin, so that rounding cannot let a token listed stand for another one in the count
        is_lacking = sums.n_low > (low.value < low.value[:, -1:] - 2 * MARGIN).sum(1)
        is_lacking |= sums.n_high > (high.value > high.value[:, -1:] + 2 * MARGIN).sum(1)
        for found in (low, high):
            in_order = found.column.sort(1).values
            is_lacking |= (in_order[:, 1:] == in_order[:, :-1]).any(1)
        lacking = torch.nonzero(is_lacking)[:, 0]
        if not len(lacking):
            return
        progress = Progress("rest", len(lacking), "lists")
        for part in torch.split(lacking, ROWS_AT_ONCE):
            _, change = self._without(streams, removals.take(part))
            rise = change @ self._final.W_U
            for found, largest in ((low, False), (high, True)):
                extremes = find_extremes(rise, low.column.shape[1], largest)
                found.column[part], found.value[part] = extremes.column, extremes.value
            progress.advance(len(part))
        progress.finish()

    def _candidates(self, features: Tensor, k: int) -> Extremes:
        """Find the tokens of each feature's largest effects and of its smallest; all tokens of a small vocabulary."""
        # Into the same memory every time, because new memory would have to be mapped first
        effects = torch.mm(
            self._removed[features], self._final.W_U, out=self._effects[: len(features)]
        )
        n_each = max(N_CANDIDATES, k)
        if 2 * n_each >= effects.shape[1]:
            every = torch.arange(effects.shape[1], device=effects.device)
            return Extremes(every.expand_as(effects), effects)
        largest = find_extremes(effects, n_each, True)
        smallest = find_extremes(effects, n_each, False)
        return Extremes(
            torch.cat([largest.column, smallest.column], 1),
            torch.cat([largest.value, smallest.value], 1),
        )

    def _shift(self, streams: Streams, removals: Removals) -> Tensor:
        """Compute the rise [n] of the log of the softmax's denominator from all logits, however large they are."""
        left, _ = self._without(streams, removals)
        centred = streams.centred[removals.token]
        before, after = (
            torch.logsumexp(self._final.logits(stream), 1) for stream in (centred, left)
        )
        return after - before


class _Totals:
    """Sums of exponentials that grow part by part of the vocabulary, relative to each stream's largest logit so far."""

    def __init__(self, n_tokens: int, low: Tensor, high: Tensor) -> None:
        """Take the number of streams, and the limits [n] beyond which each removal's rises are counted."""
        self._largest = low.new_full((n_tokens,), -math.inf)
        self._limits = (low, high)
        self._counts = (torch.zeros_like(low), torch.zeros_like(high))
        # In float64, because their ratios are close to 1
        self._with = torch.zeros(n_tokens, dtype=torch.float64, device=low.device)
        self._without = torch.zeros(len(low), dtype=torch.float64, device=low.device)

    def add(
        self,
        tokens: slice,
        own: slice,
        token: Tensor,
        unscaled: Tensor,
        scale: Tensor,
        b_U: Tensor,
        rise: Tensor,
    ) -> None:
        """Add a part of the vocabulary for a block of streams; overwrites `rise`.

        tokens, own  of the streams, and of their removals
        token        [n] int64: the stream of each removal, counted from the block's first
        unscaled     [n_tokens, n_columns] logits of the streams without scale and bias
        rise         [n, n_columns] rises of the logits without the feature
        """
        is_beyond = torch.empty_like(rise)
        for compare, limit, count in zip(
            (torch.lt, torch.gt), self._limits, self._counts, strict=True
        ):
            count[own] += compare(rise, limit[own, None], out=is_beyond).sum(1)
        logits = torch.addcdiv(b_U, unscaled, scale)
        largest = torch.maximum(self._largest[tokens], logits.amax(1))
        decay = (self._largest[tokens] - largest).double().exp_()
        self._largest[tokens] = largest
        # [n_tokens, n_columns] probabilities, but for a factor that each stream has in both of its sums
        share = logits.sub_(largest[:, None]).clamp_(min=-DEPTH).exp_()
        self._with[tokens] = self._with[tokens] * decay + share.sum(1)
        dots = _row_dots(rise.exp_(), share, token)
        self._without[own] = self._without[own] * decay[token] + dots

    def sums(self, token: Tensor) -> Sums:
        """Compute the result, given the stream [n] of each removal."""
        shift = (self._without / self._with[token]).log_().float()
        return Sums(shift, *self._counts)


def _row_dots(rows: Tensor, others: Tensor, other: Tensor) -> Tensor:
    """Compute the dot product of each of `rows` [n, width] with the row of `others` that `other` [n] gives, [n]."""
    return _chosen_dots(rows, others, other[:, None])[:, 0]


def _chosen_dots(rows: Tensor, others: Tensor, chosen: Tensor) -> Tensor:
    """Compute the dot products of each of `rows` [n, width] with some rows of `others`, [n, n_chosen].

    chosen  [n, n_chosen] int64 indices into `others`
    """
    # A sampled product reads `others` where they are, instead of copying the chosen rows
    n, n_chosen = chosen.shape
    starts = torch.arange(0, n * n_chosen + 1, n_chosen, device=rows.device)
    nothing = torch.zeros(n * n_chosen, device=rows.device)
    pattern = csr_pattern(starts, chosen.flatten(), nothing, (n, len(others)))
    dots: Tensor = torch.sparse.sampled_addmm(pattern, rows, others.T, beta=0.0).values()
    return dots.view(n, n_chosen)
