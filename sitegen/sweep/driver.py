"""The pass over all rows: shard by shard in one process, a job slice of the shards, or a merge of saved states.

Each way merges the same states in the same order, so that the result is the same to the bit.
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

# Function from (inputs, configuration, folder for the shards' states) to the statistics of all rows
Engine = Callable[[Inputs, Config, Path], SweepState]


@dataclass(frozen=True)
class JobSlice:
    """Every `of`-th shard from the `number`-th on, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> JobSlice:
        """Read a job slice from `I/N`.

        raises  UsageError
        """
        number, slash, of = text.partition("/")
        if not (slash and is_number(number) and is_number(of) and 1 <= int(number) <= int(of)):
            raise UsageError(f"--shard {text}: give I/N with I from 1 to N, such as 3/8")
        return cls(int(number), int(of))

    def shards(self, shards: list[range]) -> list[range]:
        """Select the shards that belong to the job slice."""
        return shards[self.number - 1 :: self.of]


def sweep(inputs: Inputs, config: Config, folder: Path) -> SweepState:
    """Compute the statistics of all rows; each shard's state is saved in `folder`, or read from there if it exists.

    raises  OSError if the folder cannot be written
    """
    total = empty_state(inputs, config)
    saved = SavedStates(inputs, config, [folder])
    for state in _states(inputs, config, saved, saved.shards, total):
        total.merge(state)
    return total


def sweep_slice(inputs: Inputs, config: Config, folder: Path, job_slice: JobSlice) -> int:
    """Save the states of a job slice's shards in `folder`; return how many there are.

    raises  OSError if the folder cannot be written
    """
    saved = SavedStates(inputs, config, [folder])
    return sum(1 for _ in _states(inputs, config, saved, job_slice.shards(saved.shards), None))


def merge_engine(others: list[Path]) -> Engine:
    """Make an engine that sweeps nothing but merges the states found in the folder and in `others`."""

    def merge(inputs: Inputs, config: Config, folder: Path) -> SweepState:
        saved = SavedStates(inputs, config, [folder, *others])
        total = empty_state(inputs, config)
        progress = saved.progress(saved.shards)
        # Look for all states before merging any, so that a missing one is named at once
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
        f"sweep them with --shard {job_slice}, or give the folder that holds their state with --from"
    )


def _states(
    inputs: Inputs,
    config: Config,
    saved: SavedStates,
    shards: list[range],
    total: SweepState | None,
) -> Iterator[SweepState]:
    """Yield the state of each shard, saved if it was not; `total`, if given, has all earlier ones merged into it."""
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
