"""Similarity of features by sparse products, against the same with every pair of features in a dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from sitegen.analysis import similarity
from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.sample import SampleActivations
from sitegen.analysis.similarity import coactive_features, correlation_matches, share_contexts
from sitegen.maths.geometry import Matches

N_TOKENS, SEQ_LEN, N_ROWS = 60, 10, 6
SEEDS = range(12)
# Multiplications at once: blocks of one row, of a few, of all
BLOCKS = (1, 500, 2**22)


@pytest.fixture(params=BLOCKS, autouse=True)
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "PRODUCTS_AT_ONCE", request.param)


def random_activations(random: np.random.Generator, n_features: int) -> np.ndarray:
    """Activations [n_features, n_tokens] float64: small whole numbers, so that sums are exact and ties are common."""
    density = random.choice([0, 0.02, 0.2, 0.7, 1], (n_features, 1))
    active = random.random((n_features, N_TOKENS)) < density
    found = active * random.integers(1, 4, (n_features, N_TOKENS)).astype(np.float64)
    found[random.integers(n_features)] = found[0]
    # Never active together with a feature that is inactive there
    found[:, :2] = 0
    found[random.integers(n_features), 0] = 1
    return found


def sampled(dense: np.ndarray) -> SampleActivations:
    return SampleActivations(csr_array(dense))


def best_of(measure: np.ndarray, k: int) -> np.ndarray:
    """The k columns of each row with the largest measure, of equal ones the smallest; -1 where it is 0 or less."""
    order = np.argsort(-measure, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(measure, order, 1) > 0, order, -1)


@pytest.mark.parametrize("seed", SEEDS)
def test_co_activation_equals_that_of_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    n_features, k = int(random.integers(1, 40)), int(random.integers(1, 9))
    dense = random_activations(random, n_features)
    chosen = np.flatnonzero(random.random(n_features) < 0.8)
    is_active = (dense > 0).astype(np.int64)
    n_both = is_active @ is_active.T
    n_either = is_active.sum(1)[:, None] + is_active.sum(1) - n_both
    jaccard = np.where(n_both >= 3, n_both / np.maximum(n_either, 1), 0)
    np.fill_diagonal(jaccard, 0)
    expected = best_of(jaccard[chosen], min(k, n_features - 1))
    found = coactive_features(sampled(dense), chosen, k)
    assert np.array_equal(found.index, expected)
    is_listed = expected >= 0
    for name, of_pairs in (("jaccard", jaccard), ("n_both", n_both)):
        values = np.take_along_axis(of_pairs[chosen], expected, 1)
        assert np.array_equal(getattr(found, name), np.where(is_listed, values, 0)), name


@pytest.mark.parametrize("seed", SEEDS)
def test_shared_contexts_equal_those_of_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    n_features, k = int(random.integers(1, 25)), int(random.integers(1, 9))
    is_peak = random.random((n_features, N_ROWS * SEQ_LEN)) < random.choice([0, 0.1, 0.3])
    feature, token = np.nonzero(is_peak)
    position = token % SEQ_LEN
    start, end = np.maximum(position - 3, 0), np.minimum(position + 3, SEQ_LEN)
    shared = np.zeros((n_features, n_features), np.int64)
    for i, row, low, high in zip(feature, token // SEQ_LEN, start, end, strict=True):
        shared[i] += is_peak[:, row * SEQ_LEN + low : row * SEQ_LEN + high].any(1)
    np.fill_diagonal(shared, 0)
    nothing = np.zeros(len(feature))
    table = ContextTable(
        feature=feature,
        interval=np.full(len(feature), TOP_GROUP),
        rank=nothing,
        row=token // SEQ_LEN,
        position=position,
        start=start,
        end=end,
        activation=nothing,
        text_key=nothing,
    )
    expected = best_of(shared, min(k, n_features - 1))
    index, count = share_contexts(table, n_features, SEQ_LEN, k)
    assert np.array_equal(index, expected)
    values = np.take_along_axis(shared, expected, 1)
    assert np.array_equal(count, np.where(expected >= 0, values, 0))


@pytest.mark.parametrize("seed", SEEDS)
def test_correlation_matches_equal_those_of_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    one = random_activations(random, int(random.integers(2, 30)))
    other = random_activations(random, int(random.integers(2, 30)))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread, other_spread = (
            np.sqrt(np.square(dense).mean(1) - np.square(dense.mean(1))) for dense in (one, other)
        )
        products = one @ other.T / N_TOKENS - one.mean(1)[:, None] * other.mean(1)
        correlation = (products / (spread[:, None] * other_spread)).astype(np.float32)
    correlation[~np.isfinite(correlation)] = -np.inf
    matches, back = correlation_matches(sampled(one), sampled(other))
    require_best(matches, correlation)
    require_best(back, correlation.T)
    mutual = [
        i >= 0 and int(back.index[i]) == feature for feature, i in enumerate(matches.index.tolist())
    ]
    assert matches.mutual.tolist() == mutual


def require_best(matches: Matches, correlation: np.ndarray) -> None:
    """Require the first largest of each row."""
    largest = correlation.max(1)
    expected = np.where(largest > -np.inf, correlation.argmax(1), -1)
    assert np.array_equal(matches.value.numpy(), largest)
    assert np.array_equal(matches.index.numpy(), expected)
