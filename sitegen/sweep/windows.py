"""The window of tokens that is shown around a peak, and hashes of windows, by which copies of a text are recognised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sitegen.config import ContextConfig

# Base of the polynomial hash: 2^64 divided by the golden ratio, an odd number without a pattern in its bits
_BASE = np.uint64(0x9E3779B97F4A7C15)
# More than the tokens of any row, so that a start and a length fit into one number without overlap
_MOST_TOKENS = 65536


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

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """Hash the window around every position, [n_rows, seq_len] uint64.

        rows     [n_rows, seq_len] token ids
        returns  equal keys where two windows hold the same tokens with the position at the same place in them;
                 otherwise different keys, except for a chance of 2^-64
        """
        n_rows, seq_len = rows.shape
        # `mix` maps 0 to 0, hence token + 1
        tokens = mix(rows.astype(np.uint64) + np.uint64(1))
        # Polynomial hash of every beginning of a row: prefix[j + 1] = prefix[j] * base + tokens[j], modulo 2^64
        prefix = np.zeros((n_rows, seq_len + 1), np.uint64)
        for j in range(seq_len):
            prefix[:, j + 1] = prefix[:, j] * _BASE + tokens[:, j]
        powers = np.array([pow(int(_BASE), j, 1 << 64) for j in range(seq_len + 1)], np.uint64)
        position = np.arange(seq_len)
        start, end = self.bounds(position, seq_len)
        # Hash of tokens[start:end] alone, at the same cost for a window of any width
        content = prefix[:, end] - prefix[:, start] * powers[end - start]
        # A window that a row's end cuts is another context than the same tokens around another position
        offset = mix(((position - start) * _MOST_TOKENS + (end - start)).astype(np.uint64) + _BASE)
        return mix(content ^ offset)


def mix(values: np.ndarray) -> np.ndarray:
    """Scatter integers over all of uint64; equal values give equal results, and no two values give the same.

    source  the finaliser of SplitMix64 (Steele, Lea, Flood 2014)
    """
    mixed = values.astype(np.uint64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
