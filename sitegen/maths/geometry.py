"""Comparison of directions: cosines, nearest directions, the rare direction, the strongest neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.maths.clusters import Clusters

ROWS_AT_ONCE = 512
# Up to so many pairs, all are compared; this takes 24 minutes on 2 CPU cores for 262,144 directions of width 512. Of
# more, the nearest are searched in clusters.
MOST_PAIRS = 262_144**2
# Below any length that matters. Divided by it, a vector of zeros has cosine 0 with every other.
TINY = 1e-12


@torch.no_grad()
def unit_rows(rows: Tensor) -> Tensor:
    """Scale rows to length 1, [n, d] float32; rows of zeros stay zero."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / length.clamp(min=TINY)


@torch.no_grad()
def nearest(
    rows: Tensor, chosen: Tensor, k: int, advance: Callable[[int], None] = lambda n: None
) -> tuple[Tensor, Tensor]:
    """Find the k other rows with the largest cosine to each chosen row, largest first.

    rows     [n, d] float32
    chosen   [n_chosen] int64: the rows whose nearest are found, among all rows
    advance  is called with numbers of chosen rows as they are done
    returns  ([n_chosen, k] int64 rows, [n_chosen, k] float32 cosines)
    source   definitions.md, "decoder cosine"
    """
    units = unit_rows(rows)
    k = min(k, len(rows) - 1)
    if len(chosen) * len(rows) > MOST_PAIRS:
        clustered = Clusters(units).search(units[chosen], k, chosen)
        advance(len(chosen))
        return clustered
    found = []
    for part in torch.split(chosen, ROWS_AT_ONCE):
        cosine = units[part] @ units.T  # [n_part, n]
        cosine[torch.arange(len(part), device=rows.device), part] = -torch.inf
        found.append(torch.topk(cosine, k, dim=1))
        advance(len(part))
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


@dataclass(frozen=True)
class Matches:
    """The best match of each of n features among others.

    index   [n] int64: the match; -1 where no similarity is known
    value   [n] float32: similarity to the match
    mutual  [n] bool: whether the match's own best match is this feature
    """

    index: Tensor
    value: Tensor
    mutual: Tensor


class MatchSearch:
    """Search for the best matches in both directions, given similarities in blocks of rows."""

    def __init__(self, n: int, n_other: int) -> None:
        self._index = torch.full((n,), -1)
        self._value = torch.full((n,), -torch.inf)
        self._back = torch.full((n_other,), -1)
        self._back_value = torch.full((n_other,), -torch.inf)

    def add(self, first: int, similarity: Tensor) -> None:
        """Add the similarities of the rows from `first` on, [n_rows, n_other] float32."""
        rows = slice(first, first + len(similarity))
        self._value[rows], self._index[rows] = similarity.cpu().max(1)
        value, index = similarity.cpu().max(0)
        # Not >=, so that of equal similarities the first row's is kept
        better = value > self._back_value
        self._back[better], self._back_value[better] = index[better] + first, value[better]

    def found(self) -> tuple[Matches, Matches]:
        """Return (the best column of each row, the best row of each column)."""
        return (
            with_mutual(self._index, self._value, self._back),
            with_mutual(self._back, self._back_value, self._index),
        )


def with_mutual(index: Tensor, value: Tensor, back: Tensor) -> Matches:
    """Make the matches [n] of one direction, given the best match of each of the others, `back` [n_other]."""
    mutual = (index >= 0) & (back[index.clamp(min=0)] == torch.arange(len(index)))
    return Matches(index, value, mutual)


@torch.no_grad()
def cosine_matches(
    rows: Tensor, others: Tensor, advance: Callable[[int], None] = lambda n: None
) -> tuple[Matches, Matches]:
    """Find each row's best match among `others` by cosine, and each of the others' best match among the rows.

    rows, others  [n, d], [n_other, d] float32
    advance       is called with numbers of rows as they are done
    """
    units, other_units = unit_rows(rows), unit_rows(others)
    if len(rows) * len(others) > MOST_PAIRS:
        index, value = (found.flatten() for found in Clusters(other_units).search(units, 1))
        back, back_value = (found.flatten() for found in Clusters(units).search(other_units, 1))
        advance(len(rows))
        return with_mutual(index, value, back), with_mutual(back, back_value, index)
    search = MatchSearch(len(rows), len(others))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        part = units[first : first + ROWS_AT_ONCE]
        search.add(first, part @ other_units.T)
        advance(len(part))
    return search.found()


@torch.no_grad()
def rare_cosines(columns: Tensor, is_rare: Tensor) -> Tensor | None:
    """Compute the cosine of each encoder column with the mean column of the rare features, [n] float32.

    columns  [n, d_hook] float32: the encoder's columns, each as a row
    is_rare  [n] bool
    returns  None if no feature is rare
    source   definitions.md, "rare direction"
    """
    if not bool(is_rare.any()):
        return None
    direction = columns[is_rare].mean(0, keepdim=True)
    cosines: Tensor = unit_rows(columns) @ unit_rows(direction)[0]
    return cosines


@torch.no_grad()
def strongest_neurons(W_dec: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find the k neurons with the largest weights in each decoder row, by absolute value, largest first.

    W_dec    [n, d_hook] decoder rows
    returns  ([n, k] int64 neurons, [n, k] their weights, [n, k] their share of the row's L1 norm)
    """
    size = W_dec.abs()
    top = torch.topk(size, min(k, W_dec.shape[1]), dim=1)
    share = top.values / size.sum(1, keepdim=True).clamp(min=TINY)
    return top.indices, W_dec.gather(1, top.indices), share
