"""The final norm and unembedding, and what an ablation measures where nothing else follows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Residual streams that are multiplied with the unembedding at once
STREAMS_AT_ONCE = 256
# Streams whose cross-entropy is computed at once, so that their logits stay within a processor's caches
LOSSES_AT_ONCE = 64
# Logits more than this below the largest count as this much below it. Even a whole vocabulary of them changes no bit of
# a sum, and exponentials below float32's normal numbers take a hundred times as long as others.
DEPTH = 60.0


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
    def losses(self, residual: Tensor, next_id: Tensor, added: Tensor) -> Tensor:
        """Compute the cross-entropy of the tokens that follow, with each of some vectors added to all streams.

        But for the norm's scale, the logits of a sum are the sum of the logits. So the streams are multiplied with the
        unembedding once, however many vectors there are.

        residual  [n, d_model] before the final norm
        next_id   [n] int64
        added     [n_added, d_model]; a row of zeros stands for the streams as they are
        returns   [n_added, n] in nats
        """
        centred_added = self.centre(added)
        logits_added = centred_added @ self.W_U
        found = residual.new_empty(len(added), len(residual))
        # Into the same memory every time, because new memory would have to be mapped first
        d_vocab = self.W_U.shape[1]
        unscaled = self.W_U.new_empty(min(len(residual), STREAMS_AT_ONCE), d_vocab)
        room = self.W_U.new_empty(LOSSES_AT_ONCE, d_vocab)
        for first in range(0, len(residual), STREAMS_AT_ONCE):
            centred = self.centre(residual[first : first + STREAMS_AT_ONCE])
            torch.mm(centred, self.W_U, out=unscaled[: len(centred)])
            for start in range(0, len(centred), LOSSES_AT_ONCE):
                stop = min(start + LOSSES_AT_ONCE, len(centred))
                follows, logits = next_id[first + start : first + stop], room[: stop - start]
                for i in range(len(added)):
                    torch.add(unscaled[start:stop], logits_added[i], out=logits)
                    scale = self.scale(centred[start:stop] + centred_added[i])
                    torch.addcdiv(self.b_U, logits, scale, out=logits)
                    found[i, first + start : first + stop] = cross_entropies(logits, follows)
        return found


@torch.no_grad()
def cross_entropies(logits: Tensor, next_id: Tensor) -> Tensor:
    """Compute the cross-entropy of tokens [n] int64 under logits [n, d_vocab], [n] in nats; overwrites the logits."""
    logits.sub_(logits.amax(1, keepdim=True))
    of_next = logits.gather(1, next_id[:, None])[:, 0]
    return logits.clamp_(min=-DEPTH).exp_().sum(1).log_().sub_(of_next)


@torch.no_grad()
def next_losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """Compute the cross-entropy [n_rows, seq_len - 1] of each next token, in nats; overwrites the logits.

    logits  [n_rows, seq_len, d_vocab]
    tokens  [n_rows, seq_len] int64
    """
    found = []
    for of_row, next_id in zip(logits[:, :-1], tokens[:, 1:], strict=True):
        parts = zip(of_row.split(LOSSES_AT_ONCE), next_id.split(LOSSES_AT_ONCE), strict=True)
        found.append(torch.cat([cross_entropies(part, follows) for part, follows in parts]))
    return torch.stack(found)


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
