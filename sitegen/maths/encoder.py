"""Feature activations: a fast matrix product finds where they may be above 0, float32 recomputes them exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.errors import PrecisionError
from sitegen.maths.activation_functions import ActivationFunction, ReLU
from sitegen.maths.error_bound import (
    OVERFLOW,
    UpperBounds,
    bound_features,
    bound_tokens,
    measure_lengths,
    round_values,
)
from sitegen.maths.normalisation import normalise
from sitegen.maths.sparse import csr_pattern


@dataclass(frozen=True)
class ActiveEntries:
    """Activations above 0 of some tokens, ordered by feature, then by token.

    feature        [n] int64: index of the feature among those swept
    token          [n] int64: index of the token
    activation     [n] float32, all above 0
    n_examined     number of entries that the product could not rule out, and that were recomputed
    largest_error  largest error of the product at those entries, as a share of the error that its bound allows
    """

    feature: Tensor
    token: Tensor
    activation: Tensor
    n_examined: int
    largest_error: float

    def to_cpu(self, n_tokens: int) -> ActiveEntries:
        """Move the entries to the CPU's memory, with token indices counted from `n_tokens` earlier tokens on."""
        feature, token = self.feature.cpu(), self.token.cpu() + n_tokens
        return ActiveEntries(
            feature, token, self.activation.cpu(), self.n_examined, self.largest_error
        )

    def at(self, feature: Tensor, token: Tensor) -> Tensor:
        """Look up the activations of pairs [n] of feature and token, [n] float32; 0 where a feature is inactive."""
        if not len(self.feature):
            return torch.zeros(len(feature), device=feature.device)
        # One number for each pair of feature and token. The entries are ordered by it, so a binary search finds them.
        stride = int(torch.maximum(self.token.max(), token.max())) + 1
        key, wanted = self.feature * stride + self.token, feature * stride + token
        index = torch.searchsorted(key, wanted).clamp(max=len(key) - 1)
        return torch.where(key[index] == wanted, self.activation[index], 0)

    def restrict_to(self, chosen: Tensor) -> ActiveEntries:
        """Keep the entries of features in `chosen` [n_chosen] int64, rising, renumbered by their index in it."""
        # The index at which `chosen` would hold each feature; comparing tells whether it does
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
        """Join the entries of parts whose tokens follow each other."""
        # A stable sort by feature alone, because within a feature the parts are in the order of tokens already
        feature, order = torch.cat([part.feature for part in parts]).sort(stable=True)
        return ActiveEntries(
            feature,
            torch.cat([part.token for part in parts])[order],
            torch.cat([part.activation for part in parts])[order],
            sum(part.n_examined for part in parts),
            max(part.largest_error for part in parts),
        )


class Encoder:
    """Pre-activations of the features swept; with a TopK of all features, since they compete.

    Each pre-activation is one dot product of its own, in float32. On a CPU its order of summation depends on neither
    the batch nor the precision of the search; on CUDA, cuSPARSE chooses the order.
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
        """Take float32 tensors that are all on one device.

        W_enc          [d_hook, d_hidden]
        b_enc          [d_hidden]
        b_in           [d_hook] subtracted from the input before it is encoded
        function       activation function; ReLU unless given
        normalisation  of the input, before `b_in` is subtracted: a kind that `normalise` knows
        chosen         [n_chosen] int64, rising: the features whose activations are returned, the others only compete
                       with them; all features unless given
        """
        # [d_hidden, d_hook], so that each dot product reads consecutive memory
        self.columns = W_enc.T.contiguous()
        self.bias = b_enc
        self.function = function or ReLU()
        self.chosen = chosen
        self._b_in, self._normalisation = b_in, normalisation

    def centre(self, x: Tensor) -> Tensor:
        """Normalise hook-point activations `x` [n_tokens, d_hook] and subtract `b_in`, before `W_enc` is applied."""
        return normalise(x, self._normalisation).x - self._b_in

    @torch.no_grad()
    def pre_activations(self, centred: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        """Compute the pre-activations of chosen pairs of feature and token, [n] float32.

        centred         [n_tokens, d_hook] float32
        feature, token  [n] int64, sorted by feature, no pair twice
        formula         (x - b_in) W_enc + b_enc
        source          definitions.md, "activation"
        """
        # A sampled product computes only the entries of a sparse matrix, here the chosen pairs. On a CPU it sums each
        # of them by itself, in an order that depends on d_hook and the vector instructions alone: hence the same bits
        # in every batch, which a dense product does not give.
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
    """Computes the activations of chosen pairs of feature and token, with any activation function."""

    def __init__(self, encoder: Encoder, precision: str) -> None:
        """Take an encoder, and the precision of the search, which is used only where features compete (TopK)."""
        self._encoder = encoder
        needs_search = encoder.function.needs_all_features
        self._search = ActivationSearch(encoder, precision) if needs_search else None

    @torch.no_grad()
    def activations(self, x: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        """Compute the activations of pairs, [n] float32; 0 where a feature is inactive.

        x               [n_tokens, d_hook] float32 hook-point activations
        feature, token  [n] int64, in any order; a pair may occur more than once
        """
        if self._search is not None:
            return self._search.active_entries(x).at(feature, token)
        # Contexts overlap, so the same pair is asked for again; `pre_activations` takes each pair once, by feature
        key, again = torch.unique(feature * len(x) + token, return_inverse=True)
        feature_once = key // len(x)
        token_once = key - feature_once * len(x)
        found = self._encoder.pre_activations(self._encoder.centre(x), feature_once, token_once)
        is_active = self._encoder.function.is_active(found, feature_once, token_once)
        return torch.where(is_active, found, 0)[again]


class ActivationSearch:
    """Finds every activation above 0 by a matrix product in a chosen precision, in one buffer that is reused.

    From each entry of the product the feature's threshold is subtracted, and the bound on the entry's rounding error
    is added, as further terms of the same sum. So an entry that is not above 0 is provably inactive. The others are
    recomputed one by one in float32, so that the same activations are found in every precision. With a TopK, the k
    largest entries of a token, lowered by their bounds, give the value that other entries must reach to be recomputed.

    The product is [d_hidden, n_tokens], so that its positive entries, read in memory order, are sorted by feature.

    source  docs/precision.md
    """

    def __init__(self, encoder: Encoder, precision: str) -> None:
        """Take an encoder and a precision: fp32, tf32 or bf16."""
        self._encoder, self._precision = encoder, precision
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        threshold = encoder.function.threshold
        # The bias takes two columns: in bfloat16 it would lose 2^-8 of its size, in two parts it loses 2^-16
        offset = encoder.bias - threshold
        bias = round_values(offset, precision)
        rest = offset - bias
        norm, bias_size = measure_lengths(encoder.columns), encoder.bias.abs() + threshold
        self._bounds = bound_features(encoder.columns, norm, bias_size, rest, precision)
        # [d_hidden, d_hook + 5]
        self._weights = self._factors([encoder.columns, bias[:, None], rest[:, None], self._bounds])
        self._longest, self._largest_bias = float(norm.max()), float(bias_size.max())
        self._product: Tensor | None = None

    @torch.no_grad()
    def active_entries(self, x: Tensor) -> ActiveEntries:
        """Find the activations above 0 for hook-point activations `x` [n_tokens, d_hook] float32.

        formula  ReLU((x - b_in) W_enc + b_enc), or another activation function in place of ReLU
        raises   PrecisionError if the product could overflow, or if its error exceeds the bound
        source   definitions.md, "activation"
        """
        function = self._encoder.function
        centred = self._encoder.centre(x)
        bounds = self._bound_above(centred)
        index = function.find_candidates(bounds)
        # The product is [d_hidden, n_tokens], so an index is feature * n_tokens + token
        feature = index // len(x)
        token = index - feature * len(x)
        exact = self._encoder.pre_activations(centred, feature, token)
        # The recomputation is used twice: it decides what is active, and it checks the bound that was relied on
        error = bounds.largest_error(
            index, bounds.margins(feature, token), function.compare(exact, feature)
        )
        self._require_within_bound(error)
        is_active = function.is_active(exact, feature, token)
        entries = ActiveEntries(
            feature[is_active], token[is_active], exact[is_active], len(index), error
        )
        return (
            entries if self._encoder.chosen is None else entries.restrict_to(self._encoder.chosen)
        )

    def _bound_above(self, centred: Tensor) -> UpperBounds:
        """Multiply tokens [n_tokens, d_hook] with the encoder; the result is valid until the next call."""
        length = measure_lengths(centred)
        self._require_no_overflow(float(length.max()))
        token_bounds = bound_tokens(centred, length, self._precision)
        # The ones are multiplied with the two columns of the bias
        ones = centred.new_ones(len(centred), 2)
        factors = self._factors([centred, ones, token_bounds])  # [n_tokens, d_hook + 5]
        shape = (len(self._weights), len(factors))
        # The largest tensor of the sweep: reused, because a new one for each batch would have its memory mapped anew
        if self._product is None or self._product.shape != shape:
            self._product = factors.new_empty(shape)
        with _matmul_settings(self._precision):
            torch.mm(self._weights, factors.T, out=self._product)
        return UpperBounds(self._product, self._bounds, token_bounds)

    def _factors(self, terms: list[Tensor]) -> Tensor:
        """Join terms side by side, rounded to the product's precision."""
        # The conversion is exact, because the values are rounded already
        return round_values(torch.cat(terms, 1), self._precision).to(self._dtype)

    def _require_no_overflow(self, longest_token: float) -> None:
        """Raise if a sum could come near the largest float32; also if a value is not finite."""
        largest = self._longest * longest_token + self._largest_bias
        # `not <` rather than `>=`, so that NaN raises too
        if not largest < OVERFLOW:
            raise PrecisionError(
                f"pre-activations may reach {largest:.3g}, above {OVERFLOW:.3g}, where float32's sums are no longer "
                "safe: the weights are damaged or far too large; check the autoencoder's file"
            )

    def _require_within_bound(self, largest_error: float) -> None:
        """Raise if the product's error exceeds its bound, which the derivation excludes; also if it is NaN."""
        if not largest_error <= 1:
            remedy = (
                "; give --precision fp32"
                if self._precision != "fp32"
                else ": report it with the weights"
            )
            raise PrecisionError(
                f"the {self._precision} product is {largest_error:.3g} times as far off as rounding explains: "
                "this machine's arithmetic is less exact than the error bound assumes" + remedy
            )


@contextmanager
def _matmul_settings(precision: str) -> Iterator[None]:
    """Set the precision of CUDA's products, with sums in float32 throughout, as the error bound assumes."""
    settings = torch.backends.cuda.matmul
    former = settings.fp32_precision, settings.allow_bf16_reduced_precision_reduction
    settings.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    # Otherwise cuBLAS may add up parts of a bf16 product in bf16
    settings.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        settings.fp32_precision, settings.allow_bf16_reduced_precision_reduction = former
