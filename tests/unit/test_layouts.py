"""Layouts of published autoencoders: miniatures of repositories, against results of the libraries that own them."""

from __future__ import annotations

from sitegen.sources.layouts.registry import known_layouts
from sitegen.sources.layouts.table import DOCUMENT, with_table


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    document = DOCUMENT.read_text("utf-8")
    assert with_table(document) == document, "run python -m sitegen.sources.layouts.table"


def test_nearly_all_registered_autoencoders_can_be_read() -> None:
    total = sum(layout.n_all for layout in known_layouts())
    refused = sum(layout.n_all for layout in known_layouts() if layout.refusal)
    assert total == 13_857
    assert refused / total < 0.01
