"""Work with a device without waiting for it: numbers and checks that are read together, once they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sitegen.errors import SitegenError


def read_numbers(numbers: Sequence[Tensor]) -> list[int]:
    """Read whole numbers, each a tensor of one element, at the cost of one wait for the device."""
    return [int(number) for number in torch.stack(list(numbers)).tolist()]


class TrueIndices:
    """The indices at which a mask is true, found in two steps, between which the host reads their number.

    Only with that number can a list of them be made without a wait. Several are read together (`read_numbers`).

    n  scalar int64: number of indices
    """

    def __init__(self, mask: Tensor) -> None:
        """Take a mask of any shape, bool; indices are those of its flattened elements."""
        self._mask = mask.reshape(-1)
        self._found: Tensor | None = None
        if mask.device.type == "cpu":
            # There is nothing to wait for, and numpy scans several times as fast as torch
            self._found = torch.from_numpy(np.flatnonzero(self._mask.numpy()))
            self.n = torch.tensor(len(self._found))
        else:
            self.n = self._mask.sum()

    def indices(self, n: int) -> Tensor:
        """Return the indices, [n] int64, rising; `n` is the number that the host has read."""
        if self._found is not None:
            return self._found
        return torch.nonzero_static(self._mask, size=n).flatten()


@dataclass(frozen=True)
class Check:
    """A condition on a number, and the error if it does not hold."""

    holds: Callable[[float], bool]
    error: Callable[[float], SitegenError]


class DeferredChecks:
    """Numbers that are computed on a device, each with a check, which are read together later."""

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._checks: list[Check] = []

    def add(self, number: Tensor, check: Check) -> None:
        """Add a number, a tensor of one element, to be checked later."""
        self._numbers.append(number.double())
        self._checks.append(check)

    def settle(self) -> None:
        """Read all numbers with one wait, and raise the error of the first check that does not hold."""
        if not self._numbers:
            return
        numbers = torch.stack(self._numbers).tolist()
        checks, self._numbers, self._checks = self._checks, [], []
        for number, check in zip(numbers, checks, strict=True):
            if not check.holds(number):
                raise check.error(number)
