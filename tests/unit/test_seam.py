"""The boundary between computing and showing: neither imports the other, and light commands load no heavy library."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sitegen.options import make_parser
from tests.conftest import REPOSITORY
from tests.documents import subcommands

PACKAGE = REPOSITORY / "sitegen"
HEAVY = ("torch", "transformer_lens", "transformers", "datasets", "ray", "sklearn", "openTSNE")
MODELS = ("sitegen.sources", "sitegen.maths", "sitegen.sweep", "sitegen.analysis")
PAGES = ("jinja2", "sitegen.render", "sitegen.check", "sitegen.export", "sitegen.publish")
RECORDS_ONLY = (*HEAVY, *MODELS, *PAGES)

# What each package and top-level module may not import, directly or through other modules
FORBIDDEN: dict[str, tuple[str, ...]] = {
    # From models and text to records
    "sources": (*PAGES, "sitegen.store"),
    "maths": (*PAGES, "sitegen.store"),
    "sweep": (*PAGES, "sitegen.store"),
    "analysis": (*PAGES, "sitegen.store"),
    "verify": (*PAGES, "sitegen.store"),
    "compute": PAGES,
    "memory": (*PAGES, "sitegen.store"),
    "parts": (*PAGES, "sitegen.store"),
    # Answers in a second, so it loads no model
    "inspection": (*PAGES, "transformer_lens", "transformers", "datasets", "sitegen.store"),
    # From records to pages, and to files for other tools
    "render": (*HEAVY, *MODELS),
    "check": (*HEAVY, *MODELS),
    "export": (*HEAVY, *MODELS, "jinja2"),
    "publish": (*HEAVY, *MODELS, "jinja2", "sitegen.render"),
    # Used by both sides, or independent of them
    **dict.fromkeys(
        [
            "config",
            "delphi",
            "errors",
            "exports",
            "file_names",
            "files",
            "finished",
            "hub_errors",
            "labels",
            "lock",
            "options",
        ],
        RECORDS_ONLY,
    ),
    **dict.fromkeys(
        ["output", "progress", "records", "schema", "serve", "space", "store", "workers"],
        RECORDS_ONLY,
    ),
    "cli": (*HEAVY, *MODELS, *PAGES),
}
# Each command that computes nothing, with arguments for a finished output folder
LIGHT_COMMANDS = [
    ["--help"],
    ["presets"],
    ["render", "OUT"],
    ["check", "OUT"],
    ["export", "OUT", "--to", "parquet"],
    ["export", "OUT", "--to", "neuronpedia"],
    ["export", "OUT", "--to", "circuit-tracer"],
    ["archive", "OUT"],
    # Ends at the confirmation, since standard input is no terminal
    ["publish", "OUT", "--to", "gh-pages", "--remote", "REMOTE"],
    # Ends at the first request, since tests are offline
    ["publish", "OUT", "--to", "space", "--space", "owner/name"],
    # Ends at the invalid port
    ["serve", "OUT", "--port", "-1"],
]
COMPUTING_COMMANDS = {"run", "sweep", "merge", "verify", "inspect"}


def parts() -> set[str]:
    """Every package and top-level module of sitegen."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return packages | {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}


def modules(part: str) -> list[str]:
    """The modules of a package, or the one module, by their full names."""
    if not (PACKAGE / part).is_dir():
        return [f"sitegen.{part}"]
    paths = sorted((PACKAGE / part).rglob("*.py"))
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def source_of(module: str) -> Path | None:
    """The file of a module of sitegen, or None for a name that is no module of it."""
    path = REPOSITORY.joinpath(*module.split("."))
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def statements(body: list[ast.stmt], is_lazy_too: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run when a module is imported, and those within functions if asked for."""
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from statements(statement.orelse, is_lazy_too)
        elif is_lazy_too or not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, field, []), is_lazy_too)
            for handler in getattr(statement, "handlers", []):
                yield from statements(handler.body, is_lazy_too)


@cache
def imports_of(module: str, is_lazy_too: bool) -> frozenset[str]:
    """Names of the modules that a module of sitegen imports."""
    path = source_of(module)
    if path is None:
        return frozenset()
    names: set[str] = set()
    for statement in statements(ast.parse(path.read_text("utf-8")).body, is_lazy_too):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        else:
            assert statement.level == 0, f"{module} has a relative import"
            origin = statement.module or ""
            submodules = {f"{origin}.{alias.name}" for alias in statement.names}
            names |= {origin} | {name for name in submodules if source_of(name)}
    return frozenset(names)


def chains(module: str, is_lazy_too: bool) -> dict[str, str]:
    """Everything that importing a module loads, each name with the chain of imports that leads to it.

    Imports within the functions of the module itself count as well if asked for; those of other modules do not.
    """
    found = {name: f"{module} -> {name}" for name in imports_of(module, is_lazy_too)}
    waiting = list(found)
    while waiting:
        name = waiting.pop()
        for new in imports_of(name, False) - set(found):
            found[new] = f"{found[name]} -> {new}"
            waiting.append(new)
    return found


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_each_package_and_module_has_its_rule() -> None:
    assert parts() == set(FORBIDDEN)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_nothing_forbidden_is_imported(part: str) -> None:
    wrong = {
        chain
        for module in modules(part)
        # The command line imports each stage only when a command needs it
        for name, chain in chains(module, is_lazy_too=part != "cli").items()
        if is_within(name, FORBIDDEN[part])
    }
    assert sorted(wrong) == []


def test_each_command_is_light_or_computes() -> None:
    light = {arguments[0] for arguments in LIGHT_COMMANDS} - {"--help"}
    assert light | COMPUTING_COMMANDS == set(subcommands(make_parser()))
    assert not light & COMPUTING_COMMANDS


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_light_commands_load_no_heavy_library(
    arguments: list[str], tiny_output: Path, tmp_path: Path
) -> None:
    program = (
        "import sys\nfrom sitegen.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"heavy = set({HEAVY}) & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    folders = {"OUT": str(tmp_path / "out"), "REMOTE": str(tmp_path / "remote")}
    given = [folders.get(argument, argument) for argument in arguments]
    shutil.copytree(tiny_output, folders["OUT"])
    subprocess.run(["git", "init", "--quiet", "--bare", folders["REMOTE"]], check=True)
    done = subprocess.run(
        [sys.executable, "-c", program, *given],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
