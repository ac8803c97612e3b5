"""Fixtures shared by all tests. Caches point into a temporary folder before any library reads the environment."""

from __future__ import annotations

import os
import shutil
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
from sitegen.progress import plan_stages  # noqa: E402
from tests.tiny import TinyInputs, write_gpt2, write_inputs  # noqa: E402

REPOSITORY = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-golden",
        action="store_true",
        help="accept the rendered site as the expected one",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a GPU, unless they are asked for, as by `make gpu`."""
    if "cuda" not in config.option.markexpr:
        on_gpu = [item for item in items if item.get_closest_marker("cuda")]
        config.hook.pytest_deselected(items=on_gpu)
        items[:] = [item for item in items if item not in on_gpu]


@pytest.fixture(autouse=True)
def no_plan_of_stages() -> None:
    """Forget the stages of an earlier run in this process, which would number the stages of this test."""
    plan_stages()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInputs:
    return write_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_output(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished output folder of the tiny inputs. A test that changes it copies it first."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["run", str(tiny.preset), "--out", str(out)]) == 0
    return out


@pytest.fixture
def output(tiny_output: Path, tmp_path: Path) -> Path:
    """A copy of the finished output that a test may damage."""
    out = tmp_path / "out"
    shutil.copytree(tiny_output, out)
    return out


@pytest.fixture(scope="session")
def gpt2(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers as `transformers` saves it, with the tiny tokenizer in its folder."""
    return write_gpt2(tmp_path_factory.mktemp("gpt2"), tiny.tokenizer)


@pytest.fixture(scope="session")
def demo_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished output folder of the embedded demo, built once for all tests that use it."""
    out = tmp_path_factory.mktemp("run") / "demo"
    assert main(["run", "demo", "--out", str(out)]) == 0
    return out


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
