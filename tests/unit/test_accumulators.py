"""Every statistic equals a plain recomputation, however the rows are split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sitegen.config import ContextConfig
from sitegen.maths.deferred import read_numbers
from sitegen.sweep.accumulators import N_CELLS, ActivationHistogram
from sitegen.sweep.batch import ActiveBatch
from sitegen.sweep.state import CPU, SweepState
from sitegen.sweep.windows import mix

FEATURE_IDS = [3, 5, 90, 91]
N_FEATURES = len(FEATURE_IDS)
FIELDS = ("feature", "activation", "token_index", "text_key", "may_peak")
CONTEXTS = ContextConfig(n_top=3, n_intervals=4, n_per_interval=2)


def make_active_entries(seed: int, n: int) -> dict[str, np.ndarray]:
    """Active entries of several features, with repeated texts and activations over many powers of two."""
    rng = np.random.default_rng(seed)
    token_index = rng.permutation(max(1, 5 * n))[:n]
    return {
        "feature": rng.integers(0, N_FEATURES, n),
        "activation": np.exp2(rng.integers(-12, 5, n) + rng.integers(0, 3, n) / 4).astype(
            np.float32
        ),
        "token_index": token_index.astype(np.int64),
        "text_key": rng.integers(0, max(2, n // 2), n),
        "may_peak": rng.random(n) > 0.1,
    }


def batch_of(entries: dict[str, np.ndarray], chosen: np.ndarray) -> ActiveBatch:
    """Some of the active entries as a batch, ordered by feature, then token index."""
    order = chosen[np.lexsort((entries["token_index"][chosen], entries["feature"][chosen]))]
    feature, activation, token_index, text_key, may_peak = (
        torch.from_numpy(entries[name][order]) for name in FIELDS
    )
    n = len(chosen)
    return ActiveBatch(feature, activation, token_index, text_key, may_peak, n)


def add(state: SweepState, batch: ActiveBatch) -> None:
    """Add a batch as the sweep does, which settles the lists before each."""
    state.settle(read_numbers(state.unsettled()) if state.unsettled() else [])
    state.update(batch)


@pytest.fixture(autouse=True)
def merged_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge the lists after a few entries, so that the few of these tests are merged as many times as in a sweep."""
    monkeypatch.setattr("sitegen.sweep.best_lists.MERGED_FROM", 10)


def whole(entries: dict[str, np.ndarray]) -> SweepState:
    state = SweepState(FEATURE_IDS, CONTEXTS)
    state.update(batch_of(entries, np.arange(len(entries["token_index"]))))
    return state


def assert_same(one: SweepState, other: SweepState) -> None:
    for name, accumulator in one.accumulators.items():
        theirs = other.accumulators[name].arrays()
        for field, array in accumulator.arrays().items():
            if field == "activation_sum":
                np.testing.assert_allclose(array, theirs[field], rtol=1e-12)
            else:
                np.testing.assert_array_equal(array, theirs[field], err_msg=f"{name}.{field}")


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 200),
    cuts=st.lists(st.integers(0, 200), max_size=5),
)
def test_any_split_merges_to_the_result_of_one_pass(seed: int, n: int, cuts: list[int]) -> None:
    entries = make_active_entries(seed, n)
    merged = SweepState(FEATURE_IDS, CONTEXTS)
    order = np.argsort(entries["token_index"])
    for part in np.split(order, sorted(min(cut, n) for cut in cuts)):
        state = SweepState(FEATURE_IDS, CONTEXTS)
        for piece in np.array_split(part, 4):
            add(state, batch_of(entries, piece))
        merged.merge(state)
    assert_same(merged, whole(entries))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 200))
def test_merging_in_another_order_changes_nothing(seed: int, n: int) -> None:
    entries = make_active_entries(seed, n)
    parts = np.array_split(np.random.default_rng(seed).permutation(n), 3)
    merged = SweepState(FEATURE_IDS, CONTEXTS)
    for part in parts:
        state = SweepState(FEATURE_IDS, CONTEXTS)
        state.update(batch_of(entries, np.sort(part)))
        merged.merge(state)
    assert_same(merged, whole(entries))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 300),
    cuts=st.lists(st.integers(0, 300), max_size=6),
)
def test_parts_pruned_against_the_total_merge_to_the_same_result(
    seed: int, n: int, cuts: list[int]
) -> None:
    entries = make_active_entries(seed, n)
    merged = SweepState(FEATURE_IDS, CONTEXTS)
    for part in np.split(np.argsort(entries["token_index"]), sorted(min(cut, n) for cut in cuts)):
        state = SweepState(FEATURE_IDS, CONTEXTS)
        state.prune_against(merged)
        for piece in np.array_split(part, 4):
            add(state, batch_of(entries, piece))
        merged.merge(state)
    assert_same(merged, whole(entries))


def test_a_later_part_is_smaller_when_pruned_against_the_total() -> None:
    entries = make_active_entries(3, 400)
    first, second = np.array_split(np.argsort(entries["token_index"]), 2)
    total = SweepState(FEATURE_IDS, CONTEXTS)
    total.update(batch_of(entries, first))
    n_kept = []
    for is_pruned in (False, True):
        state = SweepState(FEATURE_IDS, CONTEXTS)
        if is_pruned:
            state.prune_against(total)
        state.update(batch_of(entries, second))
        n_kept.append(len(state.top.lists.entries()) + len(state.samples.lists.entries()))
    assert n_kept[1] < n_kept[0]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 300))
def test_top_contexts_are_the_largest_of_distinct_texts(seed: int, n: int) -> None:
    entries = make_active_entries(seed, n)
    held = whole(entries).top.lists.entries()
    for feature in range(N_FEATURES):
        mine = np.flatnonzero((entries["feature"] == feature) & entries["may_peak"])
        ordered = sorted(mine, key=lambda i: (-entries["activation"][i], entries["token_index"][i]))
        best: dict[int, int] = {}
        for i in ordered:
            best.setdefault(int(entries["text_key"][i]), int(entries["token_index"][i]))
        assert (
            held.token_index[held.feature == feature].tolist()
            == list(best.values())[: CONTEXTS.n_top]
        )


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 300))
def test_samples_have_the_smallest_hashes_of_their_cell(seed: int, n: int) -> None:
    entries = make_active_entries(seed, n)
    samples = whole(entries).samples
    held = samples.lists.entries()
    cell_of = samples.scale.cells(held.feature, held.activation)
    for feature, feature_id in enumerate(FEATURE_IDS):
        mine = np.flatnonzero((entries["feature"] == feature) & entries["may_peak"])
        salt = mix(torch.tensor([feature_id + 1]))
        width = 2.0 ** int(samples.scale.exponent[feature]) / N_CELLS
        for cell in range(N_CELLS):
            strength = entries["activation"][mine]
            inside = mine[(strength > cell * width) & (strength <= (cell + 1) * width)]
            mixed = mix(torch.from_numpy(entries["text_key"][inside]) ^ salt)
            rank = mixed.numpy().view(np.uint64) >> np.uint64(32)
            first: dict[int, int] = {}
            for i in np.lexsort((entries["token_index"][inside], rank)):
                first.setdefault(
                    int(entries["text_key"][inside[i]]), int(entries["token_index"][inside[i]])
                )
            is_mine = (held.feature == feature) & (cell_of == cell)
            found = held.token_index[is_mine].tolist()
            assert found == list(first.values())[: samples.lists.length]


def test_the_histogram_counts_every_activation_in_its_cell() -> None:
    entries = make_active_entries(1, 500)
    histogram = whole(entries).histogram
    for feature in range(N_FEATURES):
        mine = entries["activation"][(entries["feature"] == feature) & entries["may_peak"]]
        width = 2.0 ** int(histogram.scale.exponent[feature]) / N_CELLS
        for cell, count in enumerate(histogram.counts[feature]):
            assert count == ((mine > cell * width) & (mine <= (cell + 1) * width)).sum()
        assert np.flatnonzero(histogram.counts[feature])[-1] + 1 >= N_CELLS // 2


@pytest.mark.parametrize("activation", [1.0, np.float32(2.0**-140), 65504.0])
def test_powers_of_two_and_extremes_have_a_cell(activation: float) -> None:
    histogram = ActivationHistogram(1, CPU)
    zero, value = torch.zeros(1, dtype=torch.int64), torch.tensor([activation])
    histogram.update(ActiveBatch(zero, value, zero, zero, torch.tensor([True]), 1))
    assert histogram.counts.sum() == 1


def test_sums_of_two_features_by_hand() -> None:
    batch = ActiveBatch(
        feature=torch.tensor([0, 0, 2]),
        activation=torch.tensor([1.5, 0.25, 3.0]),
        token_index=torch.tensor([1, 4, 0]),
        text_key=torch.tensor([7, 8, 9]),
        may_peak=torch.tensor([True, True, False]),
        n_positions=6,
    )
    state = SweepState([0, 1, 2], CONTEXTS)
    state.update(batch)
    assert state.counts.n_active.tolist() == [2, 0, 1]
    assert state.counts.activation_sum.tolist() == [1.75, 0.0, 3.0]
    assert state.counts.max_activation.tolist() == [1.5, 0.0, 0.0]
    assert state.counts.max_special.tolist() == [0.0, 0.0, 3.0]
    assert state.counts.n_active_special.tolist() == [0, 0, 1]
    held = state.top.lists.entries()
    assert held.feature.tolist() == [0, 0]
    assert held.token_index.tolist() == [1, 4]
