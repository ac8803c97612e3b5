"""The list of exports, by the tool that reads them. `sitegen/export/` has the code that writes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Export:
    """What a tool is given.

    description  in words, for the list of options
    writer       MODULE:FUNCTION that writes the files of an `ExportSource` to a folder; loaded when it is used
    files        regular expression of the names of these files
    """

    description: str
    writer: str
    files: str


EXPORTS = {
    "parquet": Export(
        "Parquet tables",
        "sitegen.export.parquet:write_parquet",
        r"(features|contexts)\.parquet",
    ),
    "neuronpedia": Export(
        "Neuronpedia's bulk format",
        "sitegen.export.neuronpedia:write_neuronpedia",
        r"(features|activations|explanations)/batch-\d+\.jsonl\.gz",
    ),
    "circuit-tracer": Export(
        "circuit-tracer's feature files",
        "sitegen.export.circuit_tracer:write_circuit_tracer",
        r"features/\d+\.json",
    ),
}
