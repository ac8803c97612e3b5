"""The sparse autoencoder: its four weights, checked, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources import hub
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.tensors import read_tensors

RUN_VERSIONS = {"run1": "25", "run2": "47"}
WEIGHT_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec")


@dataclass(frozen=True)
class Autoencoder:
    """`f = ReLU((x - b_dec) W_enc + b_enc)`, `x' = f W_dec + b_dec`; decoder rows keep the norms they came with."""

    W_enc: Tensor  # [d_hook, d_hidden] float32
    W_dec: Tensor  # [d_hidden, d_hook] float32
    b_enc: Tensor  # [d_hidden] float32
    b_dec: Tensor  # [d_hook] float32
    provenance: Provenance

    @property
    def d_hidden(self) -> int:
        """Number of features."""
        return int(self.b_enc.shape[0])

    @property
    def d_hook(self) -> int:
        """Width of the activations it reads."""
        return int(self.b_dec.shape[0])


def load_autoencoder(source: str, repository: str, device: torch.device) -> Autoencoder:
    """The autoencoder of a local file (.pt, .safetensors) or of a version in a Hub repository.

    source  run1, run2, a version number, or a file
    raises  SourceError if it cannot be read, or a weight is missing, extra, misshapen, not float or not finite
    """
    path = Path(source)
    if path.suffix in (".pt", ".safetensors"):
        if not path.is_file():
            raise SourceError(f"{source}: no such autoencoder file")
        provenance = local_provenance(path.name, [path])
    else:
        version = RUN_VERSIONS.get(source, source)
        if not version.isdigit():
            raise SourceError(
                f"autoencoder {source!r}: give run1, run2, a version number of {repository}, "
                "or a .pt or .safetensors file"
            )
        files, provenance = hub.download(repository, [f"{version}.pt", f"{version}_cfg.json"])
        path = files[f"{version}.pt"]
    weights = check_weights(read_tensors(path), provenance.files[0].name)
    return Autoencoder(
        **{name: weights[name].to(device) for name in WEIGHT_NAMES}, provenance=provenance
    )


def check_weights(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The four weights as float32, their names, types, shapes and finiteness known to be right.

    raises  SourceError naming the first thing that is wrong
    """
    missing = [key for key in WEIGHT_NAMES if key not in weights]
    extra = [key for key in weights if key not in WEIGHT_NAMES]
    if missing or extra:
        told = [f"lacks {', '.join(missing)}"] * bool(missing) + [
            f"has also {', '.join(extra)}"
        ] * bool(extra)
        raise SourceError(
            f"{name} {' and '.join(told)}: an autoencoder file has {', '.join(WEIGHT_NAMES)}, no more"
        )
    for key, weight in weights.items():
        n_axes = 2 if key.startswith("W") else 1
        if not weight.is_floating_point() or weight.ndim != n_axes:
            shape = list(weight.shape)
            raise SourceError(
                f"{name}: {key} is {weight.dtype} {shape}; a float tensor of {n_axes} axes is expected"
            )
    d_hidden, d_hook = len(weights["b_enc"]), len(weights["b_dec"])
    expected = {"W_enc": [d_hook, d_hidden], "W_dec": [d_hidden, d_hook]}
    for key, shape in expected.items():
        if list(weights[key].shape) != shape:
            raise SourceError(
                f"{name}: {key} has shape {list(weights[key].shape)}; b_enc [{d_hidden}] and b_dec [{d_hook}] "
                f"want {shape}"
            )
    if d_hidden == 0 or d_hook == 0:
        raise SourceError(
            f"{name}: an autoencoder of {d_hidden} features on width {d_hook} has nothing to show"
        )
    single = {key: weight.float() for key, weight in weights.items()}
    for key, weight in single.items():
        n_wrong = int((~torch.isfinite(weight)).sum())
        if n_wrong:
            raise SourceError(
                f"{name}: {key} holds {n_wrong} values that are NaN or infinite as float32"
            )
    return single


def check_width(autoencoder: Autoencoder, d_hook: int, hook_point: str) -> None:
    """That the autoencoder reads activations as wide as the hook point's.

    raises  SourceError if not
    """
    if autoencoder.d_hook != d_hook:
        raise SourceError(
            f"{autoencoder.provenance.name} reads activations of width {autoencoder.d_hook}, but {hook_point} "
            f"is {d_hook} wide: give the hook point or the model that it was trained on"
        )
