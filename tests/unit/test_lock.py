"""Two runs into one folder: the second reports the first, and a killed run leaves no lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sitegen import lock
from sitegen.cli import main
from sitegen.errors import OutputError
from sitegen.lock import LOCK_FILE, locked
from sitegen.output import finished_output, writing_to
from tests.conftest import REPOSITORY, folder_bytes
from tests.tiny import TinyInputs

HOLD = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from sitegen.lock import locked
with locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"), ProcessPoolExecutor(1) as pool:
    print(pool.submit(__import__("os").getpid).result(), flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_another(root: Path, how: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """A process, with a worker, that holds the lock until the block ends."""
    command = [sys.executable, "-c", HOLD, str(root), how]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.kill(worker, signal.SIGKILL)


@pytest.fixture
def out(tiny_output: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_output, tmp_path / "out")
    return tmp_path / "out"


def test_every_writing_command_reports_a_running_one(
    tiny: TinyInputs, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset, folder = str(tiny.preset), str(out)
    with held_by_another(out) as other:
        before = folder_bytes(out)
        for command in (
            ["run", preset, "--out", folder],
            ["sweep", preset, "--out", folder],
            ["sweep", preset, "--out", folder, "--shard", "1/2"],
            ["merge", preset, "--out", folder],
            ["render", folder],
            ["export", folder, "--to", "parquet"],
            ["archive", folder],
            ["publish", folder, "--to", "gh-pages", "--yes"],
        ):
            assert main(command) == 2
            assert capsys.readouterr().err == (
                f"build.py: {folder}: another run (process {other.pid}) is writing to this folder: "
                "wait until it ends, or give another folder\n"
            )
        assert main(["check", folder]) == 0
        assert folder_bytes(out) == before


def test_a_killed_run_holds_no_lock_even_if_its_workers_outlive_it(out: Path) -> None:
    with held_by_another(out) as other:
        other.kill()
        other.wait()
        assert (out / LOCK_FILE).read_text() == f"{other.pid}\n"
        with writing_to(out):
            assert (out / LOCK_FILE).read_text() == f"{os.getpid()}\n"
        assert not (out / LOCK_FILE).exists()


def test_only_job_slices_of_a_sweep_may_write_at_the_same_time(
    tiny: TinyInputs, tmp_path: Path
) -> None:
    with held_by_another(tmp_path / "out", "shared") as other:
        job_slice = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out"), "--shard", "1/9"]
        assert main(job_slice) == 0
        message = rf"another run \(process {other.pid}\) is writing to this folder"
        with pytest.raises(OutputError, match=message), locked(tmp_path / "out"):
            pass
        assert (tmp_path / "out" / LOCK_FILE).exists()  # still held by the other slice
    with locked(tmp_path / "out"):
        pass
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sweep"]


def test_a_failing_command_leaves_neither_lock_nor_folder(tiny: TinyInputs, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    command = ["sweep", str(tiny.preset), "--out", str(folder), "--features", "90-99"]
    assert main(command) == 2
    assert not (tmp_path / "new").exists()


def test_a_reader_does_not_restore_a_data_folder_that_a_run_is_replacing(out: Path) -> None:
    (out / "data").rename(out / "data.former")
    with held_by_another(out), pytest.raises(OutputError, match="another run"):
        finished_output(out)
    assert finished_output(out).data.is_dir()


def test_a_file_system_without_locks_is_still_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(lock.NO_LOCKS[-1], "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        pass
