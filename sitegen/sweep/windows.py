"""Hashes of token windows, so that copies of a text are known without holding it."""

from __future__ import annotations

import numpy as np

_BASE = np.uint64(0x9E3779B97F4A7C15)


def mix(values: np.ndarray) -> np.ndarray:
    """uint64 values scattered over the whole range, equal ones alike.

    source  the finaliser of SplitMix64 (Steele, Lea, Flood 2014)
    """
    mixed = values.astype(np.uint64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def window_keys(rows: np.ndarray, n_before: int, n_after: int) -> np.ndarray:
    """[n_rows, seq_len] uint64: for each position the hash of the tokens shown around it, and of where it stands there.

    rows     [n_rows, seq_len] token ids
    returns  equal keys where the window `[position - n_before, position + n_after]`, cut at the row's ends, holds the
             same tokens with the position at the same place; different ones otherwise but for chance of 2^-64
    """
    n_rows, seq_len = rows.shape
    tokens = mix(rows.astype(np.uint64) + np.uint64(1))
    prefix = np.zeros(
        (n_rows, seq_len + 1), np.uint64
    )  # prefix[j + 1] = prefix[j] * base + tokens[j], modulo 2^64
    for j in range(seq_len):
        prefix[:, j + 1] = prefix[:, j] * _BASE + tokens[:, j]
    powers = np.array([pow(int(_BASE), j, 1 << 64) for j in range(seq_len + 1)], np.uint64)
    position = np.arange(seq_len)
    start = np.maximum(position - n_before, 0)
    end = np.minimum(position + n_after + 1, seq_len)
    content = prefix[:, end] - prefix[:, start] * powers[end - start]
    offset = mix(((position - start) * 65536 + (end - start)).astype(np.uint64) + _BASE)
    return mix(content ^ offset)
