"""Fixtures shared by all tests. Caches point into a temporary folder before any library reads the environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

_CACHE = tempfile.TemporaryDirectory(prefix="sitegen-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name
os.environ["HF_HOME"] = str(Path(_CACHE.name) / "huggingface")
os.environ["HF_HUB_OFFLINE"] = (
    "1"  # no test reaches for the Hub; those of the loopback Hub run in processes of their own
)

from sitegen.cli import main  # noqa: E402 the environment comes first
from tests.tiny import TinyInputs, write_gpt2, write_inputs  # noqa: E402

REPOSITORY = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-golden",
        action="store_true",
        help="take what is rendered now as the expected site",
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInputs:
    return write_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_output(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny subject's finished output folder. Tests that change it copy it first."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["run", str(tiny.preset), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def gpt2(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers as `transformers` saves it, with the tiny tokenizer in its folder."""
    return write_gpt2(tmp_path_factory.mktemp("gpt2"), tiny.tokenizer)


@pytest.fixture(scope="session")
def demo_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded demo's finished output folder, built once for all tests that look at it."""
    out = tmp_path_factory.mktemp("run") / "demo"
    assert main(["run", "demo", "--out", str(out)]) == 0
    return out


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
