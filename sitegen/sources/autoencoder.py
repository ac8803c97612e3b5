"""The sparse autoencoder: its weights, checked, what is done with them, and where they came from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.maths.encoder import ActivationFunction, Encoder
from sitegen.maths.normalisation import Normalised, normalised
from sitegen.sources import hub
from sitegen.sources.autoencoder_files import (
    FOLDER_LAYOUTS,
    WEIGHT_NAMES,
    Architecture,
    DeclaredSettings,
    as_declared,
    read_folder,
    read_state_dict,
)
from sitegen.sources.provenance import Provenance, local_provenance

DEFAULT_REPOSITORY = "NeelNanda/sparse_autoencoder"
RUN_VERSIONS = {"run1": "25", "run2": "47"}
FILE_SUFFIXES = (".pt", ".safetensors")
# A decoder layer or a part of it, as `transformers` names them, and where its output stands
MODULE_NAME = re.compile(
    r"(?:[a-z_]+\.)*(?:layers|h|layer|blocks)\.(\d+)(?:\.(mlp|feed_forward|self_attn|attn|attention))?"
)
MODULE_POINTS = {
    None: "hook_resid_post",
    "mlp": "hook_mlp_out",
    "feed_forward": "hook_mlp_out",
    "self_attn": "hook_attn_out",
    "attn": "hook_attn_out",
    "attention": "hook_attn_out",
}


@dataclass(frozen=True)
class Autoencoder:
    """`f = ReLU((x - b_in) W_enc + b_enc)`, `x' = f W_dec + b_dec`; decoder rows keep the norms they came with.

    b_in is b_dec where the make says so, else nothing; with thresholds or a k another activation function stands in
    ReLU's place; x may be normalised before and x' brought back after.
    """

    W_enc: Tensor  # [d_hook, d_hidden] float32
    W_dec: Tensor  # [d_hidden, d_hook] float32
    b_enc: Tensor  # [d_hidden] float32
    b_dec: Tensor  # [d_hook] float32
    provenance: Provenance
    threshold: Tensor | None = None  # [d_hidden] float32, of a JumpReLU
    architecture: Architecture = field(default_factory=Architecture)

    @property
    def d_hidden(self) -> int:
        """Number of features."""
        return int(self.b_enc.shape[0])

    @property
    def d_hook(self) -> int:
        """Width of the activations it reads."""
        return int(self.b_dec.shape[0])

    @property
    def activation_function(self) -> str:
        """ReLU, JumpReLU or TopK."""
        if self.architecture.k:
            return "TopK"
        return "ReLU" if self.threshold is None else "JumpReLU"

    def encoder(self, chosen: Tensor | None = None) -> Encoder:
        """The encoder of all features, or of chosen ones, [n_chosen] int64 and rising."""
        k, columns = self.architecture.k, slice(None) if chosen is None else chosen
        if k:
            columns = slice(None)  # the others compete with those chosen
        b_enc = self.b_enc[columns]
        threshold = torch.zeros_like(b_enc) if self.threshold is None else self.threshold[columns]
        return Encoder(
            self.W_enc[:, columns],
            b_enc,
            self.b_dec if self.architecture.subtracts_b_dec else torch.zeros_like(self.b_dec),
            ActivationFunction(threshold, k),
            self.architecture.normalisation,
            chosen if k else None,
        )

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """[n, d_hidden] activations for hook-point activations `x` [n, d_hook].

        By a plain dense product, independent of the sweep's search.
        """
        b_in = self.b_dec if self.architecture.subtracts_b_dec else torch.zeros_like(self.b_dec)
        found: Tensor = (self.normalised(x).x - b_in) @ self.W_enc + self.b_enc
        if self.threshold is not None:
            found = torch.where(found > self.threshold, found, 0)
        found = found.relu_()
        if self.architecture.k:
            largest = found.topk(self.architecture.k, 1)
            found = torch.zeros_like(found).scatter_(1, largest.indices, largest.values)
        return found

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """([n, d_hook] the output for activations `x` [n, d_hook], [n] int64 how many features are active)."""
        features = self.features(x)
        output = self.normalised(x).undone(features @ self.W_dec + self.b_dec)
        return output, (features > 0).sum(1)

    def normalised(self, x: Tensor) -> Normalised:
        """Hook-point activations [n, d_hook] as it takes them."""
        return normalised(x, self.architecture.normalisation)


def load_autoencoder(
    source: str, repository: str, device: torch.device, declared: DeclaredSettings | None = None
) -> Autoencoder:
    """The autoencoder of a local file or folder, or of a version or folder of a Hub repository.

    source  run1, run2, a version number, a .pt or .safetensors file, or a folder as SAELens or dictionary_learning
            write it
    said    what the configuration says of it
    raises  SourceError if it cannot be read, is of a make that is not known, or a weight is missing, extra,
            misshapen, not float or not finite
    """
    declared = declared or DeclaredSettings()
    path, version = Path(source), RUN_VERSIONS.get(source, source)
    if any(path.name in layout.names and layout.is_in(path.parent) for layout in FOLDER_LAYOUTS):
        path = path.parent  # the file alone does not say what is done with it
    name = path.name
    if path.is_dir():
        files = {name: path / name for layout in FOLDER_LAYOUTS for name in layout.names}
        there = {name: file for name, file in files.items() if file.is_file()}
        weights, architecture = read_folder(there, name)
        provenance = local_provenance(name, list(there.values()))
    elif path.suffix in FILE_SUFFIXES:
        if not path.is_file():
            raise SourceError(f"{source}: no such autoencoder file")
        weights, architecture = read_state_dict(path, declared)
        provenance = local_provenance(name, [path])
    elif version.isdigit():
        name = f"{version}.pt"
        paths, provenance = hub.download(repository, [name, f"{version}_cfg.json"])
        weights, architecture = read_state_dict(paths[name], declared)
    elif repository == DEFAULT_REPOSITORY:
        raise SourceError(
            f"autoencoder {source!r}: give run1, run2, a version number of {repository}, a .pt or .safetensors file, "
            "a folder, or with autoencoder.repository a folder of that"
        )
    else:
        weights, architecture, provenance = _download_folder(repository, source.rstrip("/"))
    weights, architecture = as_declared(weights, architecture, declared, name)
    checked = check_weights(weights, architecture, name)
    placed = {name: weight.to(device) for name, weight in checked.items()}
    return Autoencoder(**placed, provenance=provenance, architecture=architecture)


def _download_folder(
    repository: str, folder: str
) -> tuple[dict[str, Tensor], Architecture, Provenance]:
    """A folder of a repository: its settings first, which say what weights stand beside them."""
    settings = tuple(f"{folder}/{layout.settings}" for layout in FOLDER_LAYOUTS)
    found, _ = hub.download(repository, [], optional=settings)
    layout = next((one for one in FOLDER_LAYOUTS if f"{folder}/{one.settings}" in found), None)
    if layout is None:
        try:
            hub.download(repository, list(settings))
        except SourceError as error:
            raise SourceError(f"autoencoder {folder!r} is no folder here, and {error}") from None
        raise SourceError(f"{repository}/{folder}: try again later")  # it was not there, now it is
    names = [f"{folder}/{name}" for name in layout.names]
    paths, provenance = hub.download(repository, names)
    weights, architecture = read_folder(
        {Path(name).name: path for name, path in paths.items()}, folder
    )
    return weights, architecture, provenance


def check_weights(
    weights: dict[str, Tensor], architecture: Architecture, name: str
) -> dict[str, Tensor]:
    """The weights as float32, their names, types, shapes and finiteness known to be right; thresholds of 0 or more.

    raises  SourceError naming the first thing that is wrong
    """
    missing = [key for key in WEIGHT_NAMES if key not in weights]
    extra = [key for key in weights if key not in (*WEIGHT_NAMES, "threshold")]
    if missing or extra:
        told = [f"lacks {', '.join(missing)}"] * bool(missing) + [
            f"has also {', '.join(extra)}"
        ] * bool(extra)
        raise SourceError(
            f"{name} {' and '.join(told)}: an autoencoder file has {', '.join(WEIGHT_NAMES)}, and threshold at most"
        )
    for key, weight in weights.items():
        n_axes = 2 if key.startswith("W") else 1
        if not weight.is_floating_point() or weight.ndim != n_axes:
            shape = list(weight.shape)
            raise SourceError(
                f"{name}: {key} is {weight.dtype} {shape}; a float tensor of {n_axes} axes is expected"
            )
    d_hidden, d_hook = len(weights["b_enc"]), len(weights["b_dec"])
    expected = {
        "W_enc": [d_hook, d_hidden],
        "W_dec": [d_hidden, d_hook],
        "threshold": [d_hidden],
    }
    for key, shape in expected.items():
        if key in weights and list(weights[key].shape) != shape:
            raise SourceError(
                f"{name}: {key} has shape {list(weights[key].shape)}; b_enc [{d_hidden}] and b_dec [{d_hook}] "
                f"want {shape}"
            )
    if d_hidden == 0 or d_hook == 0:
        raise SourceError(
            f"{name}: an autoencoder of {d_hidden} features on width {d_hook} has nothing to show"
        )
    if architecture.k > d_hidden:
        raise SourceError(f"{name}: k is {architecture.k}, but there are {d_hidden} features")
    single = {key: weight.float() for key, weight in weights.items()}
    for key, weight in single.items():
        n_wrong = int((~torch.isfinite(weight)).sum())
        if n_wrong:
            raise SourceError(
                f"{name}: {key} holds {n_wrong} values that are NaN or infinite as float32"
            )
    if "threshold" in single:  # a ReLU comes before it, so below 0 it asks for nothing more
        single["threshold"] = single["threshold"].clamp(min=0)
    return single


def require_hook_point(autoencoder: Autoencoder, d_hook: int, hook_point: str) -> None:
    """That the autoencoder reads activations as wide as the hook point's, and of that point if it says of which.

    raises  SourceError if not
    """
    name, trained_on = autoencoder.provenance.name, autoencoder.architecture.hook_point
    if autoencoder.d_hook != d_hook:
        raise SourceError(
            f"{name} reads activations of width {autoencoder.d_hook}, but {hook_point} "
            f"is {d_hook} wide: give the hook point or the model that it was trained on"
        )
    known = as_hook_point(trained_on)
    if known and same_point(known) != same_point(hook_point):
        raise SourceError(
            f"{name} was trained on {trained_on}, not on {hook_point}: give model.hook_point = {known!r}"
        )


def as_hook_point(name: str) -> str:
    """TransformerLens' name of a place, given so or as `transformers` names the module whose output it is.

    Empty where the name is of neither kind.
    """
    if name.startswith("blocks."):
        return name
    match = MODULE_NAME.fullmatch(name)
    if match is None:
        return ""
    return f"blocks.{match[1]}.{MODULE_POINTS[match[2]]}"


def unrecognised_hook_point(autoencoder: Autoencoder) -> list[str]:
    """A sentence if the autoencoder's settings name a place that could not be compared with the hook point."""
    name = autoencoder.architecture.hook_point
    if not name or as_hook_point(name):
        return []
    return [
        f"{autoencoder.provenance.name} was trained on {name!r}, a name that is not known here: "
        "that it is the hook point was measured alone"
    ]


def same_point(hook_point: str) -> str:
    """One name for what is before a layer and what is after the one before it."""
    match = re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", hook_point)
    return f"blocks.{int(match[1]) + 1}.hook_resid_pre" if match else hook_point
