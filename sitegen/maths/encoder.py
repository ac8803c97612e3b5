"""Feature activations: a fast product finds where they may be above 0, float32 says what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sitegen.errors import PrecisionError
from sitegen.maths.normalisation import normalised
from sitegen.maths.sparse import csr_pattern

N_TERMS = 5  # of the product beside the hook point's: the bias in two parts, and three bounds
ROUNDED_UP = 1 + 2.0**-6  # covers what rounding does to the bounds themselves, in any precision

UNDERFLOW = 2.0**-100  # far more than is lost where numbers become too small for their format
OVERFLOW = 2.0**120  # well below what float32 and bfloat16 hold, bounds included


@dataclass(frozen=True)
class ActiveEntries:
    """Activations above 0 of some tokens, ordered by feature, then by token.

    feature        [n] int64: index of the feature among those swept
    token          [n] int64: index of the token
    activation     [n] float32, all above 0
    n_examined     entries that the product could not rule out
    largest_error  what the product was off by at most, as a share of what it was trusted to be off by
    """

    feature: Tensor
    token: Tensor
    activation: Tensor
    n_examined: int
    largest_error: float

    def moved(self, n_tokens: int) -> ActiveEntries:
        """The firings in the processor's memory, their tokens numbered from `n_tokens` on."""
        feature, token = self.feature.cpu(), self.token.cpu() + n_tokens
        return ActiveEntries(
            feature, token, self.activation.cpu(), self.n_examined, self.largest_error
        )

    def at(self, feature: Tensor, token: Tensor) -> Tensor:
        """[n] float32 activation of pairs [n] of feature and token; 0 where the feature is silent."""
        if not len(self.feature):
            return torch.zeros(len(feature), device=feature.device)
        stride = int(torch.maximum(self.token.max(), token.max())) + 1
        key, wanted = self.feature * stride + self.token, feature * stride + token
        index = torch.searchsorted(key, wanted).clamp(max=len(key) - 1)
        return torch.where(key[index] == wanted, self.activation[index], 0)

    def among(self, chosen: Tensor) -> ActiveEntries:
        """Those of chosen features, [n_chosen] int64 and rising, which are numbered anew by their place in it."""
        index = torch.searchsorted(chosen, self.feature).clamp(max=len(chosen) - 1)
        is_chosen = chosen[index] == self.feature
        return ActiveEntries(
            index[is_chosen],
            self.token[is_chosen],
            self.activation[is_chosen],
            self.n_examined,
            self.largest_error,
        )

    @staticmethod
    def joined(parts: list[ActiveEntries]) -> ActiveEntries:
        """The firings of tokens that follow each other, in order."""
        feature, order = torch.cat([part.feature for part in parts]).sort(stable=True)
        return ActiveEntries(
            feature,
            torch.cat([part.token for part in parts])[order],
            torch.cat([part.activation for part in parts])[order],
            sum(part.n_examined for part in parts),
            max(part.largest_error for part in parts),
        )


@dataclass(frozen=True)
class ActivationFunction:
    """Which pre-activations are activations: those above a threshold, and of these the largest of each token.

    ReLU has thresholds of 0 and no k, JumpReLU (Rajamanoharan et al. 2024) thresholds of its own, TopK (Gao et al.
    2024) a k.
    """

    threshold: Tensor  # [d_hidden] float32, none below 0
    k: int = 0  # features that fire on a token, at most; 0: any number


class Encoder:
    """Activations of the features swept.

    An activation is one dot product of its own, in float32. On a CPU neither the batch nor the precision of the search
    has a part in its order of summation; on CUDA that is cuSPARSE's affair.
    """

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        b_in: Tensor,
        function: ActivationFunction | None = None,
        normalisation: str = "none",
        chosen: Tensor | None = None,
    ) -> None:
        """Takes what stands on one device, in float32.

        W_enc          [d_hook, d_hidden]
        b_enc          [d_hidden]
        b_in           [d_hook] what is taken from the input first
        function       ReLU unless given
        normalisation  of the input, before that: a kind that `normalised` knows
        chosen         [n_chosen] int64, rising: of these features firings are told, the others only compete with them
        """
        self.columns = W_enc.T.contiguous()  # [d_hidden, d_hook]
        self.bias = b_enc
        self.function = function or ActivationFunction(torch.zeros_like(b_enc))
        self.chosen = chosen
        self._b_in, self._normalisation = b_in, normalisation

    def centred(self, x: Tensor) -> Tensor:
        """[n_tokens, d_hook] what the encoder is multiplied with, from hook-point activations."""
        return normalised(x, self._normalisation).x - self._b_in

    @torch.no_grad()
    def pre_activations(self, centred: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        """[n] float32 pre-activations of chosen pairs of feature and token.

        centred         [n_tokens, d_hook] float32
        feature, token  [n] int64, sorted by feature, no pair twice
        formula         (x - b_in) W_enc + b_enc
        source          definitions.md, "activation"
        """
        starts = torch.searchsorted(
            feature, torch.arange(len(self.columns) + 1, device=feature.device)
        )
        nothing = torch.zeros(len(token), device=centred.device)
        size = (len(self.columns), len(centred))
        pattern = csr_pattern(starts, token, nothing, size)
        products = torch.sparse.sampled_addmm(pattern, self.columns, centred.T, beta=0.0)
        dots: Tensor = products.values()
        return dots + self.bias[feature]


class PairReader:
    """Activations of chosen pairs of feature and token, by any activation function."""

    def __init__(self, encoder: Encoder, precision: str) -> None:
        self._encoder = encoder
        # With a k it takes all features of a token to know whether one of them fires
        self._search = ActivationSearch(encoder, precision) if encoder.function.k else None

    @torch.no_grad()
    def activations(self, x: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        """[n] float32, 0 where the feature is silent.

        x               [n_tokens, d_hook] float32 hook-point activations
        feature, token  [n] int64, in any order; the same pair may stand there again
        """
        if self._search is not None:
            return self._search.active_entries(x).at(feature, token)
        key, again = torch.unique(feature * len(x) + token, return_inverse=True)
        once = key // len(x)  # of each pair its feature, sorted
        found = self._encoder.pre_activations(self._encoder.centred(x), once, key - once * len(x))
        return torch.where(found > self._encoder.function.threshold[once], found, 0)[again]


class ActivationSearch:
    """Finds every activation above 0 by a product in a precision of choice, in one buffer used again and again.

    From each entry of the product the feature's threshold is taken, and the bound on the error added, as further terms
    of the same sum. So an entry that is not above 0 is no activation, and those that are above are computed singly: the
    firings found are the same in every precision. Where a token has a k, its k largest entries less their bounds say
    what the others must reach at least. The product is made feature by token, so that its positive entries, read in
    memory order, are sorted by feature.

    source  Cauchy-Schwarz on the rounding of the factors; Higham, Accuracy and Stability of Numerical Algorithms
            (2002), section 3.1, on that of the sum
    """

    def __init__(self, encoder: Encoder, precision: str) -> None:
        """Takes a precision of fp32, tf32 or bf16."""
        self._encoder, self._precision = encoder, precision
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        norm = _length(encoder.columns)
        # n roundings in the product and as many in the dot product, each of a whole epsilon at most: most machines
        # round to the nearest, some cut off
        roundings = encoder.columns.shape[1] + N_TERMS
        sum_error = 2 * roundings * torch.finfo(torch.float32).eps
        threshold = encoder.function.threshold
        offset = encoder.bias - threshold
        bias = _rounded(offset, precision)
        rest = offset - bias  # what rounding leaves of it, as a term of its own
        lost = _length(encoder.columns - _rounded(encoder.columns, precision))
        self._bounds = (
            ROUNDED_UP
            * torch.stack(  # of each feature, to be multiplied with the tokens'
                [
                    norm,
                    lost + sum_error * norm,
                    2.0**-8 * rest.abs() + sum_error * (encoder.bias.abs() + threshold) + UNDERFLOW,
                ],
                1,
            )
        )
        terms = [encoder.columns, bias[:, None], rest[:, None], self._bounds]
        self._weights = self._factors(terms)  # [d_hidden, d_hook + 5]
        self._longest, self._largest_bias = (
            float(norm.max()),
            float((encoder.bias.abs() + threshold).max()),
        )
        self._product: Tensor | None = None

    @torch.no_grad()
    def active_entries(self, x: Tensor) -> ActiveEntries:
        """The activations above 0 for hook-point activations `x` [n_tokens, d_hook] float32.

        formula  ReLU((x - b_in) W_enc + b_enc), or another activation function in ReLU's place
        raises   PrecisionError if the product overflows or was further off than it may be
        source   definitions.md, "activation"
        """
        centred = self._encoder.centred(x)
        length = _length(centred)
        self._require_no_overflow(float(length.max()))
        bounds = ROUNDED_UP * torch.stack(
            [
                _length(centred - _rounded(centred, self._precision)),
                length,
                torch.ones_like(length),
            ],
            1,
        )  # [n_tokens, 3]
        found = self._multiply(centred, bounds)
        k, threshold = self._encoder.function.k, self._encoder.function.threshold
        flat = _positive(found) if not k else self._may_be_largest(found, bounds, k)
        feature = flat // len(x)
        token = flat - feature * len(x)
        exact = self._encoder.pre_activations(centred, feature, token)
        margin = (self._bounds[feature] * bounds[token]).sum(1)
        above = exact - threshold[feature]
        error = self._largest_error(found.view(-1)[flat].float(), above, margin)
        is_active = exact > threshold[feature]
        if k:
            is_active &= _is_among_largest(token, exact, k)
        entries = ActiveEntries(
            feature[is_active], token[is_active], exact[is_active], len(flat), error
        )
        return entries if self._encoder.chosen is None else entries.among(self._encoder.chosen)

    def _may_be_largest(self, found: Tensor, bounds: Tensor, k: int) -> Tensor:
        """[n] places, rising, of the entries that may be above 0 and among the k largest of their token."""
        largest = torch.topk(found, k, dim=0)  # [k, n_tokens]
        margin = (self._bounds[largest.indices] * bounds).sum(2)
        values = largest.values.float()
        # k pre-activations reach this at least, so what cannot reach it is none of the k largest
        reached = values - 2 * margin - torch.finfo(self._dtype).eps * values.abs()
        cut = (reached.amin(0) / ROUNDED_UP).clamp(min=torch.finfo(torch.float32).tiny)
        return torch.nonzero((found >= cut.to(self._dtype)).view(-1)).flatten()

    def _multiply(self, centred: Tensor, bounds: Tensor) -> Tensor:
        """[d_hidden, n_tokens] upper bounds of the pre-activations."""
        ones = centred.new_ones(len(centred), 2)
        factors = self._factors([centred, ones, bounds])  # [n_tokens, d_hook + 5]
        shape = (len(self._weights), len(factors))
        if self._product is None or self._product.shape != shape:
            self._product = factors.new_empty(shape)
        with _matmul_settings(self._precision):
            return torch.mm(self._weights, factors.T, out=self._product)

    def _factors(self, terms: list[Tensor]) -> Tensor:
        """Terms side by side, rounded as the product takes them."""
        return _rounded(torch.cat(terms, 1), self._precision).to(self._dtype)

    def _require_no_overflow(self, longest_token: float) -> None:
        largest = self._longest * longest_token + self._largest_bias
        if not largest < OVERFLOW:
            raise PrecisionError(
                f"pre-activations may reach {largest:.3g}, above {OVERFLOW:.3g}, where float32's sums are no longer "
                "safe: the weights are damaged or far too large"
            )

    def _largest_error(self, found: Tensor, exact: Tensor, margin: Tensor) -> float:
        if not len(found):
            return 0.0
        allowed = margin + torch.finfo(self._dtype).eps * found.abs()
        largest = float(((found - margin - exact).abs() / allowed).max())
        if not largest <= 1:
            raise PrecisionError(
                f"the {self._precision} product is {largest:.3g} times as far off as its factors explain: "
                "this machine's arithmetic is less exact than that"
                + (
                    "; give --precision fp32"
                    if self._precision != "fp32"
                    else ": report it with the weights"
                )
            )
        return largest


def _rounded(values: Tensor, precision: str) -> Tensor:
    """Float32 values that the precision holds exactly, near the given ones."""
    if precision == "bf16":
        return values.bfloat16().float()
    if (
        precision == "tf32"
    ):  # of 24 bits 11 are kept; cut off here, so that no machine's way of rounding matters
        return (values.view(torch.int32) & ~0x1FFF).view(torch.float32)
    return values


def _length(rows: Tensor) -> Tensor:
    """[n] float32 Euclidean lengths, summed in float64 so that small squares do not vanish."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return lengths.float()


def _is_among_largest(token: Tensor, value: Tensor, k: int) -> Tensor:
    """[n] bool: whether a value is one of the k largest of its token; of equal ones the first are."""
    by_value = torch.sort(value, descending=True, stable=True).indices
    order = by_value[torch.sort(token[by_value], stable=True).indices]
    starts = torch.searchsorted(token[order], token[order])
    rank = torch.empty_like(token)
    rank[order] = torch.arange(len(token), device=token.device) - starts
    return rank < k


def _positive(product: Tensor) -> Tensor:
    """[n] int64 places of the entries above 0 in the flattened product, rising."""
    if product.device.type != "cpu":
        return torch.nonzero(product.view(-1) > 0).flatten()
    # numpy scans several times as fast as torch. It has no bfloat16, whose bits are above 0 as an integer where it is
    values = product.view(torch.int16) if product.dtype == torch.bfloat16 else product
    return torch.from_numpy(np.flatnonzero(values.numpy() > 0))


@contextmanager
def _matmul_settings(precision: str) -> Iterator[None]:
    """CUDA's products in the precision meant, their sums in float32 throughout."""
    settings = torch.backends.cuda.matmul
    former = settings.fp32_precision, settings.allow_bf16_reduced_precision_reduction
    settings.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    settings.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.fp32_precision, settings.allow_bf16_reduced_precision_reduction = former
