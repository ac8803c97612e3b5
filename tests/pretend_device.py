"""A device that does not exist: it computes in the host's memory, keeps its tensors apart and records what it does.

PyTorch lets Python register a device. Its tensors hold a tensor of the CPU. Each operation is computed on these, so
results are those of the CPU to the bit. As on a GPU, an operation may not mix tensors of the device and of the host,
and some operations make the host wait. Whatever runs here without an error, and waits no more often than it should,
would do so on a GPU as well; `benchmarks/gpu.py` estimates from the recorded operations how long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from sitegen import config
from sitegen.sources import inputs

NAME = "pretend"
# Memory that the device claims to have
MEMORY_BYTES = 1 << 34

aten = torch.ops.aten
# Operations after which the host needs a number from the device
WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
}


@dataclass(frozen=True)
class Operation:
    """One operation that the device has carried out.

    name     of the operation in PyTorch
    inputs   the tensors that it read, in the host's memory
    outputs  the tensors that it wrote
    waits    whether the host waited for it
    is_view  whether it only gave other names to what was there
    """

    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    waits: bool
    is_view: bool


@dataclass
class Recorder:
    """What the device has done.

    operations  called with each operation, in order
    fail_above  raise torch.OutOfMemoryError for a product into a buffer with more entries than this; 0: never
    """

    operations: Callable[[Operation], None] | None = None
    fail_above: int = 0
    n_waits: int = field(default=0, init=False)


RECORDER = Recorder()


class PretendTensor(Tensor):
    """A tensor of the device, which holds one of the host."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> PretendTensor:
        if held.layout == torch.strided:
            made = Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=torch.device(NAME),
            )
        else:
            made = Tensor._make_wrapper_subclass(
                cls, held.shape, dtype=held.dtype, layout=held.layout, device=torch.device(NAME)
            )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(function, args, kwargs or {})

    def tolist(self) -> Any:
        _record("aten.tolist", [self], self.held, waits=True)
        return self.held.tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{NAME}({self.held!r})"


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Carry out an operation that has tensors of the device among its arguments or as its result."""
    given, _ = tree_flatten((args, kwargs))
    tensors = [value for value in given if isinstance(value, Tensor)]
    ours = [value for value in tensors if isinstance(value, PretendTensor)]
    wanted = kwargs.get("device")
    to_host = bool(ours) and wanted is not None and torch.device(wanted).type == "cpu"
    from_host = not ours or (
        function in (aten._to_copy.default, aten.copy_.default) and len(ours) < len(tensors)
    )
    if ours and not from_host:
        mixed = [t for t in tensors if not isinstance(t, PretendTensor) and t.dim()]
        if mixed and function is not aten.copy_.default:
            raise RuntimeError(f"{function}: tensors of {NAME} and of the host are mixed")
    if function is aten.copy_.default and not isinstance(args[0], PretendTensor):
        to_host = True
    held = {id(value.held): value for value in ours}

    def inner(value: Any) -> Any:
        if isinstance(value, PretendTensor):
            return value.held
        if isinstance(value, torch.device) and value.type == NAME:
            return torch.device("cpu")
        return value

    _require_memory(function, ours)
    found = function(*tree_map(inner, args), **tree_map(inner, kwargs))
    if to_host:
        _record(function, ours, found, waits=True)
        # A copy: what the host has does not change with the device's memory
        return found.clone() if function is aten._to_copy.default else args[0]

    def outer(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return held[id(value)] if id(value) in held else PretendTensor(value)

    _record(function, ours, found, waits=_waits(function, args))
    return tree_map(outer, found)


def _waits(function: Any, args: Any) -> bool:
    """Tell whether the host waits: for a number, or for the length of what a mask selects."""
    if function in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1])
    return function in WAITING


def _require_memory(function: Any, ours: list[PretendTensor]) -> None:
    if RECORDER.fail_above and function is aten.mm.out:
        n_entries = len(ours[0].held) * ours[1].held.shape[-1]
        if n_entries > RECORDER.fail_above:
            raise torch.OutOfMemoryError(f"{NAME} out of memory: {n_entries} entries")


def _record(function: Any, ours: list[PretendTensor], found: Any, waits: bool) -> None:
    RECORDER.n_waits += waits
    if RECORDER.operations is not None:
        outputs = [value for value in tree_flatten(found)[0] if isinstance(value, Tensor)]
        inputs = [value.held for value in ours]
        is_view = not waits and function.is_view
        RECORDER.operations(Operation(str(function), inputs, outputs, waits, is_view))


class _Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sends operations that make tensors on the device, which have none among their arguments, to it."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        to_device = wanted is not None and torch.device(wanted).type == NAME
        given, _ = tree_flatten((args, kwargs))
        if to_device or any(isinstance(value, PretendTensor) for value in given):
            return run(function, args, kwargs)
        return function(*args, **kwargs)


class _Functions(TorchFunctionMode):
    """Makes `torch.tensor` on the host and moves the result, which the device cannot do by itself."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        wanted = kwargs.get("device")
        if function is torch.tensor and wanted is not None and torch.device(wanted).type == NAME:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(NAME)
        return function(*args, **kwargs)


class _Module:
    """What PyTorch asks of a device's module."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Do nothing: there are no random numbers of its own."""

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Memory that is free, and all memory, in bytes."""
        return MEMORY_BYTES, MEMORY_BYTES

    def empty_cache(self) -> None:
        """Do nothing."""


def register() -> torch.device:
    """Register the device with PyTorch, which can be done once in a process, and return it."""
    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    return torch.device(NAME)


@contextmanager
def pretend() -> Iterator[Recorder]:
    """Use the device in the block for everything that is computed; returns the record of what it does."""
    register()
    former, swaps = vars(RECORDER).copy(), torch.__future__.get_swap_module_params_on_conversion()
    RECORDER.n_waits = 0
    # A parameter becomes a tensor of another class, and whoever refers to it keeps referring to the same one
    torch.__future__.set_swap_module_params_on_conversion(True)
    # The names by which sources and configuration know devices
    names = (*config.DEVICES, NAME)
    try:
        with (
            patch.object(config, "DEVICES", names),
            patch.object(inputs, "resolve_device", lambda name: torch.device(NAME)),
            _Functions(),
            _Dispatch(),  # type: ignore[no-untyped-call]
        ):
            yield RECORDER
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)
        vars(RECORDER).update(former)
