"""How far a run is, on standard error: which stage of how many, and of a long one its share done and the time left."""

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
    "sources": "reading the model, the autoencoder and the text",
    "fit": "comparing the autoencoder with the activations",
    "sweep": "sweeping all rows",
    "contexts": "reading the contexts that pages show",
    "sample": "reading the sample rows with all features",
    "relations": "comparing features with each other",
    "map": "drawing the map of features",
    "published": "computing the published numbers again",
    "quality": "measuring losses with the reconstruction",
    "densities": "counting densities",
    "records": "writing records",
    "render": "rendering pages",
    "check": "checking",
}

_plan: list[str] = []  # the stages of this process' command, in order
_outer: list[str] = []  # the stage that others are steps of, if there is one


def computing_stages(has_published: bool) -> list[str]:
    """The stages from sources to data.

    has_published  whether numbers of the subject are published
    """
    return [stage for stage in _COMPUTING if has_published or stage != "published"]


def plan_stages(*stages: str) -> None:
    """Says which stages the command has, so that each is told as one of how many."""
    _plan[:] = stages


def announce(stage: str) -> None:
    """One line as a stage begins that has no count of its own."""
    print(f"{_title(stage)} …", file=sys.stderr, flush=True)


def announce_kept(stage: str) -> None:
    """One line for a stage that an interrupted run had finished."""
    print(f"{_title(stage)}: kept from the interrupted run", file=sys.stderr, flush=True)


@contextmanager
def within(stage: str) -> Iterator[None]:
    """Stages that begin in the block are told as steps of this one, since they may be stages of their own too."""
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
    """Reports on a stage of `total` units: twice a second on a terminal, every ten seconds elsewhere."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = _title(stage), total, unit
        self._done = self._counted = 0
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()
        if self._terminal:
            self._print(f"{self._title} …", end="\r")

    def advance(self, n: int, already_there: bool = False) -> None:
        """Counts `n` more units; those that were there before the run say nothing of its rate."""
        self._done += n
        self._counted += 0 if already_there else n
        is_due = time.monotonic() - self._shown > (0.5 if self._terminal else 10)
        if is_due and self._done < self._total:  # the last line is that of `finish`
            self._show(end="\r" if self._terminal else "\n")

    def finish(self) -> None:
        """The last line of the stage."""
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
        print(f"{text:<99}" if self._terminal else text, end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
