"""The seam: torch ends at the store, Jinja begins after it, and heavy imports stay out of light commands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "sitegen"
TORCH_SIDE = ("sources", "maths", "sweep", "analysis", "verify")
PAGE_SIDE = ("render", "check")
NEUTRAL = (
    "records.py",
    "store.py",
    "files.py",
    "errors.py",
    "config.py",
    "output.py",
    "progress.py",
    "serve.py",
)


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def modules(parts: tuple[str, ...]) -> list[Path]:
    found = [
        path
        for part in parts
        for path in ([PACKAGE / part] if part.endswith(".py") else (PACKAGE / part).rglob("*.py"))
    ]
    assert len(found) >= len(parts)
    return found


@pytest.mark.parametrize(
    ("parts", "forbidden"),
    [
        (TORCH_SIDE, ("jinja2", "sitegen.render", "sitegen.check", "sitegen.store")),
        (
            PAGE_SIDE,
            (
                "torch",
                "transformer_lens",
                "sitegen.sources",
                "sitegen.maths",
                "sitegen.sweep",
                "sitegen.analysis",
            ),
        ),
        (
            NEUTRAL,
            (
                "torch",
                "jinja2",
                "sitegen.render",
                "sitegen.sources",
                "sitegen.sweep",
                "sitegen.analysis",
            ),
        ),
    ],
)
def test_no_side_imports_the_other(parts: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    for path in modules(parts):
        for name in imports_of(path):
            assert not name.startswith(forbidden), f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["presets"], ["render", "OUT"], ["check", "OUT"]]
)
def test_light_commands_import_no_torch(
    arguments: list[str], tiny_output: Path, tmp_path: Path
) -> None:
    program = (
        "import sys\nfrom sitegen.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformer_lens', 'transformers', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    given = [str(tiny_output) if argument == "OUT" else argument for argument in arguments]
    subprocess.run(
        [sys.executable, "-c", program, *given], cwd=REPOSITORY, check=True, capture_output=True
    )
