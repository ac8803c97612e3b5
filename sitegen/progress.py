"""How far a run is, on standard error: which stage of how many, and of a long one its share done and the time left."""

from __future__ import annotations

import sys
import time

COMPUTING = (
    "sources",
    "fit",
    "sweep",
    "contexts",
    "sample",
    "relations",
    "quality",
    "overview",
    "records",
)
TITLES = {
    "sources": "reading the model, the autoencoder and the text",
    "fit": "comparing the autoencoder with the activations",
    "sweep": "sweeping all rows",
    "contexts": "reading the contexts that pages show",
    "sample": "reading the sample rows with all features",
    "relations": "comparing features with each other",
    "overview": "drawing the overview's charts and map",
    "quality": "measuring losses with the reconstruction",
    "densities": "counting densities for the published numbers",
    "records": "writing records",
    "render": "rendering pages",
    "check": "checking",
}

_plan: list[str] = []  # the stages of this process' command, in order


def plan_stages(*stages: str) -> None:
    """Says which stages the command has, so that each is told as one of how many."""
    _plan[:] = stages


def announce(stage: str) -> None:
    """One line as a stage begins that has no count of its own."""
    print(f"{_title(stage)} …", file=sys.stderr, flush=True)


def _title(stage: str) -> str:
    title = TITLES.get(stage, stage)
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
