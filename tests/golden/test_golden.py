"""The rendered site of four features, compared file by file. `make accept-golden` accepts the site as rendered now."""

from __future__ import annotations

import re
import shutil
from codecs import BOM_UTF16_LE
from pathlib import Path

import pytest

from sitegen.cli import main
from sitegen.render.packing import value_of
from tests.conftest import folder_bytes
from tests.tiny import TinyInputs

GOLDEN = Path(__file__).parent / "four_features"
FEATURES = "0,5,7,40"


def _unsigned(content: bytes) -> str:
    """A page without its last line, which changes with every change to the code; of a compressed script its value."""
    if content.startswith(BOM_UTF16_LE):
        return str(value_of(content))
    return re.sub(r"<!-- made from \w+, as \w+ -->\n$", "", content.decode())


def test_site_of_four_features_is_the_accepted_one(
    request: pytest.FixtureRequest, tiny: TinyInputs, tmp_path: Path
) -> None:
    if request.config.getoption("--accept-golden"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        assert main(["run", str(tiny.preset), "--out", str(GOLDEN), "--features", FEATURES]) == 0
        for left_out in ("sweep", "site/data", "site/static"):
            shutil.rmtree(GOLDEN / left_out)
    shutil.copytree(GOLDEN / "data", tmp_path / "data")
    assert main(["render", str(tmp_path)]) == 0
    rendered = {
        name: _unsigned(content)
        for name, content in folder_bytes(tmp_path / "site").items()
        if not name.startswith(("data/", "static/"))
    }
    accepted = {name: _unsigned(content) for name, content in folder_bytes(GOLDEN / "site").items()}
    changed = sorted(
        name for name in rendered | accepted if rendered.get(name) != accepted.get(name)
    )
    assert not changed, (
        f"{', '.join(changed)} changed: look at the difference, then run `make accept-golden`"
    )
