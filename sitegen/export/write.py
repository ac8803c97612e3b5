"""An export, written as a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from sitegen.export.source import ExportSource
from sitegen.exports import EXPORTS
from sitegen.files import whole_folder
from sitegen.output import OutputFolder


@dataclass(frozen=True)
class Exported:
    """A written export."""

    folder: Path
    n_files: int
    n_bytes: int


def export(output: OutputFolder, tool: str) -> Exported:
    """Write `DIR/export/TOOL`, completely or not at all.

    raises  StoreError, UsageError as `ExportSource` does
    """
    source, folder = ExportSource(output), output.export / tool
    write: Callable[[ExportSource, Path], None] = resolve_name(EXPORTS[tool].writer)
    with whole_folder(folder) as partial:
        write(source, partial)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Exported(folder, len(sizes), sum(sizes))
