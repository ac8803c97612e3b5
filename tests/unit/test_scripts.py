"""The site's scripts, by the TypeScript compiler in strict mode."""

from __future__ import annotations

import subprocess

from sitegen.render.assets import FIRST_SCRIPT, SCRIPTS, STYLES
from sitegen.render.environment import STATIC_FOLDER
from tests.conftest import REPOSITORY


def test_scripts_are_well_typed() -> None:
    compiler = REPOSITORY / "node_modules/typescript/bin/tsc"
    result = subprocess.run(
        ["node", compiler, "--project", REPOSITORY / "tsconfig.json", "--pretty", "false"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == ""
    assert result.returncode == 0, result.stderr


def test_every_script_and_style_sheet_is_published() -> None:
    scripts = {path.stem for path in (STATIC_FOLDER / "js").glob("*.js")}
    styles = {path.stem for path in (STATIC_FOLDER / "css").glob("*.css")}
    assert scripts == {*SCRIPTS, FIRST_SCRIPT}
    assert styles == set(STYLES)
