"""A model's forward pass from one of its layers on: the layers before it return what they returned in a whole pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

Hooks = list[tuple[str, Any]]


class LaterLayers:
    """Keeps what the first layers return for some tokens, and runs the others again as often as wanted.

    TransformerLens' own `start_at_layer` runs the first layers too, and discards what they give.
    """

    def __init__(self, bridge: Any, n_kept: int) -> None:
        """Take a TransformerLens bridge and the number of first layers that do not run again."""
        self._bridge, self._blocks = bridge, list(bridge.blocks)[:n_kept]
        self._kept: list[Any] = []

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep what the first layers return in the whole pass that is run in the block."""
        self._kept = [None] * len(self._blocks)

        def keep_as(i: int) -> Any:
            def keep(block: Any, given: Any, returned: Any) -> None:
                # A copy, in case a later layer changes it in place
                self._kept[i] = copy.deepcopy(returned)

            return keep

        handles = [block.register_forward_hook(keep_as(i)) for i, block in enumerate(self._blocks)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def run_later(self, tokens: Tensor, hooks: Hooks) -> Tensor:
        """Run the later layers on the tokens of the pass that was kept; returns the logits."""
        with self._returning_kept():
            logits: Tensor = self._bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        return logits

    @contextmanager
    def _returning_kept(self) -> Iterator[None]:
        """Let the first layers return what was kept instead of running."""

        def give(kept: Any) -> Any:
            return lambda *given, **named: copy.deepcopy(kept)

        # Into the dictionary, because the bridge passes most attributes that are set on to the layer that it wraps
        for block, kept in zip(self._blocks, self._kept, strict=True):
            block.__dict__["forward"] = give(kept)
        try:
            yield
        finally:
            for block in self._blocks:
                del block.__dict__["forward"]
