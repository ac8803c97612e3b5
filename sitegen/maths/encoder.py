"""Feature activations: a fast matrix product finds where they may be above 0, float64 recomputes these entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.errors import PrecisionError
from sitegen.maths.activation_functions import ActivationFunction, ReLU
from sitegen.maths.deferred import Check, DeferredChecks, TrueIndices
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

# Width of the hook point that a dot product takes at once: so many numbers of each token of a batch stay in a
# processor's caches, while the features pass by
SLICE_WIDTH = 512


@dataclass(frozen=True)
class ActiveEntries:
    """Activations of some tokens, ordered by feature; those above 0 are also in the order of their tokens.

    feature        [n] int64: index of the feature among those swept
    token          [n] int64: index of the token
    activation     [n] float32, above 0; where entries were examined and not dropped, 0 for those that are inactive
    n_examined     number of entries that the product could not rule out, and that were recomputed
    largest_error  scalar float64: largest error of the product at those entries, as a share of what its bound allows
    """

    feature: Tensor
    token: Tensor
    activation: Tensor
    n_examined: int
    largest_error: Tensor

    def active_only(self) -> ActiveEntries:
        """Drop the entries whose activation is 0, at the cost of a wait for the device."""
        return self._take(self.activation > 0)

    def to_cpu(self, n_tokens: int) -> ActiveEntries:
        """Move the entries to the CPU's memory, with token indices counted from `n_tokens` earlier tokens on."""
        feature, token = self.feature.cpu(), self.token.cpu() + n_tokens
        activation, error = self.activation.cpu(), self.largest_error.cpu()
        return ActiveEntries(feature, token, activation, self.n_examined, error)

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
        """Renumber the features by their index in `chosen` [n_chosen] int64, rising; others become inactive."""
        # The index at which `chosen` would hold each feature; comparing tells whether it does
        index = torch.searchsorted(chosen, self.feature).clamp(max=len(chosen) - 1)
        activation = torch.where(chosen[index] == self.feature, self.activation, 0)
        return ActiveEntries(index, self.token, activation, self.n_examined, self.largest_error)

    def _take(self, chosen: Tensor) -> ActiveEntries:
        return ActiveEntries(
            self.feature[chosen],
            self.token[chosen],
            self.activation[chosen],
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
            torch.stack([part.largest_error for part in parts]).max(),
        )


class Encoder:
    """Pre-activations of the features swept; with a TopK of all features, since they compete.

    Each pre-activation is one dot product of its own, added up in float64 and rounded once to float32. A product of two
    float32 numbers is exact in float64, so another order of summation changes the result only where the sum lies within
    the rounding of float64 of the middle between two float32 numbers: for one entry of about 10^8. Every device, batch
    and precision of the search therefore gives the same activations.
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
        # [d_hidden, SLICE_WIDTH] float64 each, so that each part of a dot product reads consecutive memory
        self._slices = [part.T.double().contiguous() for part in torch.split(W_enc, SLICE_WIDTH)]
        self.bias = b_enc
        self.function = function or ReLU()
        self.chosen = chosen
        self._b_in, self._normalisation = b_in, normalisation

    def centre(self, x: Tensor) -> Tensor:
        """Normalise hook-point activations `x` [n_tokens, d_hook] and subtract `b_in`, before `W_enc` is applied."""
        return normalise(x, self._normalisation).x - self._b_in

    @property
    def columns(self) -> Tensor:
        """The encoder's columns, [d_hidden, d_hook] float64."""
        return torch.cat(self._slices, 1)

    @torch.no_grad()
    def pre_activations(self, centred: Tensor, feature: Tensor, token: Tensor) -> Tensor:
        """Compute the pre-activations of chosen pairs of feature and token, [n] float32.

        centred         [n_tokens, d_hook] float32
        feature, token  [n] int64, sorted by feature, no pair twice
        formula         (x - b_in) W_enc + b_enc
        source          definitions.md, "activation"
        """
        # A sampled product computes only the entries of a sparse matrix, here the chosen pairs
        d_hidden = len(self.bias)
        starts = torch.searchsorted(feature, torch.arange(d_hidden + 1, device=feature.device))
        sums = torch.zeros(len(token), dtype=torch.float64, device=centred.device)
        pattern = csr_pattern(starts, token, sums, (d_hidden, len(centred)))
        for columns, part in zip(self._slices, torch.split(centred, SLICE_WIDTH, 1), strict=True):
            # Added to the sums so far, into the same memory
            tokens = part.double().contiguous()
            torch.sparse.sampled_addmm(pattern, columns, tokens.T, beta=1.0, out=pattern)
        dots: Tensor = pattern.values()
        return (dots + self.bias[feature]).float()


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


@dataclass(frozen=True)
class Examination:
    """Some tokens with the upper bounds of their pre-activations; valid until the search examines others.

    centred     [n_tokens, d_hook] float32: what the encoder is multiplied with
    bounds      upper bounds of all pre-activations
    candidates  the entries that may be active, as indices into the flattened bounds
    """

    centred: Tensor
    bounds: UpperBounds
    candidates: TrueIndices


class ActivationSearch:
    """Finds every activation above 0 by a matrix product in a chosen precision, in one buffer that is reused.

    From each entry of the product the feature's threshold is subtracted, and the bound on the entry's rounding error
    is added, as further terms of the same sum. So an entry that is not above 0 is provably inactive. The others are
    recomputed one by one in float64, so that the same activations are found in every precision. With a TopK, the k
    largest entries of a token, lowered by their bounds, give the value that other entries must reach to be recomputed.

    The product is [d_hidden, n_tokens], so that its positive entries, read in memory order, are sorted by feature.

    A search takes two steps, `examine` and `resolve`, between which the host reads the number of candidates. Neither
    step waits for the device.

    source  docs/precision.md
    """

    def __init__(self, encoder: Encoder, precision: str) -> None:
        """Take an encoder and a precision: fp32, tf32 or bf16."""
        self._encoder, self._precision = encoder, precision
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        threshold = encoder.function.threshold
        columns = encoder.columns.float()
        # The bias takes two columns: in bfloat16 it would lose 2^-8 of its size, in two parts it loses 2^-16
        offset = encoder.bias - threshold
        bias = round_values(offset, precision)
        rest = offset - bias
        norm, bias_size = measure_lengths(columns), encoder.bias.abs() + threshold
        self._bounds = bound_features(columns, norm, bias_size, rest, precision)
        # [d_hidden, d_hook + 5]
        self._weights = self._factors([columns, bias[:, None], rest[:, None], self._bounds])
        self._longest, self._largest_bias = float(norm.max()), float(bias_size.max())
        self._product: Tensor | None = None

    @torch.no_grad()
    def active_entries(self, x: Tensor) -> ActiveEntries:
        """Find the activations above 0 for hook-point activations `x` [n_tokens, d_hook] float32, at once.

        formula  ReLU((x - b_in) W_enc + b_enc), or another activation function in place of ReLU
        raises   PrecisionError if the product could overflow, or if its error exceeds the bound
        source   definitions.md, "activation"
        """
        checks = DeferredChecks()
        examined = self.examine(x, checks)
        entries = self.resolve(examined, int(examined.candidates.n), checks)
        checks.settle()
        return entries.active_only()

    @torch.no_grad()
    def examine(self, x: Tensor, checks: DeferredChecks) -> Examination:
        """Find the entries of tokens `x` [n_tokens, d_hook] float32 that may be active.

        checks  receives the check that no sum could overflow
        """
        centred = self._encoder.centre(x)
        length = measure_lengths(centred)
        checks.add(self._longest * length.max().double() + self._largest_bias, NO_OVERFLOW)
        bounds = self._bound_above(centred, length)
        return Examination(centred, bounds, self._encoder.function.find_candidates(bounds))

    @torch.no_grad()
    def resolve(
        self, examined: Examination, n_candidates: int, checks: DeferredChecks
    ) -> ActiveEntries:
        """Compute the activations of all candidates; they are 0 where an entry is inactive after all.

        n_candidates  number of candidates, which the host has read
        checks        receives the check of the product's error
        """
        function, bounds = self._encoder.function, examined.bounds
        index = examined.candidates.indices(n_candidates)
        # The product is [d_hidden, n_tokens], so an index is feature * n_tokens + token
        n_tokens = len(examined.centred)
        feature = index // n_tokens
        token = index - feature * n_tokens
        exact = self._encoder.pre_activations(examined.centred, feature, token)
        # The recomputation is used twice: it decides what is active, and it checks the bound that was relied on
        error = bounds.largest_error(
            index, bounds.margins(feature, token), function.compare(exact, feature)
        )
        checks.add(error, self._within_bound)
        activation = torch.where(function.is_active(exact, feature, token), exact, 0)
        entries = ActiveEntries(feature, token, activation, n_candidates, error)
        chosen = self._encoder.chosen
        return entries if chosen is None else entries.restrict_to(chosen)

    def _bound_above(self, centred: Tensor, length: Tensor) -> UpperBounds:
        """Multiply tokens [n_tokens, d_hook] with the encoder; the result is valid until the next call."""
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

    @property
    def _within_bound(self) -> Check:
        """The check that the product's error is within its bound, which the derivation implies; NaN fails too."""
        remedy = (
            "; give --precision fp32"
            if self._precision != "fp32"
            else ": report it with the weights"
        )
        return Check(
            lambda share: share <= 1,
            lambda share: PrecisionError(
                f"the {self._precision} product is {share:.3g} times as far off as rounding explains: "
                "this machine's arithmetic is less exact than the error bound assumes" + remedy
            ),
        )


# Sums must stay far below the largest float32; NaN fails the comparison too
NO_OVERFLOW = Check(
    lambda largest: largest < OVERFLOW,
    lambda largest: PrecisionError(
        f"pre-activations may reach {largest:.3g}, above {OVERFLOW:.3g}, where float32's sums are no longer safe: "
        "the weights are damaged or far too large; check the autoencoder's file"
    ),
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
