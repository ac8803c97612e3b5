"""The model that readers' pages run on text of their own: its weights up to the hook point, and the encoder.

What pages compute is computed here first, from the very numbers that they are given, and held against the sweep's: a
model of another make, or numbers too coarse, are refused rather than published.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sitegen.config import Config
from sitegen.errors import SitegenError, SourceError
from sitegen.maths.encoder import Encoder
from sitegen.maths.normalisation import normalised
from sitegen.records import LiveModel, LiveSettings
from sitegen.sources.inputs import Inputs
from sitegen.sources.plain_transformer import plain_transformer
from sitegen.sources.tokenizer import TextTokenizer
from sitegen.sweep.shards import make_encoder

BYTES = {"int16": 2, "fp32": 4}  # of a number
IN_BASE64 = 4 / 3  # bytes of text for a byte of numbers
LARGEST_ERROR = 0.01  # of a feature's maximum
LARGEST_INT16 = 32767
# What the ByteLevel pre-tokenizer cuts by; source: the tokenizers library, and GPT-2's encoder before it
BYTE_LEVEL_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class LiveRefusalError(SitegenError):
    """Why a site has no model in it that runs on a reader's text."""


def live_model(inputs: Inputs, max_activation: np.ndarray, config: Config) -> LiveModel:
    """The model as pages load it.

    max_activation  [n_features] of each feature swept
    raises          LiveRefusalError if none is wanted, the model is of a make that pages do not know, it takes more
                    room than it may, or gives other activations than the sweep
    """
    precision = config.live.precision
    if precision == "none":
        raise LiveRefusalError("live.precision is none")
    if inputs.autoencoder.architecture.k:
        what = inputs.autoencoder.activation_function
        raise LiveRefusalError(f"pages know ReLU and JumpReLU, the autoencoder has {what}")
    tokens = inputs.ids(range(min(config.sweep.batch_rows, len(inputs.rows.tokens))))
    encoder = make_encoder(inputs)
    W_enc = encoder.columns
    _require_room([inputs.model.bridge.W_E, W_enc], config)  # before a large model is copied
    try:
        plain = plain_transformer(inputs.model, tokens.shape[1])
    except SourceError as error:
        raise LiveRefusalError(
            f"pages cannot run {inputs.model.provenance.name}: {error}"
        ) from None
    zero = W_enc.new_zeros(1, W_enc.shape[1])
    # What is taken from the input joins the bias: pages subtract nothing
    bias = encoder.bias.double() + W_enc.double() @ encoder.centred(zero).double()[0]
    weights = {**plain.weights, "encoder.weight": W_enc, "encoder.bias": bias.float()}
    if bool(encoder.function.threshold.any()):
        weights["encoder.threshold"] = encoder.function.threshold
    _require_room([*weights.values()], config)
    published = {name: published_as(weight, precision) for name, weight in weights.items()}
    given = {name: array.as_read().to(inputs.device) for name, array in published.items()}
    x = dataclasses.replace(plain, weights=given).activations(tokens).flatten(0, 1)
    normalisation = inputs.autoencoder.architecture.normalisation
    found = normalised(x, normalisation).x @ given["encoder.weight"].T + given["encoder.bias"]
    difference = _largest_error(found, tokens, inputs, encoder, max_activation)
    if not difference <= LARGEST_ERROR:  # which NaN is not
        raise LiveRefusalError(
            f"computed from its {precision} weights in plain steps, activations differ from the sweep's by "
            f"{difference:.2g} of a feature's maximum"
        )
    settings = LiveSettings(
        precision=precision,
        model=plain.settings,
        normalisation=normalisation,
        bos_id=inputs.rows.delimiters.bos_id,
        seq_len=tokens.shape[1],
        n_checked=tokens.numel(),
        largest_error=float(f"{difference:.1e}"),
    )
    arrays = {
        name: part for stem, array in published.items() for name, part in array.named(stem).items()
    }
    return LiveModel(settings, arrays, published_tokenizer(inputs.tokenizer))


def _require_room(weights: list[Tensor], config: Config) -> None:
    """That some weights take no more of a site than the model may."""
    precision, at_most = config.live.precision, config.live.max_megabytes
    n_values = sum(weight.numel() for weight in weights)
    megabytes = n_values * BYTES[precision] * IN_BASE64 / 1e6
    if megabytes > at_most:
        raise LiveRefusalError(
            f"its {precision} weights take {megabytes:,.0f} MB of a site or more, live.max_megabytes is {at_most}"
        )


@dataclass(frozen=True)
class PublishedArray:
    """Weights as they are kept: float32, or whole numbers of 16 bits and for each row [n_rows] what 1 stands for."""

    values: np.ndarray
    scale: np.ndarray | None

    def as_read(self) -> Tensor:
        """The float32 numbers that it stands for."""
        values = self.values.astype(np.float32)
        return torch.from_numpy(values if self.scale is None else values * self.scale[:, None])

    def named(self, stem: str) -> dict[str, np.ndarray]:
        """Its parts under names."""
        return {stem: self.values} | ({} if self.scale is None else {f"{stem}.scale": self.scale})


def published_as(weight: Tensor, precision: str) -> PublishedArray:
    """A matrix in the precision asked for; biases, which take no room, stay float32."""
    values = weight.float().cpu().numpy()
    if precision == "fp32" or values.ndim == 1:
        return PublishedArray(values, None)
    largest = np.abs(values).max(1)
    scale = np.where(largest > 0, largest / LARGEST_INT16, 1).astype(np.float32)
    return PublishedArray(np.rint(values / scale[:, None]).astype(np.int16), scale)


def _largest_error(
    found: Tensor, tokens: Tensor, inputs: Inputs, encoder: Encoder, max_activation: np.ndarray
) -> float:
    """Of pre-activations [n_tokens, n_features] the largest difference from the sweep's, as a share of the maximum.

    Those below 0 count as 0. Special tokens are left out, as they are of the maximum.
    """
    x = inputs.model.hook_activations(tokens).flatten(0, 1)
    right = encoder.centred(x) @ encoder.columns.T + encoder.bias
    special = torch.tensor(inputs.special_ids, dtype=torch.int64, device=tokens.device)
    on_text = ~torch.isin(tokens.flatten(), special)
    difference = (found.relu() - right.relu())[on_text].abs().amax(0).cpu().numpy()
    is_active = max_activation > 0
    share: np.ndarray = difference[is_active] / max_activation[is_active]
    return float(share.max(initial=0.0))


def published_tokenizer(tokenizer: TextTokenizer) -> bytes:
    """The tokenizer's definition, but that the names of special tokens are plain text, as they are in the rows."""
    definition = json.loads(tokenizer.definition)
    definition["added_tokens"] = [
        token for token in definition.get("added_tokens", []) if not token["special"]
    ]
    definition["post_processor"] = None  # what it adds is added by whoever encodes
    definition["pre_tokenizer"] = _spelt_out(definition.get("pre_tokenizer"))
    return json.dumps(definition, ensure_ascii=False, separators=(",", ":")).encode()


def _spelt_out(part: Any) -> Any:
    """A pre-tokenizer with its classes of characters written out, so that JavaScript takes them as Rust does.

    The library that pages run takes a digit for 0 to 9 alone, and white space is not quite the same in the two.
    """
    if not isinstance(part, dict):
        return part
    if "pretokenizers" in part:
        return {**part, "pretokenizers": [_spelt_out(one) for one in part["pretokenizers"]]}
    kind = part.get("type")
    if kind == "Digits":
        return _split(r"\p{N}" if part.get("individual_digits") else r"\p{N}+")
    if kind == "Split" and "Regex" in part["pattern"]:
        return {**part, "pattern": {"Regex": _with_white_space(part["pattern"]["Regex"])}}
    if kind == "ByteLevel" and part.get("use_regex", True) and not part["add_prefix_space"]:
        steps = [_split(_with_white_space(BYTE_LEVEL_WORDS)), {**part, "use_regex": False}]
        return {"type": "Sequence", "pretokenizers": steps}
    return part


def _split(pattern: str) -> dict[str, Any]:
    regex = {"Regex": pattern}
    return {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}


def _with_white_space(pattern: str) -> str:
    def named(match: re.Match[str]) -> str:
        return match[1] + (r"\p{White_Space}" if match[2] == "s" else r"\P{White_Space}")

    return re.sub(r"(?<!\\)((?:\\\\)*)\\([sS])", named, pattern)
