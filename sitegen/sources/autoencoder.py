"""The sparse autoencoder: its checked weights, its architecture and its provenance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.maths.activation_functions import make_activation_function
from sitegen.maths.encoder import Encoder
from sitegen.maths.normalisation import Normalised, normalised
from sitegen.sources import hub
from sitegen.sources.autoencoder_files import (
    FOLDER_LAYOUTS,
    WEIGHT_NAMES,
    Architecture,
    DeclaredSettings,
    apply_declared,
    read_folder,
    read_state_dict,
)
from sitegen.sources.provenance import Provenance, local_provenance

DEFAULT_REPOSITORY = "NeelNanda/sparse_autoencoder"
RUN_VERSIONS = {"run1": "25", "run2": "47"}
FILE_SUFFIXES = (".pt", ".safetensors")
# A decoder layer of `transformers`, such as `model.layers.3`, or its MLP or attention
MODULE_NAME = re.compile(
    r"(?:[a-z_]+\.)*(?:layers|h|layer|blocks)\.(\d+)(?:\.(mlp|feed_forward|self_attn|attn|attention))?"
)
# The hook point within a layer that holds such a module's output
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
    """`f = ReLU((x - b_in) W_enc + b_enc)`, `x' = f W_dec + b_dec`; decoder rows keep the norms of the file.

    `b_in` is `b_dec` if the architecture subtracts it, otherwise 0. JumpReLU (with thresholds) or TopK (with a k)
    replaces ReLU where the architecture has them. The architecture may also normalise `x` before encoding; `x'` is
    then scaled back.
    """

    W_enc: Tensor  # [d_hook, d_hidden] float32
    W_dec: Tensor  # [d_hidden, d_hook] float32
    b_enc: Tensor  # [d_hidden] float32
    b_dec: Tensor  # [d_hook] float32
    provenance: Provenance
    threshold: Tensor | None = None  # [d_hidden] float32; only a JumpReLU has it
    architecture: Architecture = field(default_factory=Architecture)

    @property
    def d_hidden(self) -> int:
        """Number of features."""
        return int(self.b_enc.shape[0])

    @property
    def d_hook(self) -> int:
        """Width of the activations that it encodes."""
        return int(self.b_dec.shape[0])

    @property
    def activation_function(self) -> str:
        """Name of the activation function: ReLU, JumpReLU or TopK."""
        if self.architecture.k:
            return "TopK"
        return "ReLU" if self.threshold is None else "JumpReLU"

    def encoder(self, chosen: Tensor | None = None) -> Encoder:
        """Encoder of all features, or of the features `chosen` [n_chosen] int64, in rising order."""
        k, columns = self.architecture.k, slice(None) if chosen is None else chosen
        if k:
            # In a TopK every feature competes for the k largest, so all of them have to be computed
            columns = slice(None)
        b_enc = self.b_enc[columns]
        threshold = torch.zeros_like(b_enc) if self.threshold is None else self.threshold[columns]
        return Encoder(
            self.W_enc[:, columns],
            b_enc,
            self.b_dec if self.architecture.subtracts_b_dec else torch.zeros_like(self.b_dec),
            make_activation_function(threshold, k),
            self.architecture.normalisation,
            chosen if k else None,
        )

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Compute the feature activations [n, d_hidden] for hook-point activations `x` [n, d_hook].

        This is a plain dense product, independent of the search that the sweep uses.
        """
        b_in = self.b_dec if self.architecture.subtracts_b_dec else torch.zeros_like(self.b_dec)
        activations: Tensor = (self.normalised(x).x - b_in) @ self.W_enc + self.b_enc
        if self.threshold is not None:
            activations = torch.where(activations > self.threshold, activations, 0)
        activations = activations.relu_()
        if self.architecture.k:
            largest = activations.topk(self.architecture.k, 1)
            activations = torch.zeros_like(activations).scatter_(1, largest.indices, largest.values)
        return activations

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct hook-point activations `x` [n, d_hook].

        returns  (reconstruction [n, d_hook], number of active features [n] int64)
        """
        activations = self.encode(x)
        output = self.normalised(x).undone(activations @ self.W_dec + self.b_dec)
        return output, (activations > 0).sum(1)

    def normalised(self, x: Tensor) -> Normalised:
        """Normalise hook-point activations [n, d_hook] as the architecture asks."""
        return normalised(x, self.architecture.normalisation)


def load_autoencoder(
    source: str, repository: str, device: torch.device, declared: DeclaredSettings | None = None
) -> Autoencoder:
    """Load the autoencoder of a local file or folder, or of a version or folder of a Hub repository.

    source    run1, run2, a version number, a .pt or .safetensors file, or a folder as SAELens or dictionary_learning
              write it
    declared  settings that the configuration declares
    raises    SourceError if it cannot be read, its architecture is not supported, or a weight is missing, extra,
              misshapen, not float or not finite
    """
    declared = declared or DeclaredSettings()
    path, version = Path(source), RUN_VERSIONS.get(source, source)
    if any(
        path.name in layout.names and layout.is_complete_in(path.parent)
        for layout in FOLDER_LAYOUTS
    ):
        # The weights alone do not state the architecture; the settings file in the folder does
        path = path.parent
    name = path.name
    if path.is_dir():
        files = {name: path / name for layout in FOLDER_LAYOUTS for name in layout.names}
        present = {name: file for name, file in files.items() if file.is_file()}
        weights, architecture = read_folder(present, name)
        provenance = local_provenance(name, list(present.values()))
    elif path.suffix in FILE_SUFFIXES:
        if not path.is_file():
            raise SourceError(f"{source}: no such autoencoder file; correct autoencoder.source")
        weights, architecture = read_state_dict(path, declared)
        provenance = local_provenance(name, [path])
    elif version.isdigit():
        name = f"{version}.pt"
        paths, provenance = hub.download(repository, [name, f"{version}_cfg.json"])
        weights, architecture = read_state_dict(paths[name], declared)
    elif repository == DEFAULT_REPOSITORY:
        raise SourceError(
            f"autoencoder {source!r}: no such file or folder, and no version of {repository}; give run1, run2, a "
            "version number, a .pt or .safetensors file or a folder, or set autoencoder.repository and give its folder"
        )
    else:
        weights, architecture, provenance = _download_folder(repository, source.rstrip("/"))
    weights, architecture = apply_declared(weights, architecture, declared, name)
    checked = check_weights(weights, architecture, name)
    on_device = {name: weight.to(device) for name, weight in checked.items()}
    return Autoencoder(**on_device, provenance=provenance, architecture=architecture)


def _download_folder(
    repository: str, folder: str
) -> tuple[dict[str, Tensor], Architecture, Provenance]:
    """Download a folder of a repository and read it.

    The settings file comes first: its name tells the layout, and so the name of the weights file beside it.
    """
    settings = tuple(f"{folder}/{layout.settings}" for layout in FOLDER_LAYOUTS)
    found, _ = hub.download(repository, [], optional=settings)
    layout = next((one for one in FOLDER_LAYOUTS if f"{folder}/{one.settings}" in found), None)
    if layout is None:
        # Ask for the same files as required ones: the error then tells what the Hub answered
        try:
            hub.download(repository, list(settings))
        except SourceError as error:
            raise SourceError(
                f"autoencoder {folder!r}: no such folder on this machine, and {error}"
            ) from None
        raise SourceError(
            f"{repository}/{folder}: its settings file was missing and has just appeared; run the same command again"
        )
    names = [f"{folder}/{name}" for name in layout.names]
    paths, provenance = hub.download(repository, names)
    weights, architecture = read_folder(
        {Path(name).name: path for name, path in paths.items()}, folder
    )
    return weights, architecture, provenance


def check_weights(
    weights: dict[str, Tensor], architecture: Architecture, name: str
) -> dict[str, Tensor]:
    """Return the weights as float32, after checking their names, types, shapes and finiteness.

    Thresholds below 0 become 0.

    raises  SourceError that names the first fault
    """
    missing = [key for key in WEIGHT_NAMES if key not in weights]
    extra = [key for key in weights if key not in (*WEIGHT_NAMES, "threshold")]
    if missing or extra:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [
            f"has also {', '.join(extra)}"
        ] * bool(extra)
        raise SourceError(
            f"{name} {' and '.join(faults)}: an autoencoder file holds {', '.join(WEIGHT_NAMES)}, optionally "
            "threshold, and nothing else"
        )
    for key, weight in weights.items():
        n_axes = 2 if key.startswith("W") else 1
        if not weight.is_floating_point() or weight.ndim != n_axes:
            shape = list(weight.shape)
            raise SourceError(
                f"{name}: {key} is {weight.dtype} {shape}; a float tensor with {n_axes} axes is expected"
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
                f"{name}: {key} has shape {list(weights[key].shape)}, but b_enc [{d_hidden}] and b_dec [{d_hook}] "
                f"require {shape}"
            )
    if d_hidden == 0 or d_hook == 0:
        raise SourceError(
            f"{name}: the autoencoder is empty ({d_hidden} features, width {d_hook}); give another"
        )
    if architecture.k > d_hidden:
        raise SourceError(
            f"{name}: k is {architecture.k}, but the autoencoder has only {d_hidden} features; correct k"
        )
    single = {key: weight.float() for key, weight in weights.items()}
    for key, weight in single.items():
        n_wrong = int((~torch.isfinite(weight)).sum())
        if n_wrong:
            raise SourceError(
                f"{name}: {key} holds {n_wrong} values that are NaN or infinite as float32; save the weights again"
            )
    if "threshold" in single:
        # JumpReLU activations are positive in any case, so a threshold below 0 acts as 0
        single["threshold"] = single["threshold"].clamp(min=0)
    return single


def require_hook_point(autoencoder: Autoencoder, d_hook: int, hook_point: str) -> None:
    """Raise unless the autoencoder fits the hook point.

    Its width has to equal the hook point's, and the hook point that its settings declare, if any, has to be this one.

    raises  SourceError if either differs
    """
    name, trained_on = autoencoder.provenance.name, autoencoder.architecture.hook_point
    if autoencoder.d_hook != d_hook:
        raise SourceError(
            f"{name} reads activations of width {autoencoder.d_hook}, but {hook_point} "
            f"has width {d_hook}: set model.name and model.hook_point to those that it was trained on"
        )
    known = to_hook_point(trained_on)
    if known and same_point(known) != same_point(hook_point):
        raise SourceError(
            f"{name} was trained on {trained_on}, not on {hook_point}: set model.hook_point = {known!r}"
        )


def to_hook_point(name: str) -> str:
    """Translate the name of a hook point to TransformerLens' name for it.

    name     TransformerLens' own name, or the name in `transformers` of the module whose output it is
    returns  an empty text for a name of neither kind
    """
    if name.startswith("blocks."):
        return name
    match = MODULE_NAME.fullmatch(name)
    if match is None:
        return ""
    return f"blocks.{match[1]}.{MODULE_POINTS[match[2]]}"


def hook_point_remarks(autoencoder: Autoencoder) -> list[str]:
    """One sentence if the settings declare a hook point by a name that cannot be compared; otherwise empty."""
    name = autoencoder.architecture.hook_point
    if not name or to_hook_point(name):
        return []
    return [
        f"{autoencoder.provenance.name} was trained on {name!r}, which is not a known name of a hook point: "
        "only the measured fit shows that model.hook_point is the right one"
    ]


def same_point(hook_point: str) -> str:
    """Canonical name of a hook point: a layer's output is named as the input of the layer after it."""
    match = re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", hook_point)
    return f"blocks.{int(match[1]) + 1}.hook_resid_pre" if match else hook_point
