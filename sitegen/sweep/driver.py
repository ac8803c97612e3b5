"""The pass over all rows: shard by shard in one process, a share of the shards, or states that others have saved.

Whatever the way, the same states are merged in the same order, and the outcome is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sitegen.config import Config, is_number
from sitegen.errors import SourceError, UsageError
from sitegen.sources.inputs import Inputs
from sitegen.sweep.shards import SavedStates, ShardSweeper, empty_state
from sitegen.sweep.state import SweepState

# (subject, configuration, folder for the shards' states) to the statistics of all rows
Engine = Callable[[Inputs, Config, Path], SweepState]


@dataclass(frozen=True)
class JobSlice:
    """Every `of`-th shard, from the `number`-th on; numbers begin with 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> JobSlice:
        """From `I/N`.

        raises  UsageError
        """
        number, slash, of = text.partition("/")
        if not (slash and is_number(number) and is_number(of) and 1 <= int(number) <= int(of)):
            raise UsageError(f"--shard {text}: give I/N with I from 1 to N, such as 3/8")
        return cls(int(number), int(of))

    def shards(self, shards: list[range]) -> list[range]:
        """Those of them that are in the share."""
        return shards[self.number - 1 :: self.of]


def sweep(inputs: Inputs, config: Config, folder: Path) -> SweepState:
    """The statistics of all rows. Each shard's state is saved in `folder` and read back if it stands there.

    raises  OSError if the folder cannot be written
    """
    total = empty_state(inputs, config)
    saved = SavedStates(inputs, config, [folder])
    for state in _states(inputs, config, saved, saved.shards, total):
        total.merge(state)
    return total


def sweep_slice(inputs: Inputs, config: Config, folder: Path, job_slice: JobSlice) -> int:
    """Saves the states of a share of the shards in `folder`; returns how many.

    raises  OSError if the folder cannot be written
    """
    saved = SavedStates(inputs, config, [folder])
    return sum(1 for _ in _states(inputs, config, saved, job_slice.shards(saved.shards), None))


def merge_engine(others: list[Path]) -> Engine:
    """An engine that sweeps nothing: it merges states that stand in the folder or in `others`."""

    def merge(inputs: Inputs, config: Config, folder: Path) -> SweepState:
        saved = SavedStates(inputs, config, [folder, *others])
        total = empty_state(inputs, config)
        progress = saved.progress(saved.shards)
        for shard in saved.shards:
            if not saved.holds(shard):
                raise _not_swept(shard, saved)
        for shard in saved.shards:
            state = saved.load(shard)
            if state is None:
                raise _not_swept(shard, saved)
            progress.advance(saved.n_tokens(shard), already_there=True)
            total.merge(state)
        progress.finish()
        return total

    return merge


def _not_swept(shard: range, saved: SavedStates) -> SourceError:
    job_slice = f"{saved.shards.index(shard) + 1}/{len(saved.shards)}"
    return SourceError(
        f"rows {shard.start} to {shard.stop - 1} have no state that this preset and machine would give: "
        f"sweep them with --shard {job_slice}, or name the folder that holds them with --from"
    )


def _states(
    inputs: Inputs,
    config: Config,
    saved: SavedStates,
    shards: list[range],
    total: SweepState | None,
) -> Iterator[SweepState]:
    """The state of each shard, saved if it was not; `total`, where given, holds those of all before it."""
    sweeper = ShardSweeper(inputs, config)
    progress = saved.progress(shards)
    for shard in shards:
        state = saved.load(shard)
        if state is None:
            state = sweeper.sweep(shard, total, progress.advance)
            saved.save(shard, state)
        else:
            progress.advance(saved.n_tokens(shard), already_there=True)
        yield state
    progress.finish()
