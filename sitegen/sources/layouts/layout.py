"""A layout: the files in which a library stores an autoencoder, how they are recognised, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture
from sitegen.sources.layouts.source import Source

# Names of the weights of torch.nn.Linear layers, whose matrices are [out, in]
LINEAR_NAMES = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
    "bias": "b_dec",
    "b_dec": "b_dec",
}

# Weights by their names here (W_enc [d_hook, d_hidden], W_dec [d_hidden, d_output], b_enc, b_dec; threshold of a
# JumpReLU; W_skip [d_hook, d_output] of a transcoder with a skip connection), and how they are used
Reading = tuple[dict[str, Tensor], Architecture]


@dataclass(frozen=True)
class Layout:
    """A way in which autoencoders are published.

    name           of the library or release
    files          names of a folder's files, the weights last; or forms of the name of a single file
    is_folder      whether an autoencoder is a folder with files of fixed names, rather than one file
    content        what is supported, for the documentation
    n_registered   number of autoencoders in SAELens' registry, by kind
    n_refused      number of further ones in this layout that are refused
    read           weights and architecture of a source; raises SourceError if they are not supported
    recognised_by  whether a source has this layout; None: it has if the folder holds all `files`
    needs_tensors  whether `recognised_by` reads a file's tensors
    also           further files or names, for the documentation
    refusal        reason and remedy, of a layout that is recognised only to be refused; empty: it can be read
    """

    name: str
    files: tuple[str, ...]
    is_folder: bool
    content: str
    n_registered: dict[str, int]
    read: Callable[[Source, dict[str, Tensor]], Reading]
    recognised_by: Callable[[Source], bool] | None = None
    needs_tensors: bool = False
    also: str = ""
    refusal: str = ""
    n_refused: int = 0

    def recognises(self, source: Source) -> bool:
        """Whether a source has this layout."""
        return self.recognised_by(source) if self.recognised_by else source.holds(*self.files)

    def weights_file(self, source: Source) -> str:
        """Name of the file with the weights."""
        return self.files[-1] if self.is_folder else source.file

    @property
    def n_all(self) -> int:
        """Number of autoencoders in SAELens' registry that are stored in this way."""
        return sum(self.n_registered.values())


def read_nothing(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Stand for the reader of a layout that is refused."""
    raise NotImplementedError("a layout with a refusal is never read")


def context_size(value: object) -> int | None:
    """Return the length of rows that settings declare; None if it is no number of 2 or more."""
    return value if type(value) is int and value >= 2 else None


def rename_linear(weights: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """Rename the weights of linear layers to W_enc etc. and transpose their matrices from [out, in] to [in, out].

    Weights under other names stay as they are. Which axis is which follows from a weight's name, never from its
    shape: matrices may be square.

    raises  SourceError if two weights would have one name
    """
    if "encoder.weight" not in weights:
        return dict(weights)
    origin: dict[str, str] = {}
    for key in weights:
        usual = LINEAR_NAMES.get(key, key)
        if usual in origin:
            raise SourceError(
                f"{file}: {origin[usual]} and {key} both hold {usual}: remove the one that is not in use"
            )
        origin[usual] = key
    return {
        usual: weights[key].T.contiguous()
        if key.endswith(".weight") and weights[key].ndim == 2
        else weights[key]
        for usual, key in origin.items()
    }


def transpose(weights: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    """Transpose the matrices of these names, as far as they are there."""
    turned = {name: weights[name].T.contiguous() for name in names if name in weights}
    return weights | turned


def expand_threshold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Repeat a single threshold for every feature."""
    threshold, b_enc = weights["threshold"], weights.get("b_enc")
    if threshold.numel() == 1 and b_enc is not None and b_enc.ndim == 1:
        return weights | {"threshold": threshold.reshape(()).expand_as(b_enc)}
    return weights


def as_jump_relu(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Rewrite a gated autoencoder as the JumpReLU that computes the same.

    With `u = x W_enc`, a gated feature has the activation `exp(r_mag) u + b_mag` where this and `u + b_gate` are above
    0. The second condition says that the activation exceeds `b_mag - exp(r_mag) b_gate`, which is a threshold.

    weights  with r_mag, b_mag and b_gate, [d_hidden] each, in place of b_enc and threshold
    raises   SourceError if one of them is missing
    source   Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse Autoencoders", section 3.2
    """
    rest = dict(weights)
    try:
        W_enc, r_mag, b_mag, b_gate = (
            rest.pop(key).float() for key in ("W_enc", "r_mag", "b_mag", "b_gate")
        )
    except KeyError as error:
        raise SourceError(
            f"{name}: a gated autoencoder holds r_mag, b_mag and b_gate, but {error} is missing: save it again"
        ) from None
    gain = r_mag.exp()
    return {
        **rest,
        "W_enc": W_enc * gain,
        "b_enc": b_mag,
        "threshold": b_mag - gain * b_gate,
    }


def fold_input_scale(weights: dict[str, Tensor], scale: float | Tensor) -> dict[str, Tensor]:
    """Fold the scale that training applied to inputs and outputs into the weights, as far as they are there.

    scale  factor that the input was multiplied by, a number or a tensor of one value
    """
    factors = {"W_enc": scale, "W_dec": 1 / scale, "b_dec": 1 / scale}
    return {
        name: weight.float() * factors[name] if name in factors else weight
        for name, weight in weights.items()
    }


def require_same_point(settings: dict[str, Any], name: str) -> str:
    """Return the hook point that OpenMOSS' settings give as input and output.

    raises  SourceError if they are two, which makes it a transcoder
    """
    point = str(settings.get("hook_point_in") or "")
    output = settings.get("hook_point_out", point)
    if output != point:
        raise SourceError(
            f"{name}: it reads {point} and writes {output}; Llama Scope's transcoders are not supported: give "
            "an autoencoder"
        )
    return point


def require_k(k: object, name: str) -> int:
    """Return the k of a TopK.

    raises  SourceError if it is not a whole number of 1 or more
    """
    if isinstance(k, float) and k.is_integer():
        k = int(k)
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise SourceError(
            f"{name}: k is {k!r}; a whole number of 1 or more is expected: correct it, or save it again"
        )
    return k


def number_in(text: str, pattern: str) -> int | None:
    """Find a number in a name, such as the layer; None if the name has none, the last if it has several.

    pattern  with one group, the number
    """
    found = re.findall(pattern, text)
    return int(found[-1]) if found else None
