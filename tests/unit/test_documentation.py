"""Everything that exists is documented: commands, options, configuration, records, packages, Makefile targets.

All of it is enumerated from the code, so that anything new fails a test until it is documented.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing

import msgspec
import pytest

from sitegen import records, store
from sitegen.config import Config
from sitegen.options import make_parser
from tests.conftest import REPOSITORY
from tests.documents import DOCUMENTS, code_of, subcommands, words_in_code

DATA_FORMAT = REPOSITORY / "docs/data-format.md"
CONFIGURATION = REPOSITORY / "docs/configuration.md"
ARCHITECTURE = REPOSITORY / "docs/architecture.md"
COMMANDS = subcommands(make_parser())
SECTIONS = {
    name: kind
    for name, kind in typing.get_type_hints(Config).items()
    if dataclasses.is_dataclass(kind)
}


def field_names(record: type) -> list[str]:
    """The fields of a dataclass or a record, by the names that they have in JSON."""
    if issubclass(record, msgspec.Struct):
        return [field.encode_name for field in msgspec.structs.fields(record)]
    assert dataclasses.is_dataclass(record)
    return [field.name for field in dataclasses.fields(record)]


RECORDS = [
    kind
    for _, kind in inspect.getmembers(records, inspect.isclass)
    if kind.__module__ == records.__name__
    and (dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    readme = REPOSITORY / "README.md"
    assert any(f"build.py {command}" in code for code in code_of(readme))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command: str) -> None:
    documented = {
        option
        for document in DOCUMENTS
        for code in code_of(document)
        for option in re.findall(r"(?<![\w-])--[a-z-]+", code)
    }
    options = {name for action in COMMANDS[command]._actions for name in action.option_strings}
    assert options - {"-h", "--help"} <= documented


@pytest.mark.parametrize("section", SECTIONS)
def test_every_configuration_field_is_documented(section: str) -> None:
    documented = code_of(CONFIGURATION)
    names = [f"{section}.{field.name}" for field in dataclasses.fields(SECTIONS[section])]
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_every_documented_configuration_field_exists() -> None:
    names = {
        f"{section}.{field.name}"
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
    }
    rows = re.findall(r"^\| `(\w+\.\w+)` \|", CONFIGURATION.read_text("utf-8"), re.MULTILINE)
    assert set(rows) == names


def test_the_records_are_found() -> None:
    assert {records.FeatureRecord, records.ContextRecord, records.Overview} <= set(RECORDS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_field_is_documented(record: type) -> None:
    documented = words_in_code(DATA_FORMAT)
    assert [name for name in field_names(record) if name not in documented] == []


def test_the_documented_schema_version_is_the_one_that_is_written() -> None:
    heading = DATA_FORMAT.read_text("utf-8").splitlines()[0]
    assert re.findall(r"\d+", heading) == [str(store.SCHEMA_VERSION)]


def test_every_package_and_module_is_in_the_architecture() -> None:
    documented = code_of(ARCHITECTURE)
    package = REPOSITORY / "sitegen"
    names = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    names += [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    assert len(names) > 20
    missing = [
        name for name in names if not {f"`{name}`", f"`sitegen/{name}`"}.intersection(documented)
    ]
    assert missing == []


def test_every_module_that_the_architecture_names_exists() -> None:
    names = {
        name for code in code_of(ARCHITECTURE) for name in re.findall(r"^`([\w/]+\.py)`$", code)
    }
    assert len(names) > 20
    existing = [path.as_posix() for path in REPOSITORY.rglob("*.py") if ".venv" not in path.parts]
    assert [name for name in names if not any(p.endswith(f"/{name}") for p in existing)] == []


def test_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)`", document.read_text("utf-8")):
            assert target in targets, f"{document.name} names make {target}"


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"
