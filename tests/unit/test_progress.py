"""Progress messages of a run."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest

from sitegen import progress
from sitegen.cli import main
from sitegen.progress import Progress, announce, computing_stages, end_stage, plan_stages, tell
from sitegen.workers import worker_pool
from tests.tiny import TinyInputs


class Clock:
    """A clock that tests set. The thread that prints is replaced by a beat at every half second that passes.

    printed  (time, line) of every line printed so far
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 0.0
        self.printed: list[tuple[float, str]] = []
        self._capsys = capsys

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.note()
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 0.5, end)
            progress._display.beat()
            self.note()

    def note(self) -> None:
        """Take what was printed just now."""
        self.printed += [(self.now, line) for line in self._capsys.readouterr().err.splitlines()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Clock]:
    clock = Clock(capsys)
    monkeypatch.setattr("sitegen.progress.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("threading.Thread.start", lambda thread: None)
    yield clock
    end_stage()


def test_every_stage_is_announced_once_with_its_number(
    tiny: TinyInputs,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow this machine is, no stage shows a second line
    monkeypatch.setattr("sitegen.progress.SILENCE_S", 1e9)
    out = tmp_path_factory.mktemp("printed") / "out"
    command = ["run", str(tiny.preset), "--out", str(out), "--rows", "96"]
    assert main(command) == 0
    printed = capsys.readouterr().err.splitlines()
    numbers = [line.split()[0] for line in printed if re.match(r"\d+/\d+ ", line)]
    # The steps of a stage share its number
    assert list(dict.fromkeys(numbers)) == [f"{i}/11" for i in range(1, 12)]
    assert len(set(printed)) == len(printed)
    assert [line for line in printed if re.search(r"reconstruction: (\d+)/\1 rows \(100%\)", line)]
    assert not [line for line in printed if " left" in line]


def test_progress_counts_end_at_their_total(clock: Clock) -> None:
    plan_stages(*computing_stages(has_published=False))
    announce("sources")
    counted = Progress("sweep", 30, "tokens")
    for _ in range(3):
        clock.now += 11
        counted.advance(10)
    counted.finish()
    plan_stages()
    Progress("a stage of no plan", 1, "rows").finish()
    clock.note()
    lines = [line for _, line in clock.printed]
    assert lines[0] == "1/9 loading the model, the autoencoder and the text …"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "3/9 computing all features on all rows: 10/30 tokens (33%)",
        "3/9 computing all features on all rows: 20/30 tokens (67%)",
        "3/9 computing all features on all rows: 30/30 tokens (100%)",
        "a stage of no plan: 0/1 rows (0%)",
    ]


def test_no_stage_is_silent_for_more_than_five_seconds(clock: Clock) -> None:
    announce("map")
    clock.wait(23.5)
    counted = Progress("records", 2, "features", then="writing checksums")
    clock.wait(17)
    counted.advance(2)
    counted.finish()
    clock.wait(21)
    announce("hashes", only_if_long=True)
    clock.wait(8)
    times = [at for at, _ in clock.printed]
    assert max(later - former for former, later in pairwise(times)) <= 5
    assert len(times) < 20
    assert "writing records: writing checksums, 9.0 s so far" in [line for _, line in clock.printed]


@pytest.mark.parametrize("begin", ["announced", "only if long", "counted", "finished"])
def test_nothing_is_printed_after_a_stage(begin: str, clock: Clock) -> None:
    if begin in ("announced", "only if long"):
        announce("map", only_if_long=begin == "only if long")
    else:
        counted = Progress("records", 2, "features")
        if begin == "finished":
            counted.finish()
    clock.note()
    n_first = len(clock.printed)
    clock.wait(6)
    assert len(clock.printed) == n_first + 1
    end_stage()
    clock.wait(60)
    assert len(clock.printed) == n_first + 1


def test_a_short_stage_that_is_not_worth_a_line_prints_none(clock: Clock) -> None:
    announce("hashes", only_if_long=True)
    clock.wait(3)
    end_stage()
    clock.wait(60)
    assert clock.printed == []


def test_the_thread_ends_with_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sitegen.progress.TERMINAL_S", 0.001)
    before = set(threading.enumerate())
    announce("map")
    (thread,) = set(threading.enumerate()) - before
    end_stage()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_workers_print_nothing_of_the_stage_and_can_begin_their_own() -> None:
    announce("check", only_if_long=True)
    with worker_pool(_do_nothing) as pool:
        assert pool.submit(_print_in_worker).result(timeout=60)
    end_stage()


def _do_nothing() -> None:
    pass


def _print_in_worker() -> bool:
    """Whether this process has no stage, and its display is not locked."""
    is_free = progress._display._line is None
    tell("")
    return is_free


def test_a_line_on_a_terminal_is_overwritten_or_ended(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    counted = Progress("records", 4, "features")
    clock.wait(1)
    counted.advance(1)
    end_stage()
    tell("done")
    assert [line.rstrip() for line in re.split("[\r\n]", capsys.readouterr().err)] == [
        "writing records: 1/4 features (25%), 1/s, 3.0 s left",
        "",
        "done",
        "",
    ]


Step = tuple[float, int, bool]  # seconds, units, whether they were already there
WORK: dict[str, Callable[[], Iterable[Step]]] = {
    "a constant rate": lambda: ((0.3, 3, False) for _ in range(1000)),
    "large units": lambda: ((12.0, 100, False) for _ in range(40)),
    "slow first batches": lambda: ((6.0 if i < 5 else 0.5, 8, False) for i in range(600)),
    "work that was already there": lambda: (
        (0.05, 50, True) if i < 100 else (1.0, 50, False) for i in range(300)
    ),
    "units of two speeds": lambda: ((2.0 if i % 3 else 0.2, 10, False) for i in range(300)),
    "a second half that is four times as slow": lambda: (
        (0.5 if i < 300 else 2.0, 10, False) for i in range(600)
    ),
}

# From when the last third of the work is of the last rate
KNOWN_AFTER_S = {
    "slow first batches": 45.0,
    "a second half that is four times as slow": 150.0 * 1.5,
}


@pytest.mark.parametrize("what", WORK)
def test_the_time_left_proves_right(what: str, clock: Clock) -> None:
    """Within a factor of 1.5, once the rate has been the same for long enough to be known."""
    steps = list(WORK[what]())
    counted = Progress("records", sum(n for _, n, _ in steps), "features")
    for seconds, n, already_there in steps:
        clock.wait(seconds)
        counted.advance(n, already_there)
    clock.note()
    found = [
        (clock.now - at, _seconds(line.split(", ")[-1].removesuffix(" left")))
        for at, line in clock.printed
        if line.endswith(" left") and at > KNOWN_AFTER_S.get(what, 6.0)
    ]
    assert len(found) > 10
    # Within a second, as the last lines are rounded
    wrong = [(true, told) for true, told in found if not true / 1.5 - 1 <= told <= true * 1.5 + 1]
    assert wrong == []


def _seconds(duration: str) -> float:
    units = {"h": 3600, "min": 60, "s": 1}
    words = duration.split()
    return sum(float(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
