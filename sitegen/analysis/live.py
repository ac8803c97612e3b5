"""The model that pages run on a reader's own text: its weights up to the hook point, and the encoder.

What pages will compute is first computed here, with the numbers that are published, and compared with the sweep. If the
model has an architecture that pages do not know, or the published weights are not precise enough, the site gets none.
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
from sitegen.maths.normalisation import normalise
from sitegen.records import LiveModel, LiveSettings
from sitegen.sources.inputs import Inputs
from sitegen.sources.plain_transformer import fold_input_norm, plain_transformer
from sitegen.sources.tokenizer import TextTokenizer
from sitegen.sweep.shards import make_encoder

# Bytes of one weight in each precision
BYTES = {"int16": 2, "fp32": 4}
# Bytes of base64 text for each byte of weights
IN_BASE64 = 4 / 3
# Largest difference from the sweep's activations, as a share of the feature's maximum
LARGEST_ERROR = 0.01
LARGEST_INT16 = 32767
# The pattern by which the ByteLevel pre-tokenizer splits; source: the tokenizers library, and GPT-2's encoder before it
BYTE_LEVEL_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class LiveRefusalError(SitegenError):
    """The reason why a site has no model that runs on a reader's text."""


def live_model(inputs: Inputs, max_activation: np.ndarray, config: Config) -> LiveModel:
    """Make the model as pages load it.

    max_activation  [n_features] of each feature swept
    raises          LiveRefusalError if pages do not know the architecture of the model or of the autoencoder, the model
                    is larger than configured, or it gives other activations than the sweep
    """
    precision = config.live.precision
    if inputs.autoencoder.architecture.k:
        function = inputs.autoencoder.activation_function
        raise LiveRefusalError(f"pages know ReLU and JumpReLU, but the autoencoder has {function}")
    tokens = inputs.ids(range(min(inputs.block_rows, len(inputs.rows.tokens))))
    encoder = make_encoder(inputs)
    W_enc = encoder.columns.float()
    # The two largest weights are checked first, before a large model is copied
    _require_room([inputs.model.bridge.W_E, W_enc], config)
    try:
        plain = plain_transformer(inputs.model, tokens.shape[1])
    except SourceError as error:
        raise LiveRefusalError(
            f"pages cannot run {inputs.model.provenance.name}: {error}"
        ) from None
    zero = W_enc.new_zeros(1, W_enc.shape[1])
    # Pages subtract nothing from the input, so its effect is added to the bias, in float64 to round only once
    bias = encoder.bias.double() + W_enc.double() @ encoder.centre(zero).double()[0]
    W_enc, bias = fold_input_norm(inputs.model, W_enc, bias.float())
    weights = {**plain.weights, "encoder.weight": W_enc, "encoder.bias": bias}
    if bool(encoder.function.threshold.any()):
        weights["encoder.threshold"] = encoder.function.threshold
    _require_room([*weights.values()], config)
    published = {name: published_as(weight, precision) for name, weight in weights.items()}
    # From here on with the weights as pages will read them
    rounded = {name: array.as_read().to(inputs.device) for name, array in published.items()}
    x = dataclasses.replace(plain, weights=rounded).activations(tokens).flatten(0, 1)
    normalisation = inputs.autoencoder.architecture.normalisation
    found = normalise(x, normalisation).x @ rounded["encoder.weight"].T + rounded["encoder.bias"]
    difference = _largest_error(found, tokens, inputs, encoder, max_activation)
    # `not <=`, because NaN is refused too
    if not difference <= LARGEST_ERROR:
        raise LiveRefusalError(
            f"with {precision} weights, the activations that pages compute differ from the sweep's by "
            f"{difference:.2g} of a feature's maximum, more than the {LARGEST_ERROR:g} allowed"
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
    """Raise LiveRefusalError if the weights take more space than is configured for the model."""
    precision, maximum = config.live.precision, config.live.max_megabytes
    n_values = sum(weight.numel() for weight in weights)
    megabytes = n_values * BYTES[precision] * IN_BASE64 / 1e6
    if megabytes > maximum:
        raise LiveRefusalError(
            f"the model's {precision} weights need at least {megabytes:,.0f} MB in the site, but live.max_megabytes "
            f"is {maximum}"
        )


@dataclass(frozen=True)
class PublishedArray:
    """Weights as they are published: float32, or 16-bit integers with a scale for each row.

    values  [n] or [n_rows, n_columns] float32, or [n_rows, n_columns] int16
    scale   [n_rows] float32: the weight for which the integer 1 stands; None for float32
    """

    values: np.ndarray
    scale: np.ndarray | None

    def as_read(self) -> Tensor:
        """Compute the float32 weights that pages read from it."""
        values = self.values.astype(np.float32)
        return torch.from_numpy(values if self.scale is None else values * self.scale[:, None])

    def named(self, stem: str) -> dict[str, np.ndarray]:
        """Name the arrays as they are stored."""
        return {stem: self.values} | ({} if self.scale is None else {f"{stem}.scale": self.scale})


def published_as(weight: Tensor, precision: str) -> PublishedArray:
    """Convert weights to a precision; vectors, such as biases, take little space and stay float32."""
    values = weight.float().cpu().numpy()
    if precision == "fp32" or values.ndim == 1:
        return PublishedArray(values, None)
    largest = np.abs(values).max(1)
    scale = np.where(largest > 0, largest / LARGEST_INT16, 1).astype(np.float32)
    return PublishedArray(np.rint(values / scale[:, None]).astype(np.int16), scale)


def _largest_error(
    found: Tensor, tokens: Tensor, inputs: Inputs, encoder: Encoder, max_activation: np.ndarray
) -> float:
    """Find the largest difference of pre-activations from the sweep's, as a share of the feature's maximum.

    Pre-activations below 0 count as 0. Special tokens are left out, as they are for the maximum.

    found           [n_tokens, n_features] pre-activations as pages compute them
    max_activation  [n_features]
    """
    x = inputs.model.hook_activations(tokens).flatten(0, 1)
    expected = (encoder.centre(x).double() @ encoder.columns.T + encoder.bias).float()
    special = torch.tensor(inputs.special_ids, dtype=torch.int64, device=tokens.device)
    is_text = ~torch.isin(tokens.flatten(), special)
    difference = (found.relu() - expected.relu())[is_text].abs().amax(0).cpu().numpy()
    is_active = max_activation > 0
    share: np.ndarray = difference[is_active] / max_activation[is_active]
    return float(share.max(initial=0.0))


def published_tokenizer(tokenizer: TextTokenizer) -> bytes:
    """Make the tokenizer's definition as pages load it: the names of special tokens are plain text, as in the rows."""
    definition = json.loads(tokenizer.definition)
    definition["added_tokens"] = [
        token for token in definition.get("added_tokens", []) if not token["special"]
    ]
    # It would add special tokens; the pages add BOS themselves
    definition["post_processor"] = None
    definition["pre_tokenizer"] = _spell_out(definition.get("pre_tokenizer"))
    return json.dumps(definition, ensure_ascii=False, separators=(",", ":")).encode()


def _spell_out(part: Any) -> Any:
    """Write out the character classes of a pre-tokenizer, so that they mean the same in JavaScript as in Rust.

    In the library that pages run, a digit is only one of 0 to 9, and white space is not quite the same set of
    characters as in Rust.
    """
    if not isinstance(part, dict):
        return part
    if "pretokenizers" in part:
        return {**part, "pretokenizers": [_spell_out(one) for one in part["pretokenizers"]]}
    kind = part.get("type")
    if kind == "Digits":
        return _split(r"\p{N}" if part.get("individual_digits") else r"\p{N}+")
    if kind == "Split" and "Regex" in part["pattern"]:
        return {**part, "pattern": {"Regex": _spell_out_white_space(part["pattern"]["Regex"])}}
    if kind == "ByteLevel" and part.get("use_regex", True) and not part["add_prefix_space"]:
        steps = [_split(_spell_out_white_space(BYTE_LEVEL_WORDS)), {**part, "use_regex": False}]
        return {"type": "Sequence", "pretokenizers": steps}
    return part


def _split(pattern: str) -> dict[str, Any]:
    regex = {"Regex": pattern}
    return {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}


def _spell_out_white_space(pattern: str) -> str:
    r"""Replace \s and \S in a pattern by the names of the character classes."""

    def class_name(match: re.Match[str]) -> str:
        return match[1] + (r"\p{White_Space}" if match[2] == "s" else r"\P{White_Space}")

    # Only after an even number of further backslashes: after an odd number, the last backslash is itself escaped
    return re.sub(r"(?<!\\)((?:\\\\)*)\\([sS])", class_name, pattern)
