"""The window of tokens that is shown around a peak, and hashes of windows, by which copies of a text are recognised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sitegen.config import ContextConfig

# Base of the polynomial hash: 2^64 divided by the golden ratio, an odd number without a pattern in its bits
_BASE = 0x9E3779B97F4A7C15
# More than the tokens of any row, so that a start and a length fit into one number without overlap
_MOST_TOKENS = 65536
_TWO_64 = 1 << 64


@dataclass(frozen=True)
class ContextWindow:
    """The tokens from `position - n_before` to `position + n_after`, cut at the row's ends."""

    n_before: int
    n_after: int

    @classmethod
    def of(cls, contexts: ContextConfig) -> ContextWindow:
        """Make the window that the configuration's `contexts` section sets."""
        return cls(contexts.n_before, contexts.n_after)

    @property
    def width(self) -> int:
        """Number of tokens, where no end of a row cuts the window."""
        return self.n_before + 1 + self.n_after

    def bounds(self, position: np.ndarray, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
        """Compute the windows [start, end) around positions [n] in rows of `seq_len` tokens: (start [n], end [n])."""
        start = np.maximum(position - self.n_before, 0)
        end = np.minimum(position + self.n_after + 1, seq_len)
        return start, end

    def array_keys(self, rows: np.ndarray) -> np.ndarray:
        """Hash as `keys` does, from an array of token ids to an array."""
        keys: np.ndarray = self.keys(torch.from_numpy(rows.astype(np.int64))).numpy()
        return keys

    def keys(self, rows: Tensor) -> Tensor:
        """Hash the window around every position, [n_rows, seq_len] int64.

        rows     [n_rows, seq_len] int64 token ids
        returns  equal keys where two windows hold the same tokens with the position at the same place in them;
                 otherwise different keys, except for a chance of 2^-64
        """
        # `mix` maps 0 to 0, hence token + 1
        tokens = mix(rows + 1)
        tables = _tables(self, rows.shape[1], rows.device)
        prefix = rows.new_zeros(len(rows), rows.shape[1] + 1)
        prefix[:, 1:] = torch.cumsum(tokens * tables.inverse_powers, 1)
        content = (prefix[:, tables.end] - prefix[:, tables.start]) * tables.scale
        return mix(content ^ tables.cut)


@dataclass(frozen=True)
class _Tables:
    """What the hashes of windows take from the positions alone.

    The hash of tokens[start:end] is the sum of tokens[i] * base^(end - 1 - i), modulo 2^64. With the inverse of the
    base, it is the difference of two prefix sums, at the same cost for a window of any width.

    inverse_powers  [seq_len] int64: the inverse of the base to the power of each position
    start, end      [seq_len] int64: the window around each position
    scale           [seq_len] int64: the base to the power of `end - 1`
    cut             [seq_len] int64: differs where a row's end cuts the window, which makes it another context than
                    the same tokens around another position
    """

    inverse_powers: Tensor
    start: Tensor
    end: Tensor
    scale: Tensor
    cut: Tensor


@lru_cache(maxsize=16)
def _tables(window: ContextWindow, seq_len: int, device: torch.device) -> _Tables:
    """Make the tables of a window; kept, because every batch needs them."""
    position = np.arange(seq_len)
    start, end = map(torch.from_numpy, window.bounds(position, seq_len))
    cut = (torch.from_numpy(position) - start) * _MOST_TOKENS + (end - start)
    tables = (
        _powers(pow(_BASE, -1, _TWO_64), seq_len),
        start,
        end,
        _powers(_BASE, seq_len)[end - 1],
        mix(cut + as_int64(_BASE)),
    )
    return _Tables(*(table.to(device) for table in tables))


def mix(values: Tensor) -> Tensor:
    """Scatter integers over all of int64; equal values give equal results, and no two values give the same.

    Integers are taken as unsigned numbers of 64 bits, since torch computes little with unsigned ones: sums and products
    modulo 2^64 have the same bits.

    source  the finaliser of SplitMix64 (Steele, Lea, Flood 2014)
    """
    mixed = (values ^ shifted_right(values, 30)) * as_int64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ shifted_right(mixed, 27)) * as_int64(0x94D049BB133111EB)
    return mixed ^ shifted_right(mixed, 31)


def mix_array(values: np.ndarray) -> np.ndarray:
    """Scatter as `mix` does, from uint64 to uint64."""
    mixed: np.ndarray = mix(torch.from_numpy(values.view(np.int64))).numpy().view(np.uint64)
    return mixed


def shifted_right(values: Tensor, n_bits: int) -> Tensor:
    """Shift int64 values to the right as if they were unsigned."""
    return (values >> n_bits) & ((1 << (64 - n_bits)) - 1)


def as_int64(unsigned: int) -> int:
    """Return the signed number that has the same 64 bits."""
    return unsigned - _TWO_64 if unsigned >= 1 << 63 else unsigned


def _powers(base: int, n: int) -> Tensor:
    """Compute base^0, base^1, … modulo 2^64, [n] int64."""
    return torch.tensor([as_int64(pow(base, exponent, _TWO_64)) for exponent in range(n)])
