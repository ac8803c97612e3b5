"""Window hashes depend on the tokens of a window, and on nothing else."""

from __future__ import annotations

import numpy as np

from sitegen.sweep.windows import ContextWindow


def test_equal_windows_and_only_those_have_equal_keys() -> None:
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 3, (40, 12)).astype(np.int32)
    keys = ContextWindow(2, 1).array_keys(rows)
    seen: dict[tuple[int, ...], int] = {}
    for row in range(40):
        for position in range(12):
            start = max(0, position - 2)
            window = (position - start, *rows[row, start : position + 2].tolist())
            assert seen.setdefault(window, int(keys[row, position])) == int(keys[row, position])
    assert len(set(seen.values())) == len(seen)


def test_order_of_tokens_matters() -> None:
    rows = np.array([[1, 5, 6, 7], [1, 6, 5, 7]], np.int32)
    keys = ContextWindow(3, 3).array_keys(rows)
    assert len(set(keys.reshape(-1).tolist())) == 8


def test_a_window_may_have_no_tokens_around_its_peak() -> None:
    keys = ContextWindow(0, 0).array_keys(np.array([[4, 4, 9]], np.int32))
    assert keys[0, 0] == keys[0, 1]
    assert keys[0, 0] != keys[0, 2]
