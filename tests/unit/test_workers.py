"""Worker processes: Ctrl-C ends them without output of their own, and they end with the main process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY

PROGRAM = """
import os, signal, sys, time
from sitegen.workers import worker_pool

def begin(folder):
    open(f"{folder}/{os.getpid()}", "w").close()

def work(i):
    time.sleep(0.2)

if __name__ == "__main__":
    if sys.argv[2] == "interrupted fork":
        os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        with worker_pool(begin, sys.argv[1]) as pool:
            print("started", flush=True)
            list(pool.map(work, range(1000)))
    except KeyboardInterrupt:
        sys.exit(2)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "workers").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def start(program: Path, how: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(program), str(program.parent / "workers"), how],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers_of(program: Path, n: int) -> list[psutil.Process]:
    """The worker processes, once there are `n` of them."""
    folder = program.parent / "workers"
    while len(list(folder.iterdir())) < n:
        time.sleep(0.01)
    return [psutil.Process(int(path.name)) for path in folder.iterdir()]


def are_gone(workers: list[psutil.Process]) -> bool:
    return not [one for one in workers if one.is_running() and one.status() != "zombie"]


def test_only_the_main_process_handles_an_interrupt(program: Path) -> None:
    process = start(program)
    workers = workers_of(program, os.cpu_count() or 1)
    os.killpg(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message == ""
    assert are_gone(workers)


def test_an_interrupt_while_processes_are_started_is_not_lost(program: Path) -> None:
    process = start(program, "interrupted fork")
    _, message = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message == ""


def test_workers_end_with_a_main_process_that_was_killed(program: Path) -> None:
    process = start(program)
    workers = workers_of(program, os.cpu_count() or 1)
    process.kill()
    process.communicate()
    end = time.monotonic() + 20
    while not are_gone(workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert are_gone(workers)
