"""Formulas against hand-computed examples and plain float64 versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sitegen.maths.encoder import Encoder, feature_activations
from sitegen.maths.logits import logit_effects, logit_extremes, logit_histograms


def test_activations_of_two_features_by_hand() -> None:
    W_enc = torch.tensor([[1.0, -1.0], [2.0, 0.5]])
    encoder = Encoder(W_enc, torch.tensor([0.5, 0.0]), torch.tensor([1.0, 0.0]), "fp32")
    firings = encoder.firings(torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0]]))
    # (x - b_dec) W_enc + b_enc: [0.5, 0], [3.5, -0.5], [1.5, 1.5]
    assert firings.feature.tolist() == [0, 0, 0, 1]
    assert firings.token.tolist() == [0, 1, 2, 2]
    assert firings.activation.tolist() == [0.5, 3.5, 1.5, 1.5]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_firings_equal_float64(precision: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 33, generator=generator)
    W_enc = torch.randn(33, 71, generator=generator)
    b_enc = torch.randn(71, generator=generator) - 4
    b_dec = torch.randn(33, generator=generator)
    expected = torch.relu((x.double() - b_dec) @ W_enc.double() + b_enc).T.numpy()
    firings = Encoder(W_enc, b_enc, b_dec, precision).firings(x)
    found = np.zeros_like(expected)
    found[firings.feature, firings.token] = firings.activation
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (found > 0).sum() == (expected > 0).sum()
    assert firings.feature.tolist() == sorted(firings.feature.tolist())


def test_one_feature_over_its_own_tokens() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 4, 5, generator=generator)
    columns, bias, b_dec = torch.randn(3, 5, generator=generator), torch.randn(3), torch.randn(5)
    found = feature_activations(x, columns, bias, b_dec)
    for i in range(3):
        torch.testing.assert_close(found[i], torch.relu((x[i] - b_dec) @ columns[i] + bias[i]))


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
