"""What an autoencoder's files are, from names, settings and headers alone: nothing large is downloaded or read."""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources import hub
from sitegen.sources.architecture import Architecture
from sitegen.sources.hook_points import to_hook_point
from sitegen.sources.layouts.layout import Layout
from sitegen.sources.layouts.registry import find_source, known_layouts, recognise
from sitegen.sources.layouts.source import TENSOR_SUFFIXES, HubSource, LocalSource, Source

# Text that suits any English language model, with rows short enough for all of them
SUGGESTED_TEXT = ('corpus.dataset = "NeelNanda/pile-10k"', "corpus.seq_len = 128")
N_LISTED = 12
NO_REPOSITORY = ""


@dataclass(frozen=True)
class Inspection:
    """What was found.

    lines  for the user, in order
    toml   the preset that would make the site of the one autoencoder that was named; empty if several were found
    """

    lines: list[str]
    toml: str


def inspect(what: str, path: str) -> Inspection:
    """Tell what a repository, or a file or folder of this machine, holds.

    what    name of a repository, or of a file or folder of this machine
    path    file or folder in it; empty for the whole
    raises  SourceError if there is no such thing, or it is an autoencoder that cannot be read
    """
    is_local = Path(what).exists()
    if is_local:
        source: Source = find_source(posixpath.join(what, path) if path else what, "", True)
        files = None
    else:
        files = frozenset(hub.list_files(what))
        source = HubSource(what, path.strip("/"), shapes_only=True, listed=files)
        _require_listed(source, files, what)
    try:
        found, layout = recognise(source)
    except SourceError:
        several = _list_autoencoders(source, files)
        if not several:
            raise
        return Inspection(several, "")
    return _describe(found, layout, what if not is_local else NO_REPOSITORY, what, path)


def _require_listed(source: HubSource, files: frozenset[str], repository: str) -> None:
    """Raise SourceError if a repository has nothing at the path that was named."""
    name = posixpath.join(source.folder, source.file) if source.file else source.folder
    if name and name not in files and not any(file.startswith(f"{name}/") for file in files):
        raise SourceError(
            f"{repository} has no file or folder {name}: `build.py inspect {repository}` lists what it has"
        )


def _describe(
    source: Source, layout: Layout | None, repository: str, what: str, path: str
) -> Inspection:
    """Describe one autoencoder.

    raises  SourceError if it cannot be read
    """
    if layout is not None and layout.refusal:
        raise SourceError(f"{source.name}: {layout.refusal}")
    if layout is None:
        return _describe_plain(source, repository, what, path)
    weights, architecture = layout.read(source, source.tensors(layout.weights(source)))
    shape = _shape(weights, source.name)
    lines = [
        f"layout        {layout.name}",
        f"architecture  {architecture_text(weights, architecture)}",
        f"features      {shape[1]:,}, reading activations of width {shape[0]:,}"
        + (f" and writing {shape[2]:,}" if architecture.is_transcoder else ""),
        f"model         {architecture.model or 'not declared'}",
        f"hook point    {architecture.hook_point or 'not declared'}"
        + (f" -> {architecture.output_hook_point}" if architecture.is_transcoder else ""),
    ]
    if architecture.text.dataset:
        lines.append(f"trained on    {architecture.text.dataset}")
    return Inspection(lines, _toml(architecture, repository, what, path))


def _describe_plain(source: Source, repository: str, what: str, path: str) -> Inspection:
    """Describe a file that no layout recognises, by its tensors."""
    tensors = source.tensors(source.file)
    lines = [
        f"layout        none of those known: a file of {len(tensors)} tensors without settings"
    ]
    lines += [f"  {name} {list(tensor.shape)} {tensor.dtype}" for name, tensor in tensors.items()][
        :20
    ]
    lines.append(
        "Unless it is a ReLU with exactly W_enc, W_dec, b_enc and b_dec, declare autoencoder.activation and "
        "autoencoder.subtracts_b_dec as well"
    )
    return Inspection(lines, _toml(Architecture(), repository, what, path))


def _shape(weights: dict[str, Tensor], name: str) -> tuple[int, int, int]:
    """Get (width that is read, number of features, width that is written)."""
    W_enc, W_dec = weights.get("W_enc"), weights.get("W_dec")
    if W_enc is None or W_dec is None or W_enc.ndim != 2 or W_dec.ndim != 2:
        raise SourceError(
            f"{name} lacks the matrices W_enc and W_dec: download or save the autoencoder again"
        )
    return W_enc.shape[0], W_enc.shape[1], W_dec.shape[1]


def architecture_text(weights: dict[str, Tensor], architecture: Architecture) -> str:
    """Name an architecture in words."""
    function = "TopK" if architecture.k else "JumpReLU" if "threshold" in weights else "ReLU"
    kind = "transcoder" if architecture.is_transcoder else "autoencoder"
    details = [f"k = {architecture.k}"] if architecture.k else []
    if architecture.normalisation != "none":
        details.append(f"inputs normalised by {architecture.normalisation}")
    if architecture.lacks_input_scale:
        details.append(
            "inputs scaled by a factor that its files do not hold: set autoencoder.input_scale"
        )
    if "W_skip" in weights:
        details.append("with a skip connection")
    if architecture.subtracts_b_dec:
        details.append("b_dec subtracted from the input")
    return ", ".join([f"{function} {kind}", *details])


def _toml(architecture: Architecture, repository: str, what: str, path: str) -> str:
    """Write the preset that would make the autoencoder's site; what is not known is left to fill in."""
    point, output = (
        to_hook_point(name) for name in (architecture.hook_point, architecture.output_hook_point)
    )
    lines = [f"model.name = {json.dumps(architecture.model or 'FILL IN')}"]
    lines.append(
        f"model.hook_point = {json.dumps(point or 'FILL IN, such as blocks.N.hook_resid_post')}"
    )
    if architecture.is_transcoder and not output:
        lines.append('model.output_hook_point = "FILL IN, such as blocks.N.hook_mlp_out"')
    if repository:
        lines.append(f"autoencoder.repository = {json.dumps(repository)}")
        lines.append(f"autoencoder.source = {json.dumps(path or '.')}")
    else:
        lines.append(
            f"autoencoder.source = {json.dumps(posixpath.join(what, path) if path else what)}"
        )
    lines += SUGGESTED_TEXT
    return "\n".join(lines)


def _list_autoencoders(source: Source, files: frozenset[str] | None) -> list[str]:
    """List the autoencoders below a folder, by layout; a few names of each."""
    if isinstance(source, LocalSource):
        root = source.root
        names = sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.suffix in TENSOR_SUFFIXES
        )
        sources: list[Source] = [LocalSource(root / name, shapes_only=True) for name in names]
    else:
        assert isinstance(source, HubSource)
        assert files is not None
        prefix = f"{source.folder}/" if source.folder else ""
        names = sorted(n for n in files if n.startswith(prefix) and n.endswith(TENSOR_SUFFIXES))
        sources = [HubSource(source.repository, name, True, files) for name in names]
    found: dict[str, list[str]] = defaultdict(list)
    for name, one in zip(names, sources, strict=True):
        layout, shown = _layout_of_file(one, name)
        found[layout].append(shown)
    lines = []
    for layout, shown_names in found.items():
        lines.append(f"{len(shown_names):,} of the layout {layout}:")
        lines += [f"  {name}" for name in shown_names[:N_LISTED]]
        if len(shown_names) > N_LISTED:
            lines.append(f"  … and {len(shown_names) - N_LISTED:,} more")
    return lines


def _layout_of_file(source: Source, name: str) -> tuple[str, str]:
    """Find (the layout of a file of tensors, the file or folder by which the autoencoder is named)."""
    for folder, inside in source.enclosing():
        for layout in known_layouts():
            if layout.is_folder and layout.recognises(folder) and layout.weights(folder) == inside:
                return layout.name, name.removesuffix(inside).rstrip("/") or "."
    # Without looking into files: a repository may hold hundreds
    for layout in known_layouts():
        if not layout.is_folder and not layout.needs_tensors and layout.recognises(source):
            return layout.name, name
    return "unknown (a plain file of tensors)", name
