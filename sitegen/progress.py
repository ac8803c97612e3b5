"""Progress of a run on standard error: the stage, its number, and for long stages the share done and the time left.

A stage lasts until the next one begins or `end_stage` is called, and shows a line at least every five seconds.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
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
    "contexts": "reading the contexts that pages show",
    "ablation": "removing features",
    "changes": "tokens promoted and suppressed",
    "rest": "remaining lists of tokens",
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
    "libraries": "loading libraries",
    "hashes": "computing hashes of the files that were checked",
    "archive": "writing the archive",
}
# Longest time without a line, and time between two states of the same line on a terminal
SILENCE_S, TERMINAL_S = 5.0, 0.5
# The rate of progress is that of the last third of the work, but of no less than this time
SHARE_OF_RECENT, SHORTEST_RECENT_S = 1 / 3, 20.0

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
    """Set the stages of the command, so that each line shows the stage's number; none of them has begun."""
    end_stage()
    _plan[:] = stages


def announce(stage: str, only_if_long: bool = False) -> None:
    """Begin a stage whose length is unknown.

    only_if_long  whether to print nothing unless it lasts longer than five seconds
    """
    title = _title(stage)
    if not only_if_long:
        _display.show(f"{title} …")
    _display.begin(_time_so_far(title))


def announce_kept(stage: str) -> None:
    """Print one line for a stage whose result an interrupted run has kept."""
    title = _title(stage)
    _display.show(f"{title}: already done by the interrupted run")
    _display.begin(_time_so_far(f"{title}: finishing"))


def tell(sentence: str) -> None:
    """Print one line that belongs to no stage."""
    _display.show(sentence)


def end_stage() -> None:
    """End the present stage, if there is one: nothing more is printed of it."""
    _display.end()


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


def _time_so_far(what: str) -> Callable[[float], str]:
    """Line of a stage whose length is unknown, by the time at which it is printed."""
    started = time.monotonic()
    return lambda now: f"{what}, {_duration(now - started)} so far"


class _Display:
    """Standard error, and a thread that prints the present stage's line whenever no line was printed for a while."""

    def __init__(self) -> None:
        self._forget()
        # A worker forked while the thread holds the lock would wait for it forever
        os.register_at_fork(
            before=lambda: self._lock.acquire(),
            after_in_parent=lambda: self._lock.release(),
            after_in_child=self._forget,
        )

    def _forget(self) -> None:
        """Begin as in a new process: without a stage, and without a thread."""
        self._lock = threading.RLock()
        self._line: Callable[[float], str] | None = None
        self._thread_ends: threading.Event | None = None
        self._shown = 0.0
        # Whether the last line on a terminal is to be overwritten by the next
        self._is_open = False

    def begin(self, line: Callable[[float], str]) -> None:
        """Begin a stage, by the function that gives its line at a time."""
        with self._lock:
            if self._line is None:
                self._shown = time.monotonic()
            self._line = line
            if self._thread_ends is None:
                ends = self._thread_ends = threading.Event()
                threading.Thread(target=self._beat_until, args=(ends,), daemon=True).start()

    def end(self) -> None:
        """End the stage."""
        with self._lock:
            self._line = None
            if self._thread_ends is not None:
                self._thread_ends.set()
                self._thread_ends = None
            if self._is_open:
                self.show("")

    def show(self, text: str, is_final: bool = True) -> None:
        """Print a line; on a terminal the next line overwrites it unless it is final."""
        is_terminal = sys.stderr.isatty()
        with self._lock:
            self._is_open = is_terminal and not is_final
            # Padded to cover a longer line before it
            text = f"{text:<99}" if is_terminal else text
            print(text, end="\r" if self._is_open else "\n", file=sys.stderr, flush=True)
            self._shown = time.monotonic()

    def beat(self) -> None:
        """Print the stage's line if no line was printed for a while."""
        with self._lock:
            now = time.monotonic()
            if self._line is not None and now - self._shown >= SILENCE_S - TERMINAL_S:
                self.show(self._line(now), is_final=False)

    def is_due(self, now: float) -> bool:
        """Whether it is time for another state of the same line."""
        return now - self._shown >= (TERMINAL_S if sys.stderr.isatty() else SILENCE_S - TERMINAL_S)

    def _beat_until(self, ends: threading.Event) -> None:
        while not ends.wait(TERMINAL_S):
            self.beat()


_display = _Display()


class Pace:
    """Rate of the recent work of a stage, and the time left at that rate.

    The rate of all work would be wrong for long after a slow beginning or a change of the rate.
    """

    def __init__(self, now: float) -> None:
        self._counted_at = now
        # (seconds worked, units done) after some of the counts, the latest last
        self._marks = deque([(0.0, 0)])

    def count(self, n: int, now: float, already_there: bool) -> None:
        """Count `n` more units; neither they nor the time they took enter the rate if they were already there."""
        seconds, done = self._marks[-1]
        took, self._counted_at = now - self._counted_at, now
        if already_there:
            return
        # Marks closer than half a second apart would only take memory
        if len(self._marks) > 1 and seconds + took - self._marks[-2][0] < TERMINAL_S:
            self._marks.pop()
        self._marks.append((seconds + took, done + n))
        recent = max(SHORTEST_RECENT_S, (seconds + took) * SHARE_OF_RECENT)
        while len(self._marks) > 2 and self._marks[1][0] <= seconds + took - recent:
            self._marks.popleft()

    def rate(self, now: float) -> float:
        """Units per second; 0 before the first unit."""
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        seconds = last - first + self._overdue(now)
        return (after - before) / seconds if seconds > 0 else 0.0

    def seconds_left(self, n: int, now: float) -> float | None:
        """Time in which `n` more units will be done; None before the first unit."""
        rate = self.rate(now)
        waited = now - self._counted_at - self._overdue(now)
        return max(n / rate - waited, 0.0) if rate else None

    def _overdue(self, now: float) -> float:
        """Seconds by which the next count is later than the recent ones were on average."""
        usual = (self._marks[-1][0] - self._marks[0][0]) / max(len(self._marks) - 1, 1)
        return max(now - self._counted_at - usual, 0.0)


class Progress:
    """Progress of a stage of `total` units, printed twice a second on a terminal and every five seconds elsewhere.

    then  what the stage does after its last unit, in words for the reader
    """

    def __init__(self, stage: str, total: int, unit: str, then: str = "finishing") -> None:
        self._title, self._total, self._unit, self._then = _title(stage), total, unit, then
        self._done = self._counted = 0
        self._started = time.monotonic()
        self._pace = Pace(self._started)
        _display.begin(self._line)

    def advance(self, n: int, already_there: bool = False) -> None:
        """Count `n` more units.

        already_there  whether an earlier run has done them; then they are left out of the rate
        """
        now = time.monotonic()
        self._done += n
        self._counted += 0 if already_there else n
        self._pace.count(n, now, already_there)
        # `finish` prints the last line
        if self._done < self._total and _display.is_due(now):
            _display.show(self._line(now), is_final=False)

    def finish(self) -> None:
        """Print the last line of the stage."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        _display.show(f"{self._count()}, {_rate(self._counted / seconds)}, in {_duration(seconds)}")
        _display.begin(_time_so_far(f"{self._title}: {self._then}"))

    def _line(self, now: float) -> str:
        left = self._pace.seconds_left(self._total - self._done, now)
        if left is None:
            return f"{self._count()}, {_duration(now - self._started)} so far"
        return f"{self._count()}, {_rate(self._pace.rate(now))}, {_duration(left)} left"

    def _count(self) -> str:
        share = self._done / max(self._total, 1)
        return f"{self._title}: {self._done:,}/{self._total:,} {self._unit} ({share:.0%})"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
