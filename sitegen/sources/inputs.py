"""The subject of a run: model, autoencoder and rows together, known to fit each other."""

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
from sitegen.sources.autoencoder import Autoencoder, load_autoencoder, require_hook_point
from sitegen.sources.autoencoder_files import DeclaredSettings
from sitegen.sources.corpus import Rows, load_rows
from sitegen.sources.model import HookedModel, load_model
from sitegen.sources.model_files import named_tokenizer
from sitegen.sources.row_delimiters import row_delimiters
from sitegen.sources.text_defaults import with_text_defaults
from sitegen.sources.tokenizer import TextTokenizer, load_tokenizer


@dataclass(frozen=True)
class Inputs:
    """All that a sweep reads.

    config  the run's, with what it leaves open about the text filled in
    """

    config: Config
    model: HookedModel
    autoencoder: Autoencoder
    other: Autoencoder | None  # a second one on the same hook point
    tokenizer: TextTokenizer
    rows: Rows
    feature_ids: list[int]  # those to be swept, rising
    device: torch.device

    def ids(self, rows: range) -> torch.Tensor:
        """[n_rows, seq_len] int64 token ids of some rows, where the model is."""
        tokens = np.asarray(self.rows.tokens[rows.start : rows.stop])
        return torch.from_numpy(tokens.astype(np.int64)).to(self.device)

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of no text of their own, declared by the tokenizer or put in by the rows: never a context's peak."""
        return tuple(sorted({*self.tokenizer.special_ids, *self.rows.delimiters.ids}))

    @cached_property
    def final_layer(self) -> FinalLayer | None:
        """What comes after the hook point, where that is the final norm alone; None where more does."""
        return self.model.final_layer(self.ids(range(1)))


def load_inputs(config: Config) -> Inputs:
    """Reads and checks every source of a configuration; what is cheap to refuse is refused first.

    raises  SourceError, UsageError
    """
    device = resolve_device(config.sweep.device)
    if config.sweep.precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"precision tf32 needs a CUDA device, this is {device.type}: give fp32 or bf16"
        )
    declared = declared_settings(config.autoencoder)
    autoencoder = load_autoencoder(
        config.autoencoder.source, config.autoencoder.repository, device, declared
    )
    other = None
    if config.other.source:
        other = load_autoencoder(config.other.source, config.other.repository, device, declared)
    feature_ids = _selected(config, autoencoder.d_hidden)
    tokenizer = load_tokenizer(config.model.tokenizer or named_tokenizer(config.model.name))
    corpus = with_text_defaults(config.corpus, autoencoder, tokenizer)
    config = dataclasses.replace(config, corpus=corpus)
    delimiters = row_delimiters(corpus, tokenizer)
    # A copy, since TransformerLens gives a tokenizer without BOS or EOS both
    lent = copy.deepcopy(tokenizer.tokenizer)
    processing = model_processing(config, autoencoder)
    model = load_model(config.model.name, config.model.hook_point, lent, device, processing)
    for weights in (autoencoder, other):
        if weights is not None:
            require_hook_point(weights, model.d_hook, config.model.hook_point)
    if corpus.seq_len > model.n_ctx:
        raise UsageError(
            f"corpus.seq_len is {corpus.seq_len}, but {config.model.name} takes {model.n_ctx} tokens at most"
        )
    rows = load_rows(corpus, tokenizer, delimiters)
    largest = int(rows.tokens.max())
    if largest >= model.d_vocab:
        raise SourceError(
            f"{tokenizer.provenance.name} gives token id {largest}, but the model knows {model.d_vocab} ids: "
            "set model.tokenizer to the one that the model was trained with"
        )
    return Inputs(config, model, autoencoder, other, tokenizer, rows, feature_ids, device)


def declared_settings(settings: AutoencoderConfig) -> DeclaredSettings:
    """What the configuration says of an autoencoder whose files do not say it themselves."""
    return DeclaredSettings(
        settings.activation, settings.k, settings.subtracts_b_dec, settings.normalisation
    )


def model_processing(config: Config, autoencoder: Autoencoder) -> tuple[str, ...]:
    """What is done to the model's weights before activations are read: as the configuration says, else the autoencoder.

    SAELens trains on unprocessed weights unless the autoencoder's own settings say otherwise.
    """
    requested = config.model.processing
    if not requested:
        return autoencoder.architecture.processing
    return () if requested == (NO_PROCESSING,) else requested


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` is CUDA where there is one.

    raises  UsageError if CUDA is asked for and absent
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device cuda: this machine has no CUDA device, or torch is a CPU build; give --device cpu"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _selected(config: Config, d_hidden: int) -> list[int]:
    ranges = parse_features(config.sweep.features)
    if ranges is None:
        return list(range(d_hidden))
    largest = max(part[-1] for part in ranges)
    if largest >= d_hidden:
        raise UsageError(
            f"feature {largest}: the autoencoder has {d_hidden}, numbered 0 to {d_hidden - 1}"
        )
    return sorted({feature for part in ranges for feature in part})
