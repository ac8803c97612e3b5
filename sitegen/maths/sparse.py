"""Sparse tensors as torch has them."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

BETA_WARNING = "Sparse CSR tensor support is in beta state"  # since years, said once a process


def csr_pattern(starts: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR tensor from indices that are known to be in order."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=BETA_WARNING)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)
