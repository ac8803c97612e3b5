"""One process, separately computed shards, and a run that is killed repeatedly give the same bytes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sitegen import compute
from sitegen.analysis import findings
from sitegen.cli import WRONG_USAGE, main
from sitegen.config import load_config
from sitegen.sources.inputs import load_inputs
from sitegen.sweep.shards import SavedStates, ShardSweeper
from tests.conftest import REPOSITORY, folder_bytes
from tests.tiny import TinyInputs

N_KILLS = 3
SEVEN_SHARDS = ["--set", "sweep.shard_rows=104"]


@pytest.fixture(scope="module")
def one_process(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("one")
    assert main(["sweep", str(tiny.preset), "--out", str(out), *SEVEN_SHARDS]) == 0
    return folder_bytes(out / "data")


def test_seven_shards_computed_separately_merge_to_the_same_data(
    tiny: TinyInputs, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    config = load_config(str(tiny.preset), {"sweep.shard_rows": 104})
    inputs = load_inputs(config)
    sweeper, saved = (
        ShardSweeper(inputs, config),
        SavedStates(inputs, config, [tmp_path / "sweep"]),
    )
    assert len(saved.shards) == 7
    for shard in reversed(saved.shards):
        saved.save(shard, sweeper.sweep(shard))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").iterdir()}
    assert len(written) == 7
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path), *SEVEN_SHARDS]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").iterdir()} == written
    assert folder_bytes(tmp_path / "data") == one_process


@pytest.mark.slow
def test_a_run_killed_three_times_resumes_to_the_same_bytes(
    tiny: TinyInputs, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "build.py",
        "sweep",
        str(tiny.preset),
        "--out",
        str(tmp_path),
        *SEVEN_SHARDS,
    ]
    for n_kills in range(N_KILLS):
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        while len(list(tmp_path.glob("sweep/rows-*.npz"))) <= n_kills and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (tmp_path / "data").exists()
    n_saved = len(list(tmp_path.glob("sweep/rows-*.npz")))
    assert N_KILLS <= n_saved < 7
    subprocess.run(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL, check=True)
    assert folder_bytes(tmp_path / "data") == one_process


STEPS = ("measure_fit", "read_contexts", "count_copies", "read_sample", "find_relations")


def test_an_interrupted_analysis_resumes_with_the_part_it_was_in(
    tiny: TinyInputs,
    one_process: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(module, name, call)

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for name in STEPS:
        counted(compute if name == "measure_fit" else findings, name)
    command = ["sweep", str(tiny.preset), "--out", str(tmp_path), *SEVEN_SHARDS]
    with monkeypatch.context() as patched:
        patched.setattr(findings, "measure_quality", interrupted)
        assert main(command) == WRONG_USAGE
    assert calls == list(STEPS)
    kept = sorted((tmp_path / "sweep").glob("part-*"))
    assert [path.stem.removeprefix("part-") for path in kept] == sorted(
        ["fit", "contexts", "copies", "sample", "relations", "misses"]
    )
    damaged = tmp_path / "sweep/part-copies.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert main(command) == 0
    assert calls == [*STEPS, "count_copies"]
    last_line = capsys.readouterr().err
    assert re.findall("(\\d)/9 .*: already done by the interrupted run", last_line) == list("2456")
    assert folder_bytes(tmp_path / "data") == one_process
    assert not list((tmp_path / "sweep").glob("part-*"))


def test_damaged_or_foreign_shards_are_computed_again(
    tiny: TinyInputs, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    other = ["--set", "contexts.n_top=2", "--set", "sweep.shard_rows=104"]
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path), *other]) == 0
    shards = sorted((tmp_path / "sweep").iterdir())
    shards[1].write_bytes(shards[1].read_bytes()[:1000])
    shards[2].write_bytes(b"")
    shards[3].write_bytes(b"PK\x03\x04 no archive")
    np.savez(shards[4].with_suffix(""), key=np.array("another key"))
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path), *SEVEN_SHARDS]) == 0
    assert folder_bytes(tmp_path / "data") == one_process
    (tmp_path / "computed.json").unlink()
    for i, shard in enumerate(sorted((tmp_path / "sweep").iterdir())):
        content = bytearray(shard.read_bytes())
        content[(i + 1) * len(content) // 9] ^= 1
        shard.write_bytes(content)
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path), *SEVEN_SHARDS]) == 0
    assert folder_bytes(tmp_path / "data") == one_process


def test_a_changed_special_token_invalidates_old_shards(tiny: TinyInputs, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(tiny.tokenizer, tokenizer)
    arguments = ["sweep", str(tiny.preset), "--set", f"model.tokenizer={tokenizer}", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    settings = tokenizer / "tokenizer_config.json"
    settings.write_text(
        settings.read_text().replace('"eos_token": "<|EOS|>"', '"eos_token": "<|PAD|>"')
    )
    assert main([*arguments, str(tmp_path / "out")]) == 0
    assert main([*arguments, str(tmp_path / "fresh")]) == 0
    assert folder_bytes(tmp_path / "out/data") == folder_bytes(tmp_path / "fresh/data")


def test_two_builds_are_equal_to_the_byte(
    tiny: TinyInputs, tiny_output: Path, tmp_path: Path
) -> None:
    assert main(["run", str(tiny.preset), "--out", str(tmp_path)]) == 0
    assert folder_bytes(tmp_path / "data") == folder_bytes(tiny_output / "data")
    assert folder_bytes(tmp_path / "site") == folder_bytes(tiny_output / "site")


def test_subset_of_features_has_the_same_records(
    tiny: TinyInputs, tiny_output: Path, tmp_path: Path
) -> None:
    assert main(["run", str(tiny.preset), "--out", str(tmp_path), "--features", "3-5,40"]) == 0
    names = sorted(path.name for path in (tmp_path / "data/features").iterdir())
    assert names == ["00003.json", "00004.json", "00005.json", "00040.json"]
    for name in names:
        few, all_ = (
            json.loads((out / "data/features" / name).read_text())
            for out in (tmp_path, tiny_output)
        )
        assert few["n_active"] == all_["n_active"]
        assert few["max_activation"] == pytest.approx(all_["max_activation"], rel=1e-5)
        assert few["logits"]["top"][0]["id"] == all_["logits"]["top"][0]["id"]
        for one, other in zip(few["contexts"], all_["contexts"], strict=True):
            assert one["activation"] == pytest.approx(other["activation"], rel=1e-5)
            assert one["tokens"] == other["tokens"]
    manifest = (tmp_path / "data/manifest.json").read_text()
    assert '"n_features": 4' in manifest
    assert (tmp_path / "site/features/40.html").is_file()


def test_a_checked_output_is_checked_again_once_it_has_changed(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(tiny.preset), "--out", str(tmp_path), "--rows", "96", "--features", "0-7"]

    def last_line() -> str:
        assert main(command) == 0
        return capsys.readouterr().err.splitlines()[-1]

    first = last_line()
    assert last_line() == f"{first} (unchanged since the last check)"
    strange = tmp_path / "data/strange.json"
    strange.write_text("{}")
    (tmp_path / "site/features/5.html").write_text("edited")
    assert main(["check", str(tmp_path)]) == 1
    strange.unlink()
    capsys.readouterr()
    assert last_line().startswith(first)
    (tmp_path / "site/static/site.css").write_text("")
    assert last_line().startswith(first)


def test_finished_data_is_kept_until_something_changes(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", str(tiny.preset), "--out", str(tmp_path), "--rows", "96"]

    def last_line(*more: str) -> str:
        assert main([*command, *more]) == 0
        return capsys.readouterr().err.splitlines()[-1]

    assert last_line().startswith(f"wrote {tmp_path}/data")
    expected = folder_bytes(tmp_path / "data")
    assert last_line().startswith(
        f"kept {tmp_path}/data, which an earlier run computed from the same inputs"
    )
    assert last_line("--set", "site.title=Other").startswith(f"wrote {tmp_path}/data")
    assert last_line().startswith(f"wrote {tmp_path}/data")
    record = tmp_path / "data/features/00007.json"
    damaged = record.read_bytes().replace(b"7", b"8", 1)
    record.write_bytes(damaged)
    assert last_line().startswith(f"wrote {tmp_path}/data")
    (tmp_path / "data/features/00008.json").unlink()
    assert last_line().startswith(f"wrote {tmp_path}/data")
    (tmp_path / "computed.json").write_text("[]")
    assert last_line().startswith(f"wrote {tmp_path}/data")
    assert folder_bytes(tmp_path / "data") == expected


def test_a_changed_setting_of_the_autoencoder_invalidates_old_shards(
    tiny: TinyInputs, tmp_path: Path
) -> None:
    """The same files are read otherwise, so their hashes alone do not tell."""
    arguments = ["sweep", str(tiny.preset), "--set", "autoencoder.accept_poor_fit=true", "--out"]
    changed = ["--set", "autoencoder.subtracts_b_dec=false"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    assert main([*arguments, str(tmp_path / "out"), *changed]) == 0
    assert main([*arguments, str(tmp_path / "fresh"), *changed]) == 0
    assert folder_bytes(tmp_path / "out/data") == folder_bytes(tmp_path / "fresh/data")
