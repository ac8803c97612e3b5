"""The records that are kept, as typed values with their limits: no torch, no markup.

Field names are those of the JSON files. The types are the schema: files are read back by them (`store.py`), and the
published JSON Schemas are generated from them (`schema.py`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from math import log10
from typing import Annotated, Literal, get_args

import numpy as np
from msgspec import Meta, Struct

from sitegen.config import NORMALISATIONS, PRECISIONS, PROCESSING, Config

Kind = Literal["dead", "rare", "ordinary", "dense"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ContextGroup = Literal["top", "interval"]

# Names of hook points within a layer, and what they are called where the model runs in a page
HOOKS = {
    "hook_resid_pre": "resid_pre",
    "hook_attn_out": "attn_out",
    "hook_resid_mid": "resid_mid",
    "ln2.hook_normalized": "mlp_norm",
    "mlp.hook_in": "mlp_norm",
    "mlp.hook_post": "mlp_post",
    "hook_mlp_out": "mlp_out",
    "hook_resid_post": "resid_post",
}

RARE_DENSITY = 1e-4
DEAD_LOG_DENSITY = -6.5
DENSE_DENSITY = 0.1
ROWS_PER_FILE = 64

# A token's text; the bytes of a token that is not a whole number of characters; or None, an id without a token
TokenText = str | bytes | None


def _one_of(*names: str) -> Meta:
    """The limit of a text that is one of some names."""
    return Meta(pattern=f"^({'|'.join(map(re.escape, names))})$")


Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
# A cosine or correlation, which rounding may take a little beyond 1
Cosine = Annotated[float, Meta(ge=-1.001, le=1.001)]
# An activation: the JSON has a plain 0 for an inactive token
Activation = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all records: immutable, compared by value, read from JSON with every field present and no other."""


class TokenBytes(Record, frozen=True):
    """The bytes of a token that is not a whole number of characters, as JSON has them."""

    bytes: Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(min_length=1)]


JsonToken = str | TokenBytes | None


def token_as_json(token: TokenText) -> JsonToken:
    """A token as a record holds it."""
    return TokenBytes(list(token)) if isinstance(token, bytes) else token


def token_from_json(token: JsonToken) -> TokenText:
    """A token as code handles it."""
    return bytes(token.bytes) if isinstance(token, TokenBytes) else token


class Histogram(Record, frozen=True):
    """Counts between edges; a bin holds its upper edge (activations) or its lower one (logit effects)."""

    # One more than counts, rising
    edges: list[float]
    counts: list[Count]


class ContextRecord(Record, frozen=True):
    """A window of one row around a peak position."""

    group: ContextGroup
    # 0 is the lowest; None in the top group
    interval: Count | None
    # From 0 within its group (and interval), largest activation first
    rank: Count
    row: Count
    # Of the peak in its row
    position: Count
    # At the peak
    activation: Annotated[float, Meta(gt=0)]
    # Number of places in the rows where exactly these tokens stand, this one included
    copies: Positive
    # Position of the first token
    start: Count
    tokens: Annotated[list[Count], Meta(min_length=1)]
    # Parallel to tokens
    activations: Annotated[list[Activation], Meta(min_length=1)]


class LogitEffect(Record, frozen=True):
    """The change of one token's logit for one unit of the feature's activation."""

    id: Count
    token: JsonToken
    value: float
    # Softmax of the feature's effects over the vocabulary
    probability: Share

    @property
    def text(self) -> TokenText:
        """The token as code handles it."""
        return token_from_json(self.token)


class LogitEffects(Record, frozen=True):
    """A feature's logit effects."""

    # Largest first
    top: list[LogitEffect]
    # Smallest first
    bottom: list[LogitEffect]
    histogram: Histogram


class SpecialTokenActivity(Record, frozen=True):
    """Activity on special tokens (such as BOS and EOS), which count in the density and are never shown as a peak."""

    n_active: Count
    max_activation: NotNegative


class CosineNeighbour(Record, frozen=True):
    """Another feature with a similar direction."""

    feature_id: Count
    cosine: Cosine


class CoactiveFeature(Record, frozen=True):
    """Another feature that is active on the same tokens of the sample."""

    feature_id: Count
    # Tokens on which both are active, as a share of those on which either is
    jaccard: Annotated[float, Meta(gt=0, le=1)]
    # Tokens on which both are active
    n_both: Positive


class ContextNeighbour(Record, frozen=True):
    """Another feature, some of whose top contexts peak within this feature's top contexts."""

    feature_id: Count
    # Of this feature's top contexts
    n_shared: Positive


class Neighbours(Record, frozen=True):
    """Similar features by four measures, most similar first, found among all features."""

    decoder: list[CosineNeighbour]
    encoder: list[CosineNeighbour]
    coactivation: list[CoactiveFeature]
    contexts: list[ContextNeighbour]
    # The first few features that list this one and are in none of its own lists
    listed_by: list[Count]
    # Number of all such features
    n_listed_by: Count


class NeuronWeight(Record, frozen=True):
    """A neuron that a feature writes to."""

    neuron: Count
    # In the feature's decoder row
    weight: float
    # Of the row's L1 norm
    share: Share


class NeuronCorrelation(Record, frozen=True):
    """A neuron whose activation is correlated with the feature's."""

    neuron: Count
    # Pearson's, over the sample's tokens
    correlation: Cosine


class Neurons(Record, frozen=True):
    """Neurons related to a feature, where the hook point is an MLP's activations."""

    # Largest absolute weight first
    weights: list[NeuronWeight]
    # Largest correlation first
    correlated: list[NeuronCorrelation]


class Match(Record, frozen=True):
    """The most similar feature of the other autoencoder."""

    # In the other autoencoder
    feature_id: Count
    value: Cosine
    # Whether its own best match is this feature
    mutual: bool


class RunMatch(Record, frozen=True):
    """The best matches in the other autoencoder."""

    # By cosine of decoder rows
    decoder: Match
    # By correlation of activations; None for a feature that is inactive on the sample
    activation: Match | None


class FeatureRecord(Record, frozen=True):
    """Everything that is known of one feature."""

    feature_id: Count
    # n_active over all positions read, special tokens included
    density: Share
    n_active: Count
    # Over tokens that may be a peak
    max_activation: NotNegative
    # Mean of the activations above 0; 0 for a dead feature
    mean_active: NotNegative
    kind: Kind
    special: SpecialTokenActivity
    # Of activations on tokens that may be a peak; empty for a feature that is active on none
    histogram: Histogram
    contexts: list[ContextRecord]
    logits: LogitEffects
    # Cosine of the encoder column with the mean column of the rare features; None where no feature is rare
    rare_cosine: Cosine | None
    neighbours: Neighbours
    # None where the hook point is in the residual stream
    neurons: Neurons | None
    # None without a second autoencoder
    match: RunMatch | None


class NearMiss(Record, frozen=True):
    """A position that reads like a feature's peaks and at which the feature is inactive."""

    row: Count
    # Of the token on which the feature is inactive
    position: Count
    # Tokens up to and including this one that are the same as in a top context
    n_matched: Positive
    # Position of the first token
    start: Count
    tokens: list[Count]
    # Parallel to tokens; 0 at the position
    activations: list[Activation]


class Ablations(Record, frozen=True):
    """The effect of removing the feature, at each token of its contexts on which it is active.

    The lists are parallel. Before they are written they may be arrays.
    """

    # Index among the record's contexts, rising
    context: list[Count]
    # Of the token in the context, rising
    offset: list[Count]
    # Of the next token's loss, in nats; None where no token follows
    loss_change: list[float | None]
    # The tokens whose log-probability falls most without the feature
    promoted_id: list[list[Count]]
    # Log-probability with the feature less that without it, in nats; largest first
    promoted_change: list[list[float]]
    suppressed_id: list[list[Count]]
    # Smallest first
    suppressed_change: list[list[float]]


class EvidenceRecord(Record, frozen=True):
    """Details of a feature that its page loads on request, or shows at its end."""

    feature_id: Count
    near_misses: list[NearMiss]
    # None where it cannot be computed exactly
    ablation: Ablations | None


class RowsRecord(Record, frozen=True):
    """The text of some rows that contexts are taken from, each once; the lists are parallel."""

    # Rising
    row: Annotated[list[Count], Meta(min_length=1)]
    tokens: list[list[Count]]


class OtherRecord(Record, frozen=True):
    """A feature of the second autoencoder, over the sample."""

    feature_id: Count
    n_active: Count
    # Over tokens that may be a peak
    max_activation: NotNegative
    # In the first autoencoder
    match: RunMatch
    contexts: list[ContextRecord]


class Measure(Record, frozen=True):
    """A mean over batches."""

    mean: float
    # None for a single batch
    standard_error: NotNegative | None


class Quality(Record, frozen=True):
    """How well the autoencoder reconstructs, over the first rows; losses in nats a token."""

    n_rows: Positive
    batch_rows: Positive
    loss: Measure
    loss_reconstructed: Measure
    loss_zero_ablated: Measure
    loss_mean_ablated: Measure
    # (zero-ablated - reconstructed) / (zero-ablated - loss); None where zero ablation costs nothing
    reconstruction_score: Measure | None
    # The same with mean ablation
    reconstruction_score_mean: Measure | None
    # Active features a token
    l0: Measure
    # None where activations are the same everywhere
    explained_variance: Measure | None
    # Squared error, summed over the hook point's width
    l2: Measure
    # As training weighed it; None where its coefficient is not known
    l1: Measure | None


class Frequencies(Record, frozen=True):
    """The histogram of log10(density + 10^-6.5); dead features, at -6.5, are counted by themselves."""

    n_dead: Count
    # One more than counts, rising
    edges: list[float]
    # Of features that are not dead; a bin holds its lower edge, the last one its upper edge too
    counts: list[Count]

    def bin_of(self, density: float) -> int:
        """The index of the bin that counts a feature of this density, which is above 0."""
        at = bisect_right(self.edges, log_density(density)) - 1
        return min(at, len(self.counts) - 1)


class Box(Record, frozen=True):
    """A box plot's five numbers."""

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float


class Group(Record, frozen=True):
    """The values of some features: how many, their box plot, and their counts in bins."""

    n_features: Count
    # None for no features
    box: Box | None
    counts: list[Count]


class Split(Record, frozen=True):
    """The values of all features, with the rare ones in a group of their own."""

    edges: list[float]
    rare: Group
    others: Group


class FeatureMap(Record, frozen=True):
    """Coordinates of every feature in the plane, parallel to `FeatureTable`, from 0 to 1."""

    method: str
    x: list[Share]
    y: list[Share]


class FeatureTable(Record, frozen=True):
    """A few facts of every feature swept; the lists are parallel."""

    feature_id: list[Count]
    density: list[Share]
    rare_cosine: list[Cosine | None]
    # Ids of the tokens that its top contexts peak on, the strongest first, each once
    tokens: list[list[Count]]


class TwoRuns(Record, frozen=True):
    """How similar the features of the two autoencoders are."""

    title: str
    # Of the second
    n_features: Positive
    # Of each feature's best decoder cosine
    cosine: Split
    # Of each feature's best activation correlation
    correlation: Split
    n_mutual_cosine: Count
    n_mutual_correlation: Count


class PublishedNumber(Record, frozen=True):
    """A published number, computed again."""

    name: str
    published: str
    computed: str
    difference: str
    tolerance: str
    holds: bool


class FitCandidate(Record, frozen=True):
    """How well the autoencoder reconstructs the activations that one candidate setting gives."""

    name: str
    # Below 0 where the reconstruction is worse than the mean
    explained_variance: Annotated[float, Meta(le=1)]
    # Active features a token
    l0: NotNegative
    # Number of tokens that it was measured on
    n_tokens: Count


class Fit(Record, frozen=True):
    """Whether the autoencoder fits the activations, measured before the sweep without special and first tokens."""

    explained_variance: Annotated[float, Meta(le=1)]
    l0: NotNegative
    n_tokens: Count
    # Why it seems not to fit, where the run went on all the same; else empty
    objection: str
    # The configured one first, then its alternatives
    candidates: Annotated[list[FitCandidate], Meta(min_length=1)]


class Overview(Record, frozen=True):
    """What is known of the autoencoder as a whole."""

    n_sample_rows: Positive
    fit: Fit
    features: FeatureTable
    quality: Quality
    frequencies: Frequencies
    # None where no feature is rare
    rare_cosine: Split | None
    # None for too few features
    map: FeatureMap | None
    other: TwoRuns | None
    published: list[PublishedNumber]


class SourceFileRecord(Record, frozen=True):
    """A file that was read."""

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class SourceRecord(Record, frozen=True):
    """Where one of the inputs came from."""

    name: Annotated[str, Meta(min_length=1)]
    # Commit of a Hub repository; None for files of this machine
    revision: str | None
    files: list[SourceFileRecord]


class ModelRecord(Record, frozen=True):
    """How the model's weights were used."""

    # What was done to them before activations were read
    processing: list[Annotated[str, _one_of(*PROCESSING)]]
    # Nonlinear parts of the output projection, which logit effects leave out
    left_out: list[str]


class AutoencoderRecord(Record, frozen=True):
    """The autoencoder's architecture."""

    activation_function: Annotated[str, _one_of("ReLU", "JumpReLU", "TopK")]
    k: Count
    # Whether its output stands for the activations at another hook point, config.model.output_hook_point
    is_transcoder: bool
    # Whether its output includes a linear function of its input
    has_skip_connection: bool
    subtracts_b_dec: bool
    normalisation: Annotated[str, _one_of(*NORMALISATIONS)]
    # Formula of the logit effects
    logit_effects: Annotated[str, _one_of("W_dec W_U", "W_dec W_out W_U", "W_dec W_O W_U")]


class RowDelimitersRecord(Record, frozen=True):
    """Token ids that rows have besides those of the text; None for one that they do without."""

    bos_id: Count | None
    separator_id: Count | None


class Counts(Record, frozen=True):
    """Sizes of everything that was read."""

    n_features: Positive
    d_hidden: Positive
    d_hook: Positive
    # Width of the activations that are reconstructed
    d_output: Positive
    d_vocab: Positive
    # Documents read, those that were left out included
    n_documents: Positive
    # Left out because they have no character
    n_empty: Count
    # Left out because a null stands instead of a text
    n_null: Count
    n_rows: Positive
    seq_len: Annotated[int, Meta(ge=2)]
    n_positions: Positive
    n_of_kind: dict[Kind, Count]


class ErrorBoundRecord(Record, frozen=True):
    """How far the search for active tokens was from missing one."""

    precision: Annotated[str, _one_of(*PRECISIONS)]
    # Entries of the encoder's product that were recomputed exactly
    n_examined: Count
    n_active: Count
    # Largest error of the product, as a share of its bound
    largest_error: Share
    says: str


class LiveRecord(Record, frozen=True):
    """Whether pages run the model, and if not, why."""

    is_there: bool
    why_not: str


SourceName = Literal["model", "autoencoder", "tokenizer", "corpus", "other"]
NEEDED_SOURCES: tuple[SourceName, ...] = ("model", "autoencoder", "tokenizer", "corpus")


class Manifest(Record, frozen=True):
    """What was computed, from which inputs, with which settings."""

    schema_version: int
    preset: str
    config: Config
    # The second autoencoder, `other`, only where there is one
    sources: dict[SourceName, SourceRecord]
    model: ModelRecord
    autoencoder: AutoencoderRecord
    # How rows are made, in words
    rows: str
    row_delimiters: RowDelimitersRecord
    counts: Counts
    error_bound: ErrorBoundRecord
    special_ids: list[Count]
    live: LiveRecord
    # Of every library that numbers may depend on
    versions: dict[str, str]

    def __post_init__(self) -> None:
        missing: list[str] = [name for name in NEEDED_SOURCES if name not in self.sources]
        missing += [kind for kind in KINDS if kind not in self.counts.n_of_kind]
        if missing:
            raise ValueError(f"Object missing required field `{missing[0]}`")


class ModelSettings(Record, frozen=True):
    """Settings of a transformer that its weights do not show."""

    # Up to the hook point, its own layer included
    n_layers: Positive
    n_heads: Positive
    # Of the MLPs, by its TransformerLens name
    activation: Annotated[str, _one_of("gelu", "gelu_new", "relu", "silu")]
    # Of the layer norms
    epsilon: NotNegative
    # Divisor of attention scores
    score_scale: Annotated[float, Meta(gt=0)]
    # Where in the last of these layers the activations are read: a value of HOOKS
    hook: Annotated[str, _one_of(*dict.fromkeys(HOOKS.values()))]


class LiveSettings(Record, frozen=True):
    """What pages need to know of the model that they run."""

    # Of the weights as they are stored: int16 with a scale for each row, or fp32
    precision: Annotated[str, _one_of("int16", "fp32")]
    model: ModelSettings
    # Of the encoder's input
    normalisation: Annotated[str, _one_of(*NORMALISATIONS)]
    # Begins every text; None: texts begin without one
    bos_id: Count | None
    # Tokens that a text may have, BOS included
    seq_len: Annotated[int, Meta(ge=2)]
    # Tokens on which its activations were compared with the sweep's
    n_checked: Positive
    # Largest difference found there, as a share of a feature's maximum
    largest_error: NotNegative

    @property
    def n_text_tokens(self) -> int:
        """Number of tokens that a reader's own text may have."""
        return self.seq_len if self.bos_id is None else self.seq_len - 1


@dataclass(frozen=True)
class LiveModel:
    """The model as pages run it.

    weights    by name, [out, in] each, and for those of int16 the rows' scales [out] under `NAME.scale`; besides the
               transformer's `encoder.weight` [n_features, d_hook], `encoder.bias` [n_features] and, of a JumpReLU,
               `encoder.threshold` [n_features]
    tokenizer  a tokenizer.json
    """

    settings: LiveSettings
    weights: dict[str, np.ndarray]
    tokenizer: bytes


def log_density(density: float) -> float:
    """`log10(density + 10^-6.5)`."""
    return log10(density + 10**DEAD_LOG_DENSITY)


def kind_of(density: float) -> Kind:
    """The kind of a feature of this density.

    source  definitions.md, "kind"
    """
    if density == 0:
        return "dead"
    if density < RARE_DENSITY:
        return "rare"
    return "dense" if density > DENSE_DENSITY else "ordinary"
