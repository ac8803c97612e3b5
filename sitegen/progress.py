"""How far a long stage is: share done, rate, time left; on standard error."""

from __future__ import annotations

import sys
import time


class Progress:
    """Reports on a stage of `total` units: twice a second on a terminal, every ten seconds elsewhere."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self._stage, self._total, self._unit = stage, total, unit
        self._done = self._counted = 0
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def advance(self, n: int, already_there: bool = False) -> None:
        """Counts `n` more units; those that were there before the run say nothing of its rate."""
        self._done += n
        self._counted += 0 if already_there else n
        if time.monotonic() - self._shown > (0.5 if self._terminal else 10):
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
        text = f"{self._stage}: {self._done:,}/{self._total:,} {self._unit} ({share:.0%}), {rate:,.0f}/s, {state}"
        print(f"{text:<79}", end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
