"""Activation functions: which pre-activations they make activations, and how a search finds all of those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from sitegen.maths.deferred import TrueIndices
from sitegen.maths.error_bound import ROUNDED_UP, UpperBounds


class ActivationFunction(Protocol):
    """A function that keeps some pre-activations as they are and sets all others to 0."""

    # Whether features compete: only the pre-activations of all of them tell whether one is active
    needs_all_features: ClassVar[bool]

    @property
    def threshold(self) -> Tensor:
        """What a feature's pre-activation has to exceed: [d_hidden] float32, or a single 0 for all features."""

    def compare(self, pre_activation: Tensor, feature: Tensor) -> Tensor:
        """Subtract from pre-activations [n] what they have to exceed, [n] float32."""

    def find_candidates(self, bounds: UpperBounds) -> TrueIndices:
        """Find every entry that may be an activation, as indices into the flattened bounds."""

    def is_active(self, pre_activation: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        """Tell which pre-activations are activations, [n] bool.

        pre_activation, feature, token  [n], sorted by feature, no pair of feature and token twice. Where features
                                        compete, all candidates of each token.
        """


@dataclass(frozen=True)
class ReLU:
    """Keeps every pre-activation above 0."""

    needs_all_features: ClassVar[bool] = False

    @property
    def threshold(self) -> Tensor:
        return torch.zeros(())

    def compare(self, pre_activation: Tensor, feature: Tensor) -> Tensor:
        return pre_activation

    def find_candidates(self, bounds: UpperBounds) -> TrueIndices:
        return bounds.find_positive()

    def is_active(self, pre_activation: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        return pre_activation > 0


@dataclass(frozen=True)
class JumpReLU:
    """Keeps every pre-activation above its feature's threshold.

    threshold  [d_hidden] float32, none below 0
    source     Rajamanoharan et al. 2024
    """

    threshold: Tensor
    needs_all_features: ClassVar[bool] = False

    def compare(self, pre_activation: Tensor, feature: Tensor) -> Tensor:
        return pre_activation - self.threshold[feature]

    def find_candidates(self, bounds: UpperBounds) -> TrueIndices:
        return bounds.find_positive()

    def is_active(self, pre_activation: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        # Not `compare(...) > 0`: the difference of two very small numbers may be flushed to 0
        return pre_activation > self.threshold[feature]


@dataclass(frozen=True)
class TopK:
    """Keeps the k largest pre-activations of each token, of these only the ones above 0.

    Of equal pre-activations the one with the smaller feature index is kept.

    k       1 or more, at most d_hidden
    source  Gao et al. 2024
    """

    k: int
    needs_all_features: ClassVar[bool] = True

    @property
    def threshold(self) -> Tensor:
        return torch.zeros(())

    def compare(self, pre_activation: Tensor, feature: Tensor) -> Tensor:
        return pre_activation

    def find_candidates(self, bounds: UpperBounds) -> TrueIndices:
        # The cut is above 0 even where no pre-activation is, so that inactive entries are ruled out
        smallest = torch.finfo(torch.float32).tiny
        cut = (self._bound_kth_largest(bounds) / ROUNDED_UP).clamp(min=smallest)
        return TrueIndices(bounds.values >= cut.to(bounds.values.dtype))

    def is_active(self, pre_activation: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        return (pre_activation > 0) & _is_among_largest(token, pre_activation, self.k)

    def _bound_kth_largest(self, bounds: UpperBounds) -> Tensor:
        """Compute a lower bound of the k-th largest pre-activation of each token, [n_tokens] float32.

        source  docs/precision.md, "TopK"
        """
        largest = torch.topk(bounds.values, self.k, dim=0)  # [k, n_tokens]
        token = torch.arange(bounds.values.shape[1], device=bounds.values.device)
        upper = largest.values.float()
        # An upper bound exceeds its pre-activation by two margins at most, and by its own rounding: so these k
        # features, whichever they are, all reach the smallest of their lower bounds
        lower = upper - 2 * bounds.margins(largest.indices, token) - bounds.spacing * upper.abs()
        return lower.amin(0)


def make_activation_function(threshold: Tensor, k: int = 0) -> ActivationFunction:
    """Make the function with thresholds [d_hidden] float32, none below 0, or with a k of 1 or more."""
    has_thresholds = bool(threshold.any())
    if k:
        assert not has_thresholds, "no architecture has both a k and thresholds"
        return TopK(k)
    return JumpReLU(threshold) if has_thresholds else ReLU()


def _is_among_largest(token: Tensor, value: Tensor, k: int) -> Tensor:
    """Tell which values are among the k largest of their token, [n] bool; of equal values the first are."""
    # Two stable sorts: within each token the values then fall, and equal ones stay in the order they came in
    by_value = torch.sort(value, descending=True, stable=True).indices
    order = by_value[torch.sort(token[by_value], stable=True).indices]
    starts = torch.searchsorted(token[order], token[order])
    rank = torch.empty_like(token)
    rank[order] = torch.arange(len(token), device=token.device) - starts
    return rank < k
