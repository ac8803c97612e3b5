"""Sparse tensors in torch's formats."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

# torch shows it once in every process, and has done so for years
BETA_WARNING = "Sparse CSR tensor support is in beta state"


def csr_pattern(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Make a CSR tensor of a size from row starts, columns and values; the indices are trusted, not checked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=BETA_WARNING)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)
