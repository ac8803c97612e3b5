"""Search for nearest directions in clusters, where comparing all pairs would take hours.

Directions are grouped around sqrt(n) centres. Each is compared only with the directions of the clusters whose centres
are nearest to its own cluster's, so the number of comparisons grows with n^1.5 instead of n^2. The cosines that it
finds are exact, but it may miss a nearer direction; docs/scaling.md says how often.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Directions that are compared with the centres at once
AT_ONCE = 4096
# Rounds in which the centres are moved to the means of their clusters
N_ROUNDS = 4
# Clusters that a direction is compared with
N_PROBED = 64


class Clusters:
    """Directions [n, d], rows of length 1, in clusters."""

    def __init__(self, units: Tensor) -> None:
        self._units = units
        n = len(units)
        n_clusters = max(round(n**0.5), 1)
        # Every (n / n_clusters)-th direction: the same for the same weights
        centres = units[torch.arange(n_clusters, device=units.device) * n // n_clusters].clone()
        for _ in range(N_ROUNDS):
            home = _nearest_centre(units, centres)
            sums = torch.zeros_like(centres).index_add_(0, home, units)
            length = torch.linalg.vector_norm(sums, dim=1, keepdim=True)
            # A centre without members stays where it is
            centres = torch.where(length > 0, sums / length.clamp(min=1e-12), centres)
        self._centres = centres
        home = _nearest_centre(units, centres)
        self._members = torch.argsort(home, stable=True)
        self._starts = torch.searchsorted(
            home[self._members], torch.arange(n_clusters + 1, device=units.device)
        ).tolist()

    def search(self, queries: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Find the k members nearest to each query, largest cosine first.

        queries  [n_queries, d] rows of length 1
        own      [n_queries] int64: a member that is left out for each query, such as itself
        returns  ([n_queries, k] int64 members, [n_queries, k] float32 cosines); -1 and -inf past the last one
        """
        index = torch.full((len(queries), k), -1, device=queries.device)
        value = torch.full((len(queries), k), -torch.inf, device=queries.device)
        home = _nearest_centre(queries, self._centres)
        n_probed = min(N_PROBED, len(self._centres))
        for cluster in range(len(self._centres)):
            asking = torch.nonzero(home == cluster).flatten()
            if not len(asking):
                continue
            probed = torch.topk(self._centres @ self._centres[cluster], n_probed).indices
            candidates = torch.cat([self._members_of(one) for one in probed.tolist()])
            for part in torch.split(asking, AT_ONCE):
                cosine = queries[part] @ self._units[candidates].T  # [n_part, n_candidates]
                if own is not None:
                    cosine[candidates == own[part, None]] = -torch.inf
                found = torch.topk(cosine, min(k, len(candidates)), dim=1)
                width = found.values.shape[1]
                value[part, :width] = found.values
                index[part, :width] = candidates[found.indices]
        return torch.where(value > -torch.inf, index, -1), value

    def _members_of(self, cluster: int) -> Tensor:
        return self._members[self._starts[cluster] : self._starts[cluster + 1]]


def _nearest_centre(units: Tensor, centres: Tensor) -> Tensor:
    """Find the centre with the largest cosine to each direction, [n] int64."""
    return torch.cat([(part @ centres.T).argmax(1) for part in torch.split(units, AT_ONCE)])
