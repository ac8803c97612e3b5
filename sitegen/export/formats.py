"""The formats to which data can be exported, by the tool that reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sitegen.export.circuit_tracer import write_circuit_tracer
from sitegen.export.neuronpedia import write_neuronpedia
from sitegen.export.parquet import write_parquet
from sitegen.export.source import ExportSource
from sitegen.files import whole_folder
from sitegen.output import OutputFolder

WRITERS: dict[str, Callable[[ExportSource, Path], None]] = {
    "parquet": write_parquet,
    "neuronpedia": write_neuronpedia,
    "circuit-tracer": write_circuit_tracer,
}


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
    with whole_folder(folder) as partial:
        WRITERS[tool](source, partial)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Exported(folder, len(sizes), sum(sizes))
