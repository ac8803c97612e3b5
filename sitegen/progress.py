"""Progress of a run on standard error: the stage, its number, and for long stages the share done and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_COMPUTING = (
    "sources",
    "fit",
    "sweep",
    "contexts",
    "sample",
    "relations",
    "quality",
    "map",
    "published",
    "records",
)
TITLES = {
    "sources": "loading the model, the autoencoder and the text",
    "fit": "checking that the autoencoder fits the activations",
    "sweep": "computing all features on all rows",
    "contexts": "computing activations in the contexts that pages show",
    "sample": "computing activations of all features on the sample",
    "relations": "finding similar features",
    "map": "computing the map of features",
    "published": "computing published numbers again",
    "quality": "measuring losses with the reconstruction",
    "densities": "counting the tokens on which each feature is active",
    "records": "writing records",
    "render": "rendering pages",
    "check": "checking data and site",
    "send": "sending files",
}

# The stages of this process's command, in order
_plan: list[str] = []
# The stage of which the present stages are steps, if there is one
_outer: list[str] = []


def computing_stages(has_published: bool) -> list[str]:
    """List the stages from sources to data.

    has_published  whether published numbers of the preset are computed again
    """
    return [stage for stage in _COMPUTING if has_published or stage != "published"]


def plan_stages(*stages: str) -> None:
    """Set the stages of the command, so that each line shows the stage's number."""
    _plan[:] = stages


def announce(stage: str) -> None:
    """Print one line at the start of a stage that has no progress of its own."""
    print(f"{_title(stage)} …", file=sys.stderr, flush=True)


def tell(sentence: str) -> None:
    """Print one line that belongs to no stage."""
    print(sentence, file=sys.stderr, flush=True)


def announce_kept(stage: str) -> None:
    """Print one line for a stage whose result an interrupted run has kept."""
    print(f"{_title(stage)}: already done by the interrupted run", file=sys.stderr, flush=True)


@contextmanager
def within(stage: str) -> Iterator[None]:
    """Show the stages that begin in the block as steps of this stage; elsewhere they may be stages of their own."""
    _outer.append(stage)
    try:
        yield
    finally:
        _outer.pop()


def _title(stage: str) -> str:
    title = TITLES.get(stage, stage)
    if _outer:
        stage, title = _outer[-1], f"{TITLES[_outer[-1]]}, {title}"
    return f"{_plan.index(stage) + 1}/{len(_plan)} {title}" if stage in _plan else title


class Progress:
    """Progress of a stage of `total` units, printed twice a second on a terminal and every ten seconds elsewhere."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = _title(stage), total, unit
        self._done = self._counted = 0
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()
        if self._terminal:
            self._print(f"{self._title} …", end="\r")

    def advance(self, n: int, already_there: bool = False) -> None:
        """Count `n` more units.

        already_there  whether an earlier run has done them; then they are left out of the rate
        """
        self._done += n
        self._counted += 0 if already_there else n
        is_due = time.monotonic() - self._shown > (0.5 if self._terminal else 10)
        # `finish` prints the last line
        if is_due and self._done < self._total:
            self._show(end="\r" if self._terminal else "\n")

    def finish(self) -> None:
        """Print the last line of the stage."""
        self._show(end="\n")

    def _show(self, end: str) -> None:
        self._shown = time.monotonic()
        seconds = max(self._shown - self._started, 1e-9)
        rate = self._counted / seconds
        left = (self._total - self._done) / rate if rate else 0.0
        state = f"{_duration(left)} left" if left else f"in {_duration(seconds)}"
        share = self._done / max(self._total, 1)
        count = f"{self._done:,}/{self._total:,} {self._unit} ({share:.0%})"
        self._print(f"{self._title}: {count}, {rate:,.0f}/s, {state}", end)

    def _print(self, text: str, end: str) -> None:
        # On a terminal a line overwrites the one before, so it is padded to cover a longer one
        print(f"{text:<99}" if self._terminal else text, end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
