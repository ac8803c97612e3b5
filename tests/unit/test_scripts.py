"""The site's scripts, checked by the TypeScript compiler in strict mode, and the layout of its templates."""

from __future__ import annotations

import re
import subprocess

from sitegen.render.assets import FIRST_SCRIPT, SCRIPTS, SETTINGS, STYLES
from sitegen.render.environment import STATIC_FOLDER, TEMPLATES_FOLDER, make_environment
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


def test_scripts_have_the_sizes_of_files_from_the_build() -> None:
    """What a script computes with a size, or the name of a file that it loads, has no number of its own in it."""
    scripts = [path.read_text() for path in (STATIC_FOLDER / "js").glob("*.js")]
    for name in [*SETTINGS, "features_per_file"]:
        assert any(re.search(rf"\b{name}\b", script) for script in scripts), name
    size = r"\b(\w+_per_file|word_files|word_factor)\b"
    computed = [
        line.strip()
        for script in scripts
        for line in script.splitlines()
        if re.search(rf"{size}|load\(`", line)
    ]
    assert len(computed) > 10
    assert [line for line in computed if re.search(r"[*/%+-] *\d|\d *[*/%+-]", line)] == []


def test_templates_have_no_long_lines() -> None:
    """No formatter keeps the white space of these templates, so they are wrapped by hand."""
    long_lines = [
        f"{path.relative_to(TEMPLATES_FOLDER)}:{number}"
        for path in TEMPLATES_FOLDER.rglob("*.html")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 120
    ]
    assert long_lines == []


def test_layout_of_templates_does_not_reach_pages() -> None:
    source = """
<ol class="plain" id="a b" title="{{ tokens[1] }}">
    {% for token in tokens %}
    <li>
        <p>
            {{ token }}
        </p>
    </li>
    {% endfor %}
</ol>
<p>
    two
    words
</p>
"""
    page = make_environment().from_string(source).render(tokens=["  a \n  b ", " "])
    assert page == (
        '\n<ol class=plain id="a b" title=" "><li><p>  a \n  b </p>\n<li><p> </p>\n</ol>\n<p>two\nwords</p>'
    )
