"""The table of layouts in `docs/your-own-sae.md`, from what each layout declares.

`python -m sitegen.sources.layouts.table` writes it.
"""

from __future__ import annotations

from pathlib import Path

from sitegen.sources.layouts.layout import Layout
from sitegen.sources.layouts.registry import known_layouts

DOCUMENT = Path(__file__).parents[3] / "docs/your-own-sae.md"
BEGIN, END = "<!-- layouts: begin -->\n", "<!-- layouts: end -->\n"


def layout_table() -> str:
    """Make the table: a row for each layout, those with most autoencoders in SAELens' registry first."""
    layouts = sorted(known_layouts(), key=lambda layout: (-layout.n_all, layout.name))
    total = sum(layout.n_all + layout.n_refused for layout in layouts)
    readable = sum(layout.n_all for layout in layouts if not layout.refusal)
    lines = [
        f"Of the {total:,} autoencoders and transcoders in the registry of SAELens 6.54, {readable:,} "
        f"({readable / total:.1%}) are in a layout that can be read:",
        "",
        "| layout | files | what is supported | in the registry |",
        "|---|---|---|---|",
        *map(_row, layouts),
    ]
    return "\n".join(lines) + "\n"


def _row(layout: Layout) -> str:
    counts = ", ".join(f"{kind} {n:,}" for kind, n in layout.n_registered.items()) or "-"
    names = (" and " if layout.is_folder else " or ").join(f"`{name}`" for name in layout.files)
    files = f"a {'folder with' if layout.is_folder else 'file'} {names}"
    files = f"{files}, {layout.also}" if layout.also else files
    content = f"refused: {layout.refusal}" if layout.refusal else layout.content
    return f"| {layout.name} | {files} | {content} | {counts} |"


def with_table(document: str) -> str:
    """Put the table into the document, in place of the one that it has."""
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}{layout_table()}{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8")), "utf-8")
