"""The inputs of a run: model, autoencoder, tokenizer and rows together, checked to fit each other."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from sitegen.config import NO_PROCESSING, AutoencoderConfig, Config, parse_features
from sitegen.errors import SourceError, UsageError
from sitegen.maths.ablation import FinalLayer
from sitegen.sources.architecture import DeclaredSettings
from sitegen.sources.autoencoder import (
    Autoencoder,
    load_autoencoder,
    require_widths,
    with_hook_points,
)
from sitegen.sources.corpus import Rows, load_rows
from sitegen.sources.model import HookedModel, load_model
from sitegen.sources.model_files import tokenizer_name
from sitegen.sources.row_delimiters import row_delimiters
from sitegen.sources.text_defaults import with_text_defaults
from sitegen.sources.tokenizer import TextTokenizer, load_tokenizer

# Tokens in one pass of the model. It is the same on every device and for every batch, since the last bits of
# activations depend on it.
PASS_TOKENS = 8192
# Tokens in a block of rows. The product of a block with an encoder fits in a processor's caches.
BLOCK_TOKENS = 1024


@dataclass(frozen=True)
class Inputs:
    """Everything that a sweep reads.

    config        of the run, with settings that were left open filled in from the autoencoder's own settings
    autoencoders  one or two, on the same hook point; the features of the first are swept
    feature_ids   features to sweep, in rising order
    """

    config: Config
    model: HookedModel
    autoencoders: tuple[Autoencoder, ...]
    tokenizer: TextTokenizer
    rows: Rows
    feature_ids: list[int]
    device: torch.device

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder whose features are swept."""
        return self.autoencoders[0]

    @property
    def second(self) -> Autoencoder | None:
        """The autoencoder in which each feature's best match is found, if there is one."""
        return self.autoencoders[1] if len(self.autoencoders) > 1 else None

    @property
    def seq_len(self) -> int:
        """Number of tokens in a row."""
        return int(self.rows.tokens.shape[1])

    @property
    def pass_rows(self) -> int:
        """Number of rows in one pass of the model to the hook point."""
        return self.rows_of(PASS_TOKENS)

    @property
    def block_rows(self) -> int:
        """Number of rows of a block for which something is held for each feature or each token of the vocabulary."""
        return self.rows_of(BLOCK_TOKENS)

    def rows_of(self, n_tokens: int) -> int:
        """Number of rows that hold about `n_tokens` tokens, at least one."""
        return max(1, n_tokens // self.seq_len)

    def ids(self, rows: range) -> torch.Tensor:
        """Token ids [n_rows, seq_len] int64 of a range of rows, on the model's device."""
        tokens = np.asarray(self.rows.tokens[rows.start : rows.stop])
        ids = torch.from_numpy(tokens.astype(np.int64))
        if self.device.type == "cuda":
            # From pinned memory the copy runs beside the device's work
            ids = ids.pin_memory()
        return ids.to(self.device, non_blocking=True)

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of special tokens: those that the tokenizer declares and the row delimiters; never a context's peak."""
        return tuple(sorted({*self.tokenizer.special_ids, *self.rows.delimiters.ids}))

    @cached_property
    def final_layer(self) -> FinalLayer | None:
        """Final norm and unembedding, if nothing else follows the hook point; otherwise None."""
        return self.model.final_layer(self.ids(range(1)))


def load_inputs(config: Config) -> Inputs:
    """Read and check every source of a configuration, with the cheap checks first.

    raises  SourceError if a source cannot be read or does not fit the others, UsageError for impossible options
    """
    device = resolve_device(config.sweep.device)
    if config.sweep.precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"sweep.precision: tf32 needs a CUDA device, but the device is {device.type}; give fp32 or bf16"
        )
    declared = declared_settings(config.autoencoder)
    named = (config.autoencoder, config.other) if config.other.source else (config.autoencoder,)
    autoencoders = tuple(
        load_autoencoder(one.source, one.repository, device, declared) for one in named
    )
    autoencoder = autoencoders[0]
    feature_ids = _selected_features(config, autoencoder.d_hidden)
    points = config.model
    for one in autoencoders:
        points = with_hook_points(points, one)
    tokenizer = load_tokenizer(config.model.tokenizer or tokenizer_name(config.model.name))
    corpus = with_text_defaults(config.corpus, autoencoder, tokenizer)
    config = dataclasses.replace(config, corpus=corpus, model=points)
    delimiters = row_delimiters(corpus, tokenizer)
    # A copy, because TransformerLens adds a BOS and an EOS to a tokenizer that has none
    tokenizer_copy = copy.deepcopy(tokenizer.tokenizer)
    processing = model_processing(config, autoencoder)
    model = load_model(
        points.name, points.hook_point, tokenizer_copy, device, processing, points.output_hook_point
    )
    for one in autoencoders:
        require_widths(one, model)
    if corpus.seq_len > model.n_ctx:
        raise UsageError(
            f"corpus.seq_len is {corpus.seq_len}, but {config.model.name} takes {model.n_ctx} tokens at most: "
            "set a smaller corpus.seq_len"
        )
    rows = load_rows(corpus, tokenizer, delimiters)
    largest = int(rows.tokens.max())
    if largest >= model.d_vocab:
        raise SourceError(
            f"{tokenizer.provenance.name} gives token id {largest}, but the model's vocabulary has {model.d_vocab} "
            "ids: set model.tokenizer to the tokenizer that the model was trained with"
        )
    return Inputs(config, model, autoencoders, tokenizer, rows, feature_ids, device)


def declared_settings(settings: AutoencoderConfig) -> DeclaredSettings:
    """Collect the autoencoder settings that the configuration declares."""
    return DeclaredSettings(
        settings.activation,
        settings.k,
        settings.subtracts_b_dec,
        settings.normalisation,
        settings.input_scale,
    )


def model_processing(config: Config, autoencoder: Autoencoder) -> tuple[str, ...]:
    """Processing of the model's weights: the configured one, otherwise the one that the autoencoder was trained with.

    SAELens trains on unprocessed weights unless the autoencoder's own settings declare a processing.
    """
    requested = config.model.processing
    if not requested:
        return autoencoder.architecture.processing
    return () if requested == (NO_PROCESSING,) else requested


def resolve_device(name: str) -> torch.device:
    """Return the torch device of a name; `auto` is CUDA if there is a CUDA device, otherwise the CPU.

    raises  UsageError if CUDA is requested and absent
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "sweep.device: this machine has no CUDA device, or torch is a CPU build; give --device cpu"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _selected_features(config: Config, d_hidden: int) -> list[int]:
    ranges = parse_features(config.sweep.features)
    if ranges is None:
        return list(range(d_hidden))
    largest = max(one_range[-1] for one_range in ranges)
    if largest >= d_hidden:
        raise UsageError(
            f"sweep.features: no feature {largest}, the autoencoder has {d_hidden} features; give numbers from 0 to "
            f"{d_hidden - 1}"
        )
    return sorted({feature for one_range in ranges for feature in one_range})
