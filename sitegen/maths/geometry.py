"""Directions held against each other: cosines, nearest ones, the rare direction, the strongest neurons."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 512
TINY = 1e-12  # below any length that means something: a vector of zeros has cosine 0 with all


@torch.no_grad()
def unit_rows(rows: Tensor) -> Tensor:
    """[n, d] float32 each row at length 1."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / length.clamp(min=TINY)


@torch.no_grad()
def nearest(rows: Tensor, chosen: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """([n_chosen, k] int64, [n_chosen, k] float32): the other rows of largest cosine, largest first.

    rows    [n, d] float32
    chosen  [n_chosen] int64: whose neighbours are sought, among all rows
    source  definitions.md, "decoder cosine"
    """
    units = unit_rows(rows)
    k = min(k, len(rows) - 1)
    found = []
    for part in torch.split(chosen, ROWS_AT_ONCE):
        cosine = units[part] @ units.T  # [n_part, n]
        cosine[torch.arange(len(part), device=rows.device), part] = -torch.inf
        found.append(torch.topk(cosine, k, dim=1))
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


@dataclass(frozen=True)
class Matches:
    """For each of some things its best match among others.

    index   [n] int64; -1 where nothing can be said
    value   [n] float32
    mutual  [n] bool: that the match's own best match is this one
    """

    index: Tensor
    value: Tensor
    mutual: Tensor


class MatchSearch:
    """Best matches both ways, from likenesses that come in blocks of rows."""

    def __init__(self, n: int, n_other: int) -> None:
        self._index = torch.full((n,), -1)
        self._value = torch.full((n,), -torch.inf)
        self._back = torch.full((n_other,), -1)
        self._back_value = torch.full((n_other,), -torch.inf)

    def add(self, first: int, likeness: Tensor) -> None:
        """Takes in the rows from `first` on: [n_rows, n_other] float32, -inf where nothing can be said."""
        value, index = likeness.cpu().max(1)
        rows = slice(first, first + len(likeness))
        self._index[rows] = torch.where(value > -torch.inf, index, -1)
        self._value[rows] = value
        value, index = likeness.cpu().max(0)
        better = value > self._back_value  # of equals the first stays
        self._back[better], self._back_value[better] = index[better] + first, value[better]

    def found(self) -> tuple[Matches, Matches]:
        """(of each row its best column, of each column its best row)."""
        return (
            _matches(self._index, self._value, self._back),
            _matches(self._back, self._back_value, self._index),
        )


def _matches(index: Tensor, value: Tensor, back: Tensor) -> Matches:
    mutual = (index >= 0) & (back[index.clamp(min=0)] == torch.arange(len(index)))
    return Matches(index, value, mutual)


@torch.no_grad()
def cosine_matches(rows: Tensor, others: Tensor) -> tuple[Matches, Matches]:
    """Each row's best match among `others` by cosine, and the other way round.

    rows, others  [n, d], [n_other, d] float32
    """
    units, other_units = unit_rows(rows), unit_rows(others)
    search = MatchSearch(len(rows), len(others))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        search.add(first, units[first : first + ROWS_AT_ONCE] @ other_units.T)
    return search.found()


@torch.no_grad()
def rare_cosines(columns: Tensor, is_rare: Tensor) -> Tensor | None:
    """[n] float32 cosine of each feature's encoder column with the mean column of the rare ones; None without any.

    columns  [n, d_hook] float32: the encoder's columns, a row each
    is_rare  [n] bool
    source   definitions.md, "rare direction"
    """
    if not bool(is_rare.any()):
        return None
    direction = columns[is_rare].mean(0, keepdim=True)
    cosines: Tensor = unit_rows(columns) @ unit_rows(direction)[0]
    return cosines


@torch.no_grad()
def strongest_neurons(W_dec: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """([n, k] int64 neurons, [n, k] their weights, [n, k] their share of the row's L1 norm), largest in size first.

    W_dec   [n, d_hook] decoder rows
    """
    size = W_dec.abs()
    top = torch.topk(size, min(k, W_dec.shape[1]), dim=1)
    share = top.values / size.sum(1, keepdim=True).clamp(min=TINY)
    return top.indices, W_dec.gather(1, top.indices), share
