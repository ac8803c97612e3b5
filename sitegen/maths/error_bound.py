"""Error bound of the encoder's search product, which turns the product's entries into upper bounds.

source  docs/precision.md derives the bound, the value of each constant, and what is assumed
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.maths.deferred import TrueIndices

# Derivation of these constants: docs/precision.md, "Constants"
# Columns of the product besides the hook point's: the bias in two parts, and three bounds
N_TERMS = 5
# Covers the rounding of the bounds themselves, in every precision, and all terms of second order
ROUNDED_UP = 1 + 2.0**-6
# Largest relative error of rounding a number to bfloat16; tf32 and fp32 round more finely
BF16_ROUNDING = 2.0**-8
# Far above what a sum loses where numbers are too small for their format
UNDERFLOW = 2.0**-100
# Far below the largest number that float32 and bfloat16 hold, so that no sum overflows
OVERFLOW = 2.0**120


@dataclass(frozen=True)
class UpperBounds:
    """Upper bounds of pre-activations minus their thresholds, and the margins by which the product raised them.

    values          [d_hidden, n_tokens] float32 or bfloat16, contiguous
    feature_bounds  [d_hidden, 3] float32, as `bound_features` returns them
    token_bounds    [n_tokens, 3] float32, as `bound_tokens` returns them
    """

    values: Tensor
    feature_bounds: Tensor
    token_bounds: Tensor

    @property
    def spacing(self) -> float:
        """Distance from 1 to the next number of the values' format: twice the error of rounding a value to it."""
        return torch.finfo(self.values.dtype).eps

    def margins(self, feature: Tensor, token: Tensor) -> Tensor:
        """Compute the bound on the product's error at entries, in float32; the two indices are broadcast."""
        return (self.feature_bounds[feature] * self.token_bounds[token]).sum(-1)

    def find_positive(self) -> TrueIndices:
        """Find the entries above 0, as indices into the flattened values."""
        return TrueIndices(_is_positive(self.values))

    def largest_error(self, index: Tensor, margin: Tensor, exact: Tensor) -> Tensor:
        """Compute the largest error of the product at entries, as a share of the error that the bound allows.

        index   [n] int64 into the flattened values
        margin  [n] float32, as `margins` returns them
        exact   [n] float32 pre-activations minus thresholds, recomputed one by one
        returns  scalar float64: 0 if there are no entries, NaN or infinity if a value is not finite
        """
        if not len(index):
            return self.token_bounds.new_zeros((), dtype=torch.float64)
        value = self.values.view(-1)[index].float()
        # `spacing` covers the rounding of the result to its format, which the margins leave out
        allowed = margin + self.spacing * value.abs()
        return ((value - margin - exact).abs() / allowed).max().double()


def _is_positive(values: Tensor) -> Tensor:
    """Compare each value with 0, bool; on a CPU with numpy, which is several times as fast."""
    if values.device.type != "cpu":
        return values > 0
    # numpy has no bfloat16. A bfloat16 is above 0 exactly where its bits are above 0 as a signed integer. (NaN may
    # count as positive, which then fails the check of the error.)
    is_bf16 = values.dtype == torch.bfloat16
    return torch.from_numpy((values.view(torch.int16) if is_bf16 else values).numpy() > 0)


def bound_features(
    columns: Tensor, norm: Tensor, bias_size: Tensor, rest: Tensor, precision: str
) -> Tensor:
    """Compute each feature's factors of the error bound, [d_hidden, 3] float32.

    columns    [d_hidden, d_hook] columns of the encoder
    norm       [d_hidden] their lengths
    bias_size  [d_hidden] largest size that the bias and its threshold can add up to
    rest       [d_hidden] what rounding leaves of the bias
    """
    # d_hook + 5 roundings in the product. Each is taken as a whole epsilon, because some hardware cuts off instead of
    # rounding to the nearest number. As much again covers the recomputation's one rounding, the order in which tensor
    # cores add up, and lost operands.
    n_roundings = columns.shape[1] + N_TERMS
    sum_error = 2 * n_roundings * torch.finfo(torch.float32).eps
    lost = measure_lengths(columns - round_values(columns, precision))
    return ROUNDED_UP * torch.stack(
        [
            norm,
            lost + sum_error * norm,
            BF16_ROUNDING * rest.abs() + sum_error * bias_size + UNDERFLOW,
        ],
        1,
    )


def bound_tokens(centred: Tensor, length: Tensor, precision: str) -> Tensor:
    """Compute each token's factors of the error bound, [n_tokens, 3] float32.

    centred  [n_tokens, d_hook] what the encoder is multiplied with
    length   [n_tokens] their lengths
    """
    rounded = round_values(centred, precision)
    lost = torch.zeros_like(length) if rounded is centred else measure_lengths(centred - rounded)
    return ROUNDED_UP * torch.stack([lost, length, torch.ones_like(length)], 1)


def round_values(values: Tensor, precision: str) -> Tensor:
    """Round float32 values to numbers near them that the precision holds exactly, as float32."""
    if precision == "bf16":
        return values.bfloat16().float()
    if precision == "tf32":
        # tf32 keeps 11 of float32's 24 significant bits. They are cut off here, so that the product's operands are
        # exact in tf32 and it does not matter how the hardware would round them.
        return (values.view(torch.int32) & ~0x1FFF).view(torch.float32)
    return values


def measure_lengths(rows: Tensor) -> Tensor:
    """Compute the Euclidean length of each row, [n] float32; summed in float64 so that no square underflows."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return lengths.float()
