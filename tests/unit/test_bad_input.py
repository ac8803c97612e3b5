"""Errors that a user can cause: a message of one line, exit code 2, no traceback, and an unchanged output folder."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.sources.settings import read_settings
from sitegen.store import SCHEMA_VERSION
from tests.conftest import REPOSITORY, folder_bytes
from tests.tiny import TinyInputs


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sweep", "dmo", "--out", "OUT"], "no preset named 'dmo' (did you mean demo?)"),
        (["sweep", "absent.toml", "--out", "OUT"], "absent.toml: no such file"),
        (["sweep", "TINY", "--out", "OUT", "--features", "5-3"], "features '5-3'"),
        (
            ["sweep", "TINY", "--out", "OUT", "--features", "90-99"],
            "no feature 99, the autoencoder has 93",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--rows", "0"],
            "--rows 0: give a number of rows above 0",
        ),
        (["sweep", "TINY", "--out", "OUT", "--rows", "many"], "--rows many"),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "contexts.n_tops=3"],
            "no field contexts.n_tops",
        ),
        (["sweep", "TINY", "--out", "OUT", "--set", "contexts.n_top=x"], "contexts.n_top is 'x'"),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "contexts"],
            "--set contexts: give section.field=value",
        ),
        (["sweep", "TINY", "--out", "OUT", "--rows", "²"], "--rows ²"),
        (["sweep", "TINY", "--out", "OUT", "--features", "²"], "features '²'"),
        (
            ["sweep", "TINY", "--out", "OUT", "--features", "0-9999999999"],
            "no feature 9999999999, the autoencoder",
        ),
        (["sweep", "TINY", "--out", "OUT", "--set", "corpus.seed=-1"], "corpus.seed is -1"),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "contexts.n_top=999999999"],
            "contexts.n_top is 999999999",
        ),
        (["sweep", "TINY", "--out", "OUT", "--precision", "fp8"], "sweep.precision is 'fp8'"),
        (
            ["sweep", "TINY", "--out", "OUT", "--precision", "tf32", "--device", "cpu"],
            "tf32 needs a CUDA device",
        ),
        (["sweep", "TINY", "--out", "OUT", "--device", "tpu"], "sweep.device is 'tpu'"),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "corpus.seq_len=65"],
            "takes 64 tokens at most",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "corpus.files=gone.jsonl"],
            "gone.jsonl: no such corpus file",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "corpus.column=body"],
            "has no column 'body' (columns: text)",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "autoencoder.source=gone.pt"],
            "gone.pt: no such autoencoder",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "autoencoder.source=run9"],
            "autoencoder 'run9'",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "model.hook_point=blocks.3.mlp.hook_post"],
            "no hook point",
        ),
        (
            ["sweep", "TINY", "--out", "OUT", "--set", "model.hook_point=blocks.0.hook_resid_post"],
            "has width 20",
        ),
        (
            [
                "sweep",
                "TINY",
                "--out",
                "OUT",
                "--set",
                "model.hook_point=blocks.0.attn.hook_pattern",
            ],
            "not linear",
        ),
        (["render", "OUT"], "contains no data/manifest.json"),
        (["check", "OUT"], "contains no data/manifest.json"),
        (["serve", "OUT"], "contains no data/manifest.json"),
    ],
)
def test_wrong_usage_gives_a_one_line_error(
    arguments: list[str],
    complaint: str,
    tiny: TinyInputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"TINY": str(tiny.preset), "OUT": str(tmp_path / "out")}
    assert main([named.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("build.py: ")
    assert complaint in error[-1]
    assert not (tmp_path / "out/data").exists()


def test_unknown_option_exits_with_2() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", "demo", "--out", "x", "--fast"])


def _without_bias(weights: dict[str, Tensor]) -> None:
    del weights["b_enc"]


def _with_extra(weights: dict[str, Tensor]) -> None:
    weights["scaling_factor"] = torch.zeros(93)


def _with_short_threshold(weights: dict[str, Tensor]) -> None:
    weights["threshold"] = torch.zeros(92)


def _with_k(weights: dict[str, Tensor]) -> None:
    weights["k"] = torch.tensor(4)


def _with_nan(weights: dict[str, Tensor]) -> None:
    weights["W_enc"][3, 4] = torch.nan


def _with_infinity(weights: dict[str, Tensor]) -> None:
    weights["b_dec"][0] = torch.inf


def _of_integers(weights: dict[str, Tensor]) -> None:
    weights["b_enc"] = weights["b_enc"].long()


def _transposed(weights: dict[str, Tensor]) -> None:
    weights["W_enc"] = weights["W_enc"].T.contiguous()


def _of_another_width(weights: dict[str, Tensor]) -> None:
    weights["W_enc"], weights["W_dec"] = (
        weights["W_enc"][:-1].clone(),
        weights["W_dec"][:, :-1].clone(),
    )
    weights["b_dec"] = weights["b_dec"][:-1].clone()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_without_bias, "lacks b_enc"),
        (_with_extra, "has also scaling_factor"),
        (_with_short_threshold, "set autoencoder.activation (relu, jumprelu, topk, batchtopk)"),
        (_with_k, "a plain file does not state its activation function"),
        (_with_nan, "W_enc holds 1 values that are NaN or infinite"),
        (_with_infinity, "b_dec holds 1 values that are NaN or infinite"),
        (_of_integers, "b_enc is torch.int64 [93]"),
        (_transposed, "W_enc has shape [93, 37]"),
        (
            _of_another_width,
            "reads activations of width 36, but blocks.0.mlp.hook_post has width 37",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_an_unusable_autoencoder_is_named(
    spoil: Callable[[dict[str, Tensor]], None],
    complaint: str,
    suffix: str,
    tiny: TinyInputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = load_file(tiny.autoencoder)
    spoil(weights)
    path = tmp_path / f"spoilt{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    arguments = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"autoencoder.source={path}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"spoilt{suffix}" in error
    assert complaint in error


def test_truncated_weights_are_named(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(tiny.autoencoder.read_bytes()[:2000])
    arguments = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"autoencoder.source={path}"]) == 2
    assert "cut.safetensors cannot be read as a file of plain tensors" in capsys.readouterr().err


def test_an_archive_or_a_bare_site_is_not_taken_for_an_output_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "site.zip").write_bytes(b"PK")
    assert main(["check", str(tmp_path / "site.zip")]) == 2
    assert "site.zip is a file: give the output folder" in capsys.readouterr().err
    (tmp_path / "index.html").write_text("")
    assert main(["check", str(tmp_path)]) == 2
    assert "is only a site: give the output folder" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["model.name", "autoencoder.source"])
def test_an_empty_folder_name_is_refused(
    field: str, tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"{field}="]) == 2
    assert f"{field} is empty: give" in capsys.readouterr().err


def test_model_folder_without_weights_is_named(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    shutil.copy(tiny.model / "config.json", tmp_path / "model")
    arguments = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"model.name={tmp_path / 'model'}"]) == 2
    assert "model holds no model.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    "stranger", ["notes.txt", "data/notes.txt", "site/mine.html", "thesis/chapter1.tex"]
)
def test_a_folder_with_other_files_is_left_alone(
    stranger: str, tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / stranger
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert main(["run", str(tiny.preset), "--out", str(tmp_path / "out")]) == 2
    assert "out" in capsys.readouterr().err
    assert folder_bytes(tmp_path / "out") == {stranger: b"mine"}


def test_file_as_output_folder_is_refused(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert main(["run", str(tiny.preset), "--out", str(tmp_path / "out")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_failing_sweep_leaves_the_previous_run_intact(
    tiny: TinyInputs, tiny_output: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(tiny_output, out)
    before = folder_bytes(out)
    spoilt = ["--set", "corpus.column=body"]
    assert main(["run", str(tiny.preset), "--out", str(out), *spoilt]) == 2
    assert folder_bytes(out) == before


@pytest.mark.parametrize("command", ["render", "sweep"])
def test_a_full_disk_gives_a_one_line_error_and_loses_nothing(
    command: str, tiny: TinyInputs, tiny_output: Path, tmp_path: Path
) -> None:
    """A limit on file sizes simulates a full disk: in both cases a write fails in the middle."""
    out = tmp_path / "out"
    shutil.copytree(tiny_output, out)
    manifest = out / "data/manifest.json"  # another title, so that every page is to be written
    manifest.write_text(manifest.read_text().replace("Tiny <subject>", "Another"))
    before = folder_bytes(out)
    program = (
        "import resource, signal, sys\n"
        "from sitegen.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    sweep = ["sweep", str(tiny.preset), "--out", str(out), "--set", "contexts.n_top=5"]
    arguments = ["render", str(out)] if command == "render" else sweep
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "file too large" in done.stderr.strip().splitlines()[-1]
    after = folder_bytes(out)
    after.pop("sweep/part-fit.npz", None)  # which the next run takes over
    assert after == before


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n"


@pytest.mark.parametrize(
    ("field", "file"),
    [
        ("autoencoder.source", "sae.safetensors"),
        ("autoencoder.source", "sae.pt"),
        ("autoencoder.source", "folder/sae_weights.safetensors"),
        ("autoencoder.source", "folder/cfg.json"),
        ("other.source", "sae.safetensors"),
        ("model.name", "folder/model.safetensors"),
        ("model.name", "folder/config.json"),
        ("model.tokenizer", "folder/tokenizer.json"),
        ("corpus.files", "text.jsonl"),
        ("corpus.files", "text.parquet"),
        ("corpus.files", "text.txt"),
        ("--labels", "labels.csv"),
        ("--labels", "folder/explanations/batch-0.jsonl.gz"),
        ("--labels", "folder/explanations/a_latent1.txt"),
        ("PRESET", "preset.toml"),
    ],
)
def test_a_git_lfs_pointer_is_reported_with_its_file(
    field: str, file: str, tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = tmp_path / "folder", tmp_path / file
    if field == "model.name":
        shutil.copytree(tiny.model, folder)
    path.parent.mkdir(exist_ok=True, parents=True)
    if field == "autoencoder.source" and file.startswith("folder"):
        shutil.copy(tiny.autoencoder, folder / "sae_weights.safetensors")
        (folder / "cfg.json").write_text("{}")
    path.write_text(POINTER)
    given = folder if file.startswith("folder") else path
    preset = path if field == "PRESET" else tiny.preset
    more = [field, str(given)] if field == "--labels" else ["--set", f"{field}={given}"]
    out = ["--out", str(tmp_path / "out")]
    assert main(["run", str(preset), *out, *(more if field != "PRESET" else [])]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"build.py: {path} is a Git LFS pointer, not the file itself: "
        "run git lfs pull in its repository"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["manifest.json", "vocab.json", "features/00003.json"])
def test_git_lfs_pointers_in_data_do_not_ask_for_a_new_sweep(
    file: str, tiny_output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_output / "data", tmp_path / "data")
    shutil.copytree(tiny_output / "site", tmp_path / "site")
    (tmp_path / "data" / file).write_text(POINTER)
    message = f"{tmp_path / 'data' / file} is a Git LFS pointer"
    assert main(["check", str(tmp_path)]) == 1
    assert message in capsys.readouterr().out
    assert main(["render", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"build.py: {message}")


def test_a_byte_order_mark_changes_nothing(tiny: TinyInputs, tmp_path: Path) -> None:
    (tmp_path / tiny.preset.name).write_bytes(BOM_UTF8 + tiny.preset.read_bytes())
    given = load_config(str(tmp_path / tiny.preset.name))
    assert given.corpus.seq_len == load_config(str(tiny.preset)).corpus.seq_len
    (tmp_path / "cfg.json").write_bytes(BOM_UTF8 + b'{"k": 3}')
    assert read_settings(tmp_path / "cfg.json", "sae") == {"k": 3}


def _no_room(*arguments: object, **options: object) -> None:
    raise OSError(
        errno.ENOSPC, os.strerror(errno.ENOSPC)
    )  # like the error of a write: without a file name


def _no_room_in_rust(*arguments: object, **options: object) -> None:
    raise RuntimeError("Data processing error: IO Error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("function", "fails", "setting", "full"),
    [
        ("sitegen.sweep.state.SweepState.write", _no_room, "contexts.n_top=5", "OUT/sweep"),
        (
            "sitegen.sources.corpus._write_stream",
            _no_room,
            "corpus.seed=5",
            "XDG_CACHE_HOME/sae-sitegen/rows",
        ),
        ("sitegen.sources.hub.hf_hub_download", _no_room, "autoencoder.source=run1", "HF_HOME/hub"),
        (
            "sitegen.sources.hub.hf_hub_download",
            _no_room_in_rust,
            "autoencoder.source=run1",
            "HF_HOME/hub",
        ),
    ],
)
def test_a_full_disk_is_reported_with_the_folder_on_it(
    function: str,
    fails: Callable[..., None],
    setting: str,
    full: str,
    tiny: TinyInputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (Path(os.environ["HF_HOME"]) / "hub").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(function, fails)
    said = SimpleNamespace(etag="a" * 40, commit_hash="b" * 40, size=99)
    monkeypatch.setattr("sitegen.sources.hub._ask", lambda file: said)  # a Hub that answers
    arguments = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out"), "--set", setting]
    assert main(arguments) == 2
    root, _, below = full.partition("/")
    full = str(Path(tmp_path / "out" if root == "OUT" else os.environ[root]) / below)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    found = re.fullmatch(
        r"build\.py: (.+): no space left on its disk \([\d.,]+ MB free\): "
        r"free space there, then run the same command again",
        message,
    )
    assert found, message
    assert found[1] == full


@pytest.mark.parametrize(
    ("full", "free", "setting", "what", "otherwise"),
    [
        (
            "OUT",
            300_000,
            "site.title=Another",
            r"this run \(sweep/ \d\.\d MB, data/ 0\.\d MB, site/ \d\.\d MB\) needs about \d\.\d MB",
            "give another folder with --out",
        ),
        (
            "XDG_CACHE_HOME/sae-sitegen/rows",
            9_000,
            "corpus.seed=7",
            r"the text as rows needs about 0\.\d MB",
            "set XDG_CACHE_HOME to a folder on another disk",
        ),
        (
            "HF_HOME/hub",
            98,
            "autoencoder.source=run1",
            r"NeelNanda/sparse_autoencoder/25\.pt needs about 0\.0 MB",
            "set HF_HOME to a folder on another disk",
        ),
    ],
)
def test_free_space_is_checked_before_anything_is_computed(
    full: str,
    free: int,
    setting: str,
    what: str,
    otherwise: str,
    tiny: TinyInputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (Path(os.environ["HF_HOME"]) / "hub").mkdir(parents=True, exist_ok=True)
    root, _, below = full.partition("/")
    folder = Path(tmp_path / "out" if root == "OUT" else os.environ[root]) / below
    said = SimpleNamespace(etag="a" * 40, commit_hash="b" * 40, size=99)
    monkeypatch.setattr("sitegen.sources.hub._ask", lambda file: said)  # a Hub that answers
    real = shutil.disk_usage

    def usage(path: Path) -> object:
        return SimpleNamespace(free=free) if Path(path) == folder else real(path)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    arguments = ["sweep", str(tiny.preset), "--out", str(tmp_path / "out"), "--set", setting]
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"build\.py: the disk of {re.escape(str(folder))} has 0\.\d MB free, but {what}: free space there, "
        rf"or {otherwise}",
        message,
    ), message
    assert not (tmp_path / "out/data").exists()


def test_data_of_another_schema_is_refused(
    tiny_output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(tiny_output / "data", out / "data")
    path = out / "data/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    assert main(["render", str(out)]) == 2
    assert (
        f"has schema 99, this build reads {SCHEMA_VERSION}: run the sweep again"
        in capsys.readouterr().err
    )
