"""The code in the documents, and the commands of the command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tests.conftest import REPOSITORY

DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/*.md"))]
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def code_of(path: Path) -> list[str]:
    """Every piece of code in a document: text in backticks, and fenced blocks."""
    return CODE.findall(path.read_text("utf-8"))


def words_in_code(path: Path) -> set[str]:
    """Every identifier in the code of a document."""
    return {word for code in code_of(path) for word in re.findall(r"\w+", code)}


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of the command line by their names."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: command for group in groups for name, command in group.choices.items()}
