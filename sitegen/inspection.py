"""What an autoencoder's files are, from names, settings and headers.

Weights are not downloaded, except where a TopK's k is only among them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources import hub
from sitegen.sources.architecture import Architecture, DeclaredSettings
from sitegen.sources.autoencoder import activation_name, check_weights, read_source
from sitegen.sources.hook_points import to_hook_point
from sitegen.sources.layouts.layout import Layout
from sitegen.sources.layouts.registry import known_layouts, layouts_with_weights, recognise
from sitegen.sources.layouts.source import (
    TENSOR_SUFFIXES,
    HubSource,
    LocalSource,
    NothingHereError,
    Source,
)

# Text that suits any English language model, with rows short enough for all of them
SUGGESTED_TEXT = ('corpus.dataset = "NeelNanda/pile-10k"', "corpus.seq_len = 128")
# Names that are listed of each layout, and tensors that are listed of a plain file
N_LISTED = 12
# What a run would ask for, so that the rest can be read
ANY_SCALE = DeclaredSettings(input_scale=1.0)


@dataclass(frozen=True)
class Inspection:
    """What was found.

    lines  for the user, in order
    toml   the preset that would make the site of the one autoencoder that was named; empty if several were found
    """

    lines: list[str]
    toml: str


@dataclass(frozen=True)
class Place:
    """Where to look: a repository, or a file or folder of this machine, and a path in it; either may be the whole."""

    what: str
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return Path(self.what).exists()

    def source_lines(self, weights_file: str) -> list[str]:
        """Lines of the preset that name the autoencoder.

        weights_file  names the autoencoder where it is a repository's root
        """
        if self.is_local:
            path = str(Path(self.what, self.path)) if self.path else self.what
            return [f"autoencoder.source = {json.dumps(path)}"]
        return [
            f"autoencoder.repository = {json.dumps(self.what)}",
            f"autoencoder.source = {json.dumps(self.path.strip('/') or weights_file)}",
        ]


def inspect(what: str, path: str) -> Inspection:
    """Tell what a repository, or a file or folder of this machine, holds.

    what    name of a repository, or of a file or folder of this machine
    path    file or folder in it; empty for the whole
    raises  SourceError if there is no such thing, or it is an autoencoder that cannot be read
    """
    place = Place(what, path)
    files = None if place.is_local else frozenset(hub.list_files(what))
    source = _open(place, files)
    try:
        found, layout = recognise(source)
    except NothingHereError:
        several = _list_autoencoders(source, files)
        if not several:
            raise
        return Inspection(several, "")
    return _describe(found, layout, place)


def _open(place: Place, files: frozenset[str] | None) -> Source:
    """Find the file or folder.

    files   of the repository; None on this machine
    raises  SourceError if there is none
    """
    name = place.path.strip("/")
    missing = SourceError(
        f"{place.what} has no file or folder {name}: `build.py inspect {place.what}` lists what it has"
    )
    if files is None:
        path = Path(place.what, place.path)
        if not path.exists():
            raise missing
        return LocalSource(path, shapes_only=True)
    if name and name not in files and not any(file.startswith(f"{name}/") for file in files):
        raise missing
    return HubSource(place.what, name, shapes_only=True, listed=files)


def _describe(source: Source, layout: Layout | None, place: Place) -> Inspection:
    """Describe one autoencoder.

    raises  SourceError if it cannot be read
    """
    if layout is None:
        try:
            weights, architecture = read_source(source, None, ANY_SCALE)
        except SourceError as error:
            return _describe_plain(source, place, error)
    else:
        weights, architecture = read_source(source, layout, ANY_SCALE)
    checked = check_weights(weights, architecture, source.name)
    d_hook, n_features = checked["W_enc"].shape
    is_transcoder = architecture.is_transcoder
    writing = f" and writing {checked['W_dec'].shape[1]:,}" if is_transcoder else ""
    output = f" -> {architecture.output_hook_point or 'not declared'}" if is_transcoder else ""
    lines = [
        f"layout        {layout.name if layout else 'a plain file of tensors'}",
        f"architecture  {_architecture_text(checked, architecture)}",
        f"features      {n_features:,}, reading activations of width {d_hook:,}{writing}",
        f"model         {architecture.model or 'not declared'}",
        f"hook point    {architecture.hook_point or 'not declared'}{output}",
    ]
    if architecture.text.dataset:
        lines.append(f"trained on    {architecture.text.dataset}")
    weights_file = layout.weights_file(source) if layout else source.file
    return Inspection(lines, _toml(architecture, place.source_lines(weights_file)))


def _describe_plain(source: Source, place: Place, error: SourceError) -> Inspection:
    """Describe a file that can only be read with declared settings, by its tensors."""
    tensors = source.tensors(source.file)
    lines = [f"layout        none of those known: a file of {len(tensors):,} tensors"]
    lines += [
        f"  {name} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in list(tensors.items())[:N_LISTED]
    ]
    lines += _and_more(len(tensors))
    lines.append(str(error))
    settings = [
        'autoencoder.activation = "FILL IN"',
        "autoencoder.subtracts_b_dec = true  # or false",
    ]
    names = [*place.source_lines(source.file), *settings]
    return Inspection(lines, _toml(Architecture(), names))


def _architecture_text(weights: dict[str, Tensor], architecture: Architecture) -> str:
    """Name an architecture in words."""
    kind = "transcoder" if architecture.is_transcoder else "autoencoder"
    function = activation_name(architecture, "threshold" in weights)
    details = [f"k = {architecture.k}"] if architecture.k else []
    if architecture.normalisation != "none":
        details.append(f"inputs normalised by {architecture.normalisation}")
    if architecture.lacks_input_scale:
        details.append("inputs scaled by a factor that its files do not hold")
    if "W_skip" in weights:
        details.append("with a skip connection")
    if architecture.subtracts_b_dec:
        details.append("b_dec subtracted from the input")
    return ", ".join([f"{function} {kind}", *details])


def _toml(architecture: Architecture, source_lines: list[str]) -> str:
    """Write the preset that would make the autoencoder's site; what is not known is left to fill in."""
    point, output = (
        to_hook_point(name) for name in (architecture.hook_point, architecture.output_hook_point)
    )
    point = point or "FILL IN, such as blocks.N.hook_resid_post"
    lines = [
        f"model.name = {json.dumps(architecture.model or 'FILL IN')}",
        f"model.hook_point = {json.dumps(point)}",
    ]
    if architecture.is_transcoder and not output:
        lines.append('model.output_hook_point = "FILL IN, such as blocks.N.hook_mlp_out"')
    lines += source_lines
    if architecture.lacks_input_scale:
        lines.append(
            "autoencoder.input_scale = 0.0  # FILL IN: sqrt(d_hook) / average length of activations"
        )
    return "\n".join([*lines, *SUGGESTED_TEXT])


def _list_autoencoders(source: Source, files: frozenset[str] | None) -> list[str]:
    """List the autoencoders below a folder, by layout; a few names of each."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, one in _files_below(source, files):
        layout, shown = _layout_of_file(one, name)
        found[layout].append(shown)
    lines = []
    for layout, shown_names in found.items():
        lines.append(f"{layout}: {len(shown_names):,}")
        lines += [f"  {name}" for name in shown_names[:N_LISTED]]
        lines += _and_more(len(shown_names))
    return lines


def _and_more(n: int) -> list[str]:
    return [f"  … and {n - N_LISTED:,} more"] if n > N_LISTED else []


def _files_below(source: Source, files: frozenset[str] | None) -> list[tuple[str, Source]]:
    """Find the files of tensors below a folder: their names from the folder or the repository on, and sources."""
    if isinstance(source, HubSource):
        assert files is not None
        prefix = f"{source.folder}/" if source.folder else ""
        names = sorted(n for n in files if n.startswith(prefix) and n.endswith(TENSOR_SUFFIXES))
        return [(name, HubSource(source.repository, name, True, files)) for name in names]
    assert isinstance(source, LocalSource)
    paths = sorted(
        path for path in source.root.rglob("*") if path.suffix in TENSOR_SUFFIXES and path.is_file()
    )
    return [
        (path.relative_to(source.root).as_posix(), LocalSource(path, shapes_only=True))
        for path in paths
    ]


def _layout_of_file(source: Source, name: str) -> tuple[str, str]:
    """Find (the layout of a file of tensors, the file or folder by which the autoencoder is named)."""
    for folder, inside in source.enclosing():
        for layout in layouts_with_weights(folder, inside):
            return _title(layout), name.removesuffix(inside).rstrip("/") or "."
    # Without looking into files: a repository may hold hundreds
    for layout in known_layouts():
        if not layout.is_folder and not layout.needs_tensors and layout.recognises(source):
            return _title(layout), name
    return "unknown layout", name


def _title(layout: Layout) -> str:
    return f"{layout.name} (cannot be shown)" if layout.refusal else layout.name
