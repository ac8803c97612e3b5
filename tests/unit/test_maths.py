"""Formulas against hand-computed examples and plain float64 versions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from sitegen.errors import PrecisionError
from sitegen.maths import clusters, geometry
from sitegen.maths.ablation import Ablation, FinalLayer
from sitegen.maths.encoder import ActivationSearch, ActiveEntries, Encoder
from sitegen.maths.extremes import find_extremes
from sitegen.maths.geometry import (
    MatchSearch,
    cosine_matches,
    nearest,
    rare_cosines,
    strongest_neurons,
    unit_rows,
)
from sitegen.maths.logits import logit_effects, logit_extremes, logit_histograms
from sitegen.maths.removal import Removals, Remover, Streams


def test_activations_of_two_features_by_hand() -> None:
    W_enc = torch.tensor([[1.0, -1.0], [2.0, 0.5]])
    encoder = Encoder(W_enc, torch.tensor([0.5, 0.0]), torch.tensor([1.0, 0.0]))
    x = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
    entries = ActivationSearch(encoder, "fp32").active_entries(x)
    # (x - b_dec) W_enc + b_enc: [0.5, 0], [3.5, -0.5], [1.5, 1.5]
    assert entries.feature.tolist() == [0, 0, 0, 1]
    assert entries.token.tolist() == [0, 1, 2, 2]
    assert entries.activation.tolist() == [0.5, 3.5, 1.5, 1.5]


@dataclass(frozen=True)
class Case:
    """An encoder and hook-point activations, with biases and norms over several powers of two."""

    x: torch.Tensor
    W_enc: torch.Tensor
    b_enc: torch.Tensor
    b_dec: torch.Tensor

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.W_enc, self.b_enc, self.b_dec)


def make_case(seed: int) -> Case:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    x = normal(50, 33) * torch.exp2(3 * normal(50, 1))  # a few tokens far longer than the others
    W_enc = normal(33, 71) * torch.exp2(2 * normal(71))
    return Case(x, W_enc, normal(71) * 10 - 5, normal(33))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_active_entries_equal_float64(precision: str, seed: int) -> None:
    case = make_case(seed)
    expected = torch.relu((case.x.double() - case.b_dec) @ case.W_enc.double() + case.b_enc).T
    entries = ActivationSearch(case.encoder, precision).active_entries(case.x)
    found = torch.zeros_like(expected)
    found[entries.feature, entries.token] = entries.activation.double()
    lengths = case.encoder.columns.norm(dim=1)[:, None] * (case.x - case.b_dec).norm(dim=1)
    assert ((found - expected).abs() <= 1e-6 * (lengths + case.b_enc.abs()[:, None])).all()
    assert (found > 0).sum() == (expected > 0).sum()
    assert entries.feature.tolist() == sorted(entries.feature.tolist())
    assert 0 < entries.largest_error < 1


@pytest.mark.parametrize("slice_width", [10, 512])
def test_activations_are_the_exact_sums_rounded_once(
    slice_width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each float64 sum is compared with `math.fsum`, which adds up without any rounding error."""
    monkeypatch.setattr("sitegen.maths.encoder.SLICE_WIDTH", slice_width)
    case = make_case(7)
    entries = ActivationSearch(case.encoder, "fp32").active_entries(case.x)
    centred = (case.x - case.b_dec).double()
    n_compared = 0
    for feature, token, found in zip(
        entries.feature.tolist(), entries.token.tolist(), entries.activation, strict=True
    ):
        # Products of float32 numbers are exact in float64
        terms = (centred[token] * case.W_enc[:, feature].double()).tolist()
        exact = math.fsum([*terms, float(case.b_enc[feature])])
        assert found == torch.tensor(exact, dtype=torch.float64).float()
        n_compared += 1
    assert n_compared > 500


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
@pytest.mark.parametrize("seed", range(10))
def test_every_precision_finds_the_same_entries_to_the_bit(precision: str, seed: int) -> None:
    case = make_case(seed)
    exact = ActivationSearch(case.encoder, "fp32").active_entries(case.x)
    found = ActivationSearch(case.encoder, precision).active_entries(case.x)
    assert torch.equal(found.feature, exact.feature)
    assert torch.equal(found.token, exact.token)
    assert torch.equal(found.activation, exact.activation)


def test_an_activation_does_not_depend_on_the_batch_it_is_found_in() -> None:
    case = make_case(4)
    search = ActivationSearch(case.encoder, "fp32")
    whole = search.active_entries(case.x)
    parts = [search.active_entries(case.x[i : i + 7]).to_cpu(i) for i in range(0, len(case.x), 7)]
    joined = ActiveEntries.joined(parts)
    assert torch.equal(joined.feature, whole.feature)
    assert torch.equal(joined.token, whole.token)
    assert torch.equal(joined.activation, whole.activation)


def test_a_product_that_is_off_by_more_than_its_bound_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = make_case(5)
    for module in ("encoder", "error_bound"):
        name = f"sitegen.maths.{module}.measure_lengths"
        monkeypatch.setattr(name, lambda rows: rows.new_zeros(len(rows)))
    search = ActivationSearch(case.encoder, "bf16")
    with pytest.raises(PrecisionError, match="give --precision fp32"):
        search.active_entries(case.x)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
@pytest.mark.parametrize("scale", [1e-39, 1e-24, 1e-12, 1e12])
def test_weights_of_any_size_lose_no_active_entry(precision: str, scale: float) -> None:
    case = make_case(8)
    W_enc = case.W_enc * torch.where(torch.arange(71) % 4 == 1, scale, 1.0)
    encoder = Encoder(W_enc, torch.zeros(71), case.b_dec)
    found = ActivationSearch(encoder, precision).active_entries(case.x)
    centred = encoder.centre(case.x)
    every = torch.arange(71).repeat_interleave(len(centred)), torch.arange(len(centred)).repeat(71)
    expected = encoder.pre_activations(centred, *every)
    assert torch.equal(found.activation, expected[expected > 0])


def test_weights_that_overflow_are_refused() -> None:
    case = make_case(6)
    search = ActivationSearch(Encoder(case.W_enc * 1e38, case.b_enc, case.b_dec), "fp32")
    with pytest.raises(PrecisionError, match="far too large"):
        search.active_entries(case.x)


def test_logit_effects_of_one_feature_by_hand() -> None:
    W_dec, W_out, W_U = (
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[1.0], [3.0]]),
        torch.tensor([[1.0, -1.0, 0.5]]),
    )
    assert logit_effects(W_dec, W_out, W_U).tolist() == [[7.0, -7.0, 3.5]]
    assert logit_effects(W_dec, None, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == [
        [1.0, 2.0]
    ]


@pytest.mark.parametrize("largest", [True, False])
def test_extremes_break_ties_by_token_id(largest: bool) -> None:
    effects = torch.tensor(
        [[0.0, 2.0, 2.0, 2.0, -1.0, -1.0, -1.0], [5.0, 1.0, 2.0, 3.0, -4.0, 0.0, 6.0]]
    )
    extremes = logit_extremes(effects, 2, largest)
    expected = [[1, 2], [6, 0]] if largest else [[4, 5], [4, 5]]
    assert extremes.token_id.tolist() == expected
    torch.testing.assert_close(
        extremes.probability,
        torch.softmax(effects, 1).gather(1, extremes.token_id),
        rtol=1e-5,
        atol=0,
    )


def test_logit_histogram_agrees_with_numpy_and_takes_equal_effects() -> None:
    effects = torch.randn(3, 500, generator=torch.Generator().manual_seed(5))
    effects[2] = 1.25
    edges, counts = logit_histograms(effects, 10)
    for i in range(2):
        expected = np.histogram(effects[i].numpy(), edges[i].numpy())[0]
        assert counts[i].tolist() == expected.tolist()
    assert counts[2].tolist() == [0] * 9 + [500]


def test_effects_at_and_between_edges_are_counted_as_a_search_finds_them() -> None:
    """Also where the range is so small beside the effects that edges are equal."""
    effects = torch.randn(40, 900, generator=torch.Generator().manual_seed(6))
    effects[1] = torch.arange(900) % 11  # on the edges themselves
    effects[2] = 1 + torch.arange(900) % 3 * 2.0**-23
    edges, counts = logit_histograms(effects, 10)
    for row, own, found in zip(effects, edges, counts, strict=True):
        bins = torch.searchsorted(own, row, right=True).sub(1).clamp(0, 9)
        assert found.tolist() == torch.bincount(bins, minlength=10).tolist()


def test_nearest_directions_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    index, cosine = nearest(rows, torch.tensor([0, 3]), 2)
    assert index[0].tolist() == [1, 2]
    assert cosine[0].tolist() == pytest.approx([1.0, 0.6])
    assert cosine[1].tolist() == [0.0, 0.0]  # a row of zeros has no direction


def test_mutual_matches_are_recognised() -> None:
    search = MatchSearch(3, 2)
    search.add(0, torch.tensor([[0.9, 0.1], [0.95, 0.2]]))
    search.add(2, torch.tensor([[-0.3, -0.1]]))
    there, back = search.found()
    assert there.index.tolist() == [0, 0, 1]
    assert there.mutual.tolist() == [False, True, False]
    assert back.index.tolist() == [1, 1]
    assert back.mutual.tolist() == [True, False]


def test_strongest_neurons_by_hand() -> None:
    neuron, weight, share = strongest_neurons(torch.tensor([[1.0, -3.0, 0.0]]), 2)
    assert neuron.tolist() == [[1, 0]]
    assert weight.tolist() == [[-3.0, 1.0]]
    assert share.tolist() == [[0.75, 0.25]]


def test_rare_direction_by_hand() -> None:
    columns = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0], [-1.0, 0.0]])
    cosines = rare_cosines(columns, torch.tensor([True, True, False, False]))
    assert cosines is not None
    assert cosines.tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 1.0, -(0.5**0.5)])
    assert rare_cosines(columns, torch.zeros(4, dtype=torch.bool)) is None


@dataclass(frozen=True)
class RandomRemovals:
    """Random features of four, removed from random streams before a random final layer; `strength` scales both."""

    final: FinalLayer
    written: Tensor
    residual: Tensor
    next_id: Tensor
    removals: Removals

    @classmethod
    def of(cls, d_vocab: int, strength: float = 1.0, n: int = 150) -> RandomRemovals:
        generator = torch.Generator().manual_seed(d_vocab)
        d_model, n_tokens = 12, 6
        weights = torch.randn(d_model, d_vocab, generator=generator)
        final = FinalLayer(weights, torch.randn(d_vocab, generator=generator), 1e-5)
        token = torch.randint(0, n_tokens, (n,), generator=generator).sort().values
        feature = torch.randint(0, 4, (n,), generator=generator)
        return cls(
            final,
            torch.randn(4, d_model, generator=generator),
            strength * torch.randn(n_tokens, d_model, generator=generator),
            torch.tensor([0, 1, 2, 3, 4, -1]),
            Removals(feature, token, strength * 3 * torch.rand(n, generator=generator)),
        )

    def found(self, k: int) -> Ablation:
        streams = Streams(self.final.centre(self.residual), self.next_id)
        return Remover(self.final, self.written).remove(streams, self.removals, k)

    def require_two_softmaxes(self, found: Ablation, k: int) -> None:
        """Compare with the log-probabilities of both streams in float64."""
        final, removals = self.final, self.removals
        double = FinalLayer(final.W_U.double(), final.b_U.double(), final.epsilon)
        with_it = self.residual[removals.token].double()
        left = with_it - removals.activation[:, None].double() * self.written[removals.feature]
        change = torch.log_softmax(double.logits(with_it), 1)
        change -= torch.log_softmax(double.logits(left), 1)
        assert_close = partial(torch.testing.assert_close, atol=2e-5, rtol=1e-4, check_dtype=False)
        for ids, changes, largest in (
            (found.promoted_id, found.promoted_change, True),
            (found.suppressed_id, found.suppressed_change, False),
        ):
            expected = change.sort(1, descending=largest).values[:, :k]
            assert_close(changes, expected)
            assert_close(change.gather(1, ids), expected)
            assert (ids.sort(1).values.diff(dim=1) > 0).all()  # no token twice
        follows = self.next_id[removals.token]
        expected = change.gather(1, follows.clamp(min=0)[:, None])[:, 0]
        assert torch.isnan(found.loss_change).tolist() == (follows < 0).tolist()
        known = follows >= 0
        assert_close(found.loss_change[known], expected[known])


@pytest.mark.parametrize("d_vocab", [7, 64, 333, 4097])
def test_ablation_equals_two_softmaxes(d_vocab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    example = RandomRemovals.of(d_vocab)
    example.require_two_softmaxes(example.found(5), 5)
    # In many parts and blocks, none of which is whole
    monkeypatch.setattr("sitegen.maths.removal.COLUMNS_AT_ONCE", 37)
    monkeypatch.setattr("sitegen.maths.removal.STREAMS_AT_ONCE", 4)
    monkeypatch.setattr("sitegen.maths.removal.REMOVALS_AT_ONCE", 11)
    monkeypatch.setattr("sitegen.maths.removal.ROWS_AT_ONCE", 3)
    example.require_two_softmaxes(example.found(5), 5)


@pytest.mark.parametrize("n_candidates", [60, 300])
def test_lists_that_the_candidates_lack_are_taken_from_the_whole_vocabulary(
    n_candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some candidates lack a token and others do not; without the search for more, some lists are wrong."""
    monkeypatch.setattr("sitegen.maths.removal.N_CANDIDATES", n_candidates)
    example = RandomRemovals.of(4097)
    n_searched = []
    without = Remover._without

    def counted(self: Remover, streams: Streams, removals: Removals) -> tuple[Tensor, Tensor]:
        n_searched.append(len(removals.token))
        return without(self, streams, removals)

    with monkeypatch.context() as patched:
        patched.setattr(Remover, "_without", counted)
        example.require_two_softmaxes(example.found(5), 5)
    assert n_searched[0] == 150  # all removals are weighed first
    assert 0 < sum(n_searched[1:]) < 150
    monkeypatch.setattr(Remover, "_search_everywhere", lambda *_: None)
    with pytest.raises(AssertionError):
        example.require_two_softmaxes(example.found(5), 5)


def test_a_feature_without_effect_changes_nothing() -> None:
    """Its effects are all equal, so a token could be among the largest and among the smallest candidates."""
    example = replace(RandomRemovals.of(333), written=torch.ones(4, 12))  # the norm subtracts it
    found = example.found(5)
    assert found.promoted_change.abs().max() < 1e-5
    assert found.suppressed_change.abs().max() < 1e-5
    assert (found.promoted_id.sort(1).values.diff(dim=1) > 0).all()


def test_logits_that_rise_beyond_float32s_exponentials_are_removed_all_the_same() -> None:
    """Without the feature, which is nearly all of the stream, the norm makes of the rest what it made of the whole."""
    example = RandomRemovals.of(333)
    written = torch.zeros(4, 12)
    written[:, 0] = 1e4
    residual = example.residual + written[0]
    final = replace(example.final, W_U=40 * example.final.W_U)
    ones = Removals(example.removals.feature, example.removals.token, torch.ones(150))
    example = RandomRemovals(final, written, residual, example.next_id, ones)
    found = example.found(5)
    assert torch.isfinite(found.promoted_change).all()
    double = FinalLayer(final.W_U.double(), final.b_U.double(), final.epsilon)
    before, after = (
        torch.log_softmax(double.logits(stream.double()), 1)[ones.token]
        for stream in (residual, residual - written[0])
    )
    expected = (before - after).sort(1).values[:, :5]
    torch.testing.assert_close(found.suppressed_change.double(), expected, atol=0.1, rtol=1e-3)


def test_losses_with_added_vectors_equal_those_of_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sitegen.maths.ablation.STREAMS_AT_ONCE", 5)
    monkeypatch.setattr("sitegen.maths.ablation.LOSSES_AT_ONCE", 2)
    example = RandomRemovals.of(333)
    final = replace(
        example.final, W_U=30 * example.final.W_U
    )  # some probabilities are below float32's least
    residual, added = torch.randn(17, 12), torch.randn(3, 12)
    next_id = torch.arange(17)
    found = final.losses(residual, next_id, added)
    for losses, vector in zip(found, added, strict=True):
        log_p = torch.log_softmax(final.logits(residual + vector).double(), 1)
        expected = -log_p.gather(1, next_id[:, None])[:, 0]
        torch.testing.assert_close(losses.double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("width", "k"), [(5, 5), (333, 5), (4097, 128), (4096, 1), (4099, 60)])
def test_extremes_are_those_of_a_sort(width: int, k: int, largest: bool) -> None:
    values = torch.randn(7, width, generator=torch.Generator().manual_seed(width + k))
    found = find_extremes(values, k, largest)
    expected = values.sort(1, descending=largest)
    assert torch.equal(found.value, expected.values[:, :k])
    assert torch.equal(found.column, expected.indices[:, :k])


def test_a_search_in_clusters_finds_true_cosines_and_nearly_all_of_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    families = torch.randn(60, 32, generator=generator).repeat_interleave(20, 0)
    rows = families + 0.4 * torch.randn(1200, 32, generator=generator)
    chosen = torch.arange(3, 1200)
    exact_index, exact_cosine = nearest(rows, chosen, 4)
    one, other = cosine_matches(rows, rows[::2])
    monkeypatch.setattr(geometry, "MOST_PAIRS", 1000)
    monkeypatch.setattr(clusters, "N_PROBED", 8)  # of 35
    index, cosine = nearest(rows, chosen, 4)
    assert (index == exact_index).float().mean() > 0.95
    assert not (index == chosen[:, None]).any()
    units = unit_rows(rows)
    true = (units[chosen][:, None] * units[index]).sum(2)
    torch.testing.assert_close(cosine, true, atol=1e-6, rtol=0)
    assert (cosine.diff(dim=1) <= 0).all()
    assert (cosine <= exact_cosine + 1e-6).all()
    found, back = cosine_matches(rows, rows[::2])
    # Every second row is its own match
    assert found.index[::2].tolist() == list(range(600))
    assert (found.index == one.index).float().mean() > 0.95
    assert torch.equal(back.index, other.index)
    assert found.mutual[::2].all()
