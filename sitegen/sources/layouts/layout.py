"""A layout: the files in which a library stores an autoencoder, how they are recognised, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

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
    """A way in which autoencoders are published. The functions may read settings and tensors of a source.

    name           of the library or release
    files          the files that it consists of, for the documentation
    content        what can be read, for the documentation
    n_published    classes and numbers of autoencoders in SAELens' registry that are stored in this way
    recognises     whether a source is stored in this way
    weights        name of the file with the weights
    read           weights and architecture of a recognised source; raises SourceError if they are not supported
    needs_tensors  whether recognising it takes a look at a file's tensors
    refusal        reason and remedy, of a layout that is recognised only to be refused; empty: it can be read
    """

    name: str
    files: str
    content: str
    n_published: dict[str, int]
    recognises: Callable[[Source], bool]
    weights: Callable[[Source], str]
    read: Callable[[Source, dict[str, Tensor]], Reading]
    needs_tensors: bool = False
    refusal: str = ""

    @property
    def n_all(self) -> int:
        """Number of autoencoders in SAELens' registry that are stored in this way."""
        return sum(self.n_published.values())

    @property
    def is_folder(self) -> bool:
        """Whether an autoencoder is a folder with files of fixed names, rather than one file among others."""
        return self.files.startswith("a folder")


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
    """Fold the scale that training applied to inputs and outputs into the weights.

    scale  factor that the input was multiplied with, a number or a tensor of one value
    """
    return weights | {
        "W_enc": weights["W_enc"].float() * scale,
        "W_dec": weights["W_dec"].float() / scale,
        "b_dec": weights["b_dec"].float() / scale,
    }


def require_k(k: object, name: str) -> int:
    """Return the k of a TopK.

    raises  SourceError if it is not a whole number of 1 or more
    """
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise SourceError(f"{name}: k is {k!r}; a whole number of 1 or more is expected")
    return k


def number_in(text: str, pattern: str) -> int | None:
    """Find a number in a name, such as the layer; None if the name has none.

    pattern  with one group, the number
    """
    match = re.search(pattern, text)
    return int(match[1]) if match else None
