"""All layouts, and the one in which a file or folder is stored."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from sitegen.errors import SourceError
from sitegen.sources import layouts
from sitegen.sources.layouts.layout import Layout
from sitegen.sources.layouts.source import TENSOR_SUFFIXES, HubSource, LocalSource, Source

DEFAULT_REPOSITORY = "NeelNanda/sparse_autoencoder"
RUN_VERSIONS = {"run1": "25", "run2": "47"}


@cache
def known_layouts() -> tuple[Layout, ...]:
    """The LAYOUT of every module of this package that has one, by name of the module."""
    modules = (
        importlib.import_module(f"{layouts.__name__}.{module.name}")
        for module in pkgutil.iter_modules(layouts.__path__)
        # These two modules import this package themselves
        if module.name not in ("registry", "table")
    )
    return tuple(module.LAYOUT for module in modules if hasattr(module, "LAYOUT"))


def find_source(source: str, repository: str, shapes_only: bool = False) -> Source:
    """Find a file or folder: on this machine if there is one of that name, or else in the repository.

    source       run1, run2 or a version number of the default repository; or a file or folder
    shapes_only  whether to read tensors without their values
    raises  SourceError if there is none on this machine, and the repository was not chosen
    """
    path, version = Path(source), RUN_VERSIONS.get(source, source)
    if path.is_dir() or path.is_file():
        return LocalSource(path, shapes_only)
    if version.isdigit():
        return HubSource(repository, f"{version}.pt", shapes_only)
    if repository != DEFAULT_REPOSITORY:
        return HubSource(repository, source.strip("/"), shapes_only)
    if path.suffix in TENSOR_SUFFIXES:
        raise SourceError(f"{source}: no such autoencoder file; correct autoencoder.source")
    raise SourceError(
        f"autoencoder {source!r}: no such file or folder, and no version of {repository}; give run1, run2, a "
        "version number, a file of tensors or a folder, or set autoencoder.repository and give its file or folder"
    )


def recognise(source: Source) -> tuple[Source, Layout | None]:
    """Find the layout of a source.

    returns  (the source, its layout), where a file that belongs to a folder's layout stands for the folder; without a
             layout for a file that none recognises, whose weights may still be read if its settings are declared
    raises   SourceError if it is a folder that no layout recognises
    """
    if source.file:
        # A folder's settings tell what the weights in it alone do not
        for folder, name in source.enclosing():
            for layout in known_layouts():
                is_weights = layout.is_folder and layout.weights(folder) == name
                if is_weights and layout.recognises(folder):
                    return folder, layout
    found = [
        layout
        for layout in known_layouts()
        if layout.is_folder != bool(source.file) and layout.recognises(source)
    ]
    if len(found) > 1:
        names = " and of ".join(layout.name for layout in found)
        raise SourceError(
            f"{source.full_name} holds the files of {names}: keep those of one of them in a folder of their own"
        )
    if not found and not source.file:
        raise SourceError(source.nothing_here(_folder_files()))
    return source, found[0] if found else None


def _folder_files() -> list[str]:
    """The files of each layout that is a folder, without the marks of the documentation."""
    folders = (layout for layout in known_layouts() if layout.is_folder and not layout.refusal)
    return [layout.files.replace("`", "").removeprefix("a folder with ") for layout in folders]
