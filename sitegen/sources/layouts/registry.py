"""All layouts, and the one in which a file or folder is stored."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from sitegen.config import DEFAULT_REPOSITORY
from sitegen.errors import SourceError
from sitegen.sources import hub, layouts
from sitegen.sources.layouts.layout import Layout
from sitegen.sources.layouts.source import (
    TENSOR_SUFFIXES,
    HubSource,
    LocalSource,
    NothingHereError,
    Source,
)

RUN_VERSIONS = {"run1": "25", "run2": "47"}


@cache
def known_layouts() -> tuple[Layout, ...]:
    """Every module's LAYOUT, in alphabetical order of the modules."""
    modules = (
        importlib.import_module(f"{layouts.__name__}.{module.name}")
        for module in pkgutil.iter_modules(layouts.__path__)
        # These two import the layouts; importing them here would be circular
        if module.name not in ("registry", "table")
    )
    return tuple(module.LAYOUT for module in modules if hasattr(module, "LAYOUT"))


def find_source(name: str, repository: str, shapes_only: bool = False) -> Source:
    """Find a file or folder: on this machine if there is one of that name, or else in the repository.

    name         a file or folder; a version number of a repository that has `N.pt`; run1 or run2 of the default one
    shapes_only  whether to read tensors without their values
    raises       SourceError if there is none on this machine, and no repository was chosen
    """
    path, is_default = Path(name), repository == DEFAULT_REPOSITORY
    if path.is_dir() or path.is_file():
        return LocalSource(path, shapes_only)
    version = RUN_VERSIONS.get(name, name) if is_default else name
    file = f"{version}.pt"
    if version.isdigit() and (is_default or hub.has_file(hub.HubFile(repository, file))):
        return HubSource(repository, file, shapes_only)
    if not is_default:
        return HubSource(repository, name.strip("/"), shapes_only)
    if path.suffix in TENSOR_SUFFIXES:
        raise SourceError(f"{name}: no such autoencoder file; correct autoencoder.source")
    raise SourceError(
        f"autoencoder {name!r}: no such file or folder, and no version of {repository}; give run1, run2, a "
        "version number, a file of tensors or a folder, or set autoencoder.repository and give its file or folder"
    )


def recognise(source: Source) -> tuple[Source, Layout | None]:
    """Find the layout of a source.

    returns  (source, layout): the folder instead of the file if the file is part of a folder's layout; the layout is
             None for a file that none recognises, whose weights can be read if the configuration declares its settings
    raises   NothingHereError if it is a folder that no layout recognises, SourceError if several do
    """
    # What is in the cache is recognised without a request
    cached = source.in_cache()
    is_cached = cached is not None and (not cached.file or cached.holds(cached.file))
    found = _recognise(cached) if cached is not None and is_cached else None
    found = found or _recognise(source)
    if found is None and not source.file:
        raise NothingHereError(source.nothing_here(_folder_files()))
    return found or (source, None)


def _recognise(source: Source) -> tuple[Source, Layout] | None:
    """Find (source, layout) as `recognise` does; None if no layout recognises it."""
    if source.file:
        # A folder's settings tell what the weights in it alone do not
        for folder, name in source.enclosing():
            found = layouts_with_weights(folder, name)
            if found:
                return folder, _only(found, folder)
    found = [
        layout
        for layout in known_layouts()
        if layout.is_folder != bool(source.file) and layout.recognises(source)
    ]
    return (source, _only(found, source)) if found else None


def layouts_with_weights(folder: Source, name: str) -> list[Layout]:
    """Find the layouts that a folder has, and whose weights are the file of that name in it."""
    return [
        layout
        for layout in known_layouts()
        if layout.is_folder and layout.weights_file(folder) == name and layout.recognises(folder)
    ]


def _only(found: list[Layout], source: Source) -> Layout:
    """Return the one layout that was found; raise SourceError if there are several."""
    if len(found) > 1:
        names = " and of ".join(layout.name for layout in found)
        raise SourceError(
            f"{source.full_name} holds the files of {names}: keep those of one of them in a folder of their own"
        )
    return found[0]


def _folder_files() -> list[str]:
    """The files of each layout that is a folder."""
    folders = (layout for layout in known_layouts() if layout.is_folder and not layout.refusal)
    return [" and ".join(layout.files) for layout in folders]
