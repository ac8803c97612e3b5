"""What is kept of a feature, as plain values: no torch, no markup. Field names are the JSON's."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import log10
from typing import Literal, get_args

import numpy as np

Kind = Literal["dead", "rare", "ordinary", "dense"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ContextGroup = Literal["top", "interval"]

# Names of hook points within a layer, and what they are called where the model runs in a page
HOOKS = {
    "hook_resid_pre": "resid_pre",
    "hook_attn_out": "attn_out",
    "hook_resid_mid": "resid_mid",
    "mlp.hook_post": "mlp_post",
    "hook_mlp_out": "mlp_out",
    "hook_resid_post": "resid_post",
}

RARE_DENSITY = 1e-4
DEAD_LOG_DENSITY = -6.5
DENSE_DENSITY = 0.1
ROWS_PER_FILE = 64

# A token's text; the bytes of a token that is no whole character; or None, an id without a token.
TokenText = str | bytes | None


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; a bin holds its upper edge (activations) or its lower one (logit effects)."""

    edges: list[float]  # one more than counts, rising
    counts: list[int]


@dataclass(frozen=True)
class ContextRecord:
    """A stretch of one row around a peak position."""

    group: ContextGroup
    interval: int | None  # 0 is the lowest; None in the top group
    rank: int  # from 0 within its group (and interval), largest activation first
    row: int
    position: int  # of the peak in its row
    activation: float  # at the peak
    copies: (
        int  # places in the rows read where this very stretch of tokens stands, this one included
    )
    start: int  # position of the first token
    tokens: list[int]
    activations: list[float]  # parallel to tokens


@dataclass(frozen=True)
class LogitEffect:
    """What one unit of the feature adds to one token's logit."""

    id: int
    token: TokenText
    value: float
    probability: float  # softmax of the feature's effects over the vocabulary


@dataclass(frozen=True)
class LogitEffects:
    """A feature's effects on the output."""

    top: list[LogitEffect]  # largest first
    bottom: list[LogitEffect]  # smallest first
    histogram: Histogram


@dataclass(frozen=True)
class SpecialTokenActivity:
    """Firings on special tokens (such as BOS, EOS), which count in the density and are never shown as a peak."""

    n_active: int
    max_activation: float


@dataclass(frozen=True)
class CosineNeighbour:
    """Another feature whose direction is near."""

    feature_id: int
    cosine: float


@dataclass(frozen=True)
class CoactiveFeature:
    """Another feature that fires on the same tokens of the sample."""

    feature_id: int
    jaccard: float  # tokens on which both fire, as a share of those on which either does
    n_both: int  # tokens on which both fire


@dataclass(frozen=True)
class ContextNeighbour:
    """Another feature of which strongest contexts peak within this one's."""

    feature_id: int
    n_shared: int  # of this feature's top contexts


@dataclass(frozen=True)
class Neighbours:
    """Features like this one, by four measures, most alike first; sought among all."""

    decoder: list[CosineNeighbour]
    encoder: list[CosineNeighbour]
    coactivation: list[CoactiveFeature]
    contexts: list[ContextNeighbour]
    listed_by: list[
        int
    ]  # features that list this one and stand in none of its own lists: the first few of them
    n_listed_by: int  # of all such


@dataclass(frozen=True)
class NeuronWeight:
    """A neuron that a feature writes to."""

    neuron: int
    weight: float  # of the feature's decoder row
    share: float  # of the row's L1 norm


@dataclass(frozen=True)
class NeuronCorrelation:
    """A neuron that is active where a feature fires."""

    neuron: int
    correlation: float  # Pearson's, over the sample's tokens


@dataclass(frozen=True)
class Neurons:
    """The neurons of the hook point, where it is an MLP's."""

    weights: list[NeuronWeight]  # largest in size first
    correlated: list[NeuronCorrelation]  # largest first


@dataclass(frozen=True)
class Match:
    """The feature of another autoencoder that is most alike."""

    feature_id: int  # in the other autoencoder
    value: float
    mutual: bool  # that its own best match is this feature


@dataclass(frozen=True)
class RunMatch:
    """The best matches in the second autoencoder."""

    decoder: Match  # by the cosine of decoder rows
    activation: (
        Match | None
    )  # by the correlation of activations; None for a feature silent on the sample


@dataclass(frozen=True)
class FeatureRecord:
    """All that is known of one feature."""

    feature_id: int
    density: float  # n_active over all positions read, special tokens included
    n_active: int
    max_activation: float  # over tokens that may be a peak
    mean_active: float  # mean of the activations above 0; 0 for a dead feature
    kind: Kind
    special: SpecialTokenActivity
    histogram: Histogram  # of activations on tokens that may be a peak; empty for a feature that fires on none
    contexts: list[ContextRecord]
    logits: LogitEffects
    # cosine of the encoder column with the mean column of the rare features; None where there is none
    rare_cosine: float | None
    neighbours: Neighbours
    neurons: Neurons | None  # None where the hook point is in the residual stream
    match: RunMatch | None  # None without a second autoencoder


@dataclass(frozen=True)
class NearMiss:
    """A place that reads like a feature's peaks and leaves it silent."""

    row: int
    position: int  # of the token on which the feature is silent
    n_matched: int  # tokens, this one and those before it, that are those of a top context
    start: int  # position of the first token
    tokens: list[int]
    activations: list[float]  # parallel to tokens; 0 at the position


@dataclass(frozen=True)
class Ablations:
    """What taking the feature out changes at each token of its contexts on which it fires; the lists run parallel.

    Until they are written they may be arrays.
    """

    context: list[int]  # place among the record's contexts, rising
    offset: list[int]  # of the token in the context, rising
    loss_change: list[float | None]  # nats, of the next token's loss; None where none follows
    promoted_id: list[list[int]]  # the tokens whose log-probability falls most
    promoted_change: list[list[float]]  # nats, with the feature less without it; largest first
    suppressed_id: list[list[int]]
    suppressed_change: list[list[float]]  # smallest first


@dataclass(frozen=True)
class EvidenceRecord:
    """What a feature's page loads when it is asked for, or shows at its end."""

    feature_id: int
    near_misses: list[NearMiss]
    ablation: Ablations | None  # None where it is not known exactly


@dataclass(frozen=True)
class RowsRecord:
    """The text of some rows in which contexts stand, each once; the lists run parallel."""

    row: list[int]  # rising
    tokens: list[list[int]]


@dataclass(frozen=True)
class OtherRecord:
    """A feature of the second autoencoder, over the sample."""

    feature_id: int
    n_active: int
    max_activation: float  # over tokens that may be a peak
    match: RunMatch  # in the first autoencoder
    contexts: list[ContextRecord]


@dataclass(frozen=True)
class Measure:
    """A mean over batches."""

    mean: float
    standard_error: float | None  # None for a single batch


@dataclass(frozen=True)
class Quality:
    """How well the autoencoder reconstructs, over the first rows; losses in nats a token."""

    n_rows: int
    batch_rows: int
    loss: Measure
    loss_reconstructed: Measure
    loss_zero_ablated: Measure
    loss_mean_ablated: Measure
    # (zero-ablated - reconstructed) / (zero-ablated - loss); None where zero ablation costs nothing
    reconstruction_score: Measure | None
    reconstruction_score_mean: Measure | None  # the same with mean ablation
    l0: Measure  # active features a token
    explained_variance: Measure | None  # None where activations are the same everywhere
    l2: Measure  # squared error, summed over the hook point's width
    l1: Measure | None  # as training weighed it; None where its coefficient is not known


@dataclass(frozen=True)
class Frequencies:
    """The histogram of log10(density + 10^-6.5); dead features stand at -6.5 and are counted by themselves."""

    n_dead: int
    edges: list[float]  # one more than counts, rising
    counts: list[
        int
    ]  # of features that are not dead; a bin holds its lower edge, the last one its upper edge too

    def bin_of(self, density: float) -> int:
        """The bin that counts a feature of this density, which is above 0."""
        at = bisect_right(self.edges, log_density(density)) - 1
        return min(at, len(self.counts) - 1)


@dataclass(frozen=True)
class Box:
    """A box plot's five numbers."""

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float


@dataclass(frozen=True)
class Group:
    """Some features' values: how many, their box, and their counts in bins."""

    n_features: int
    box: Box | None  # None for no features
    counts: list[int]


@dataclass(frozen=True)
class Split:
    """A value of every feature, rare ones apart."""

    edges: list[float]
    rare: Group
    others: Group


@dataclass(frozen=True)
class FeatureMap:
    """A place in the plane for every feature, parallel to `FeatureTable`."""

    method: str
    x: list[float]  # 0..1
    y: list[float]


@dataclass(frozen=True)
class FeatureTable:
    """A few facts of every feature swept; the lists run parallel."""

    feature_id: list[int]
    density: list[float]
    rare_cosine: list[float | None]
    tokens: list[list[int]]  # that its top contexts peak on: ids, the strongest first, each once


@dataclass(frozen=True)
class TwoRuns:
    """How like the features of two autoencoders are."""

    title: str
    n_features: int  # of the second
    cosine: Split  # of each feature's best decoder cosine
    correlation: Split  # of each feature's best activation correlation
    n_mutual_cosine: int
    n_mutual_correlation: int


@dataclass(frozen=True)
class PublishedNumber:
    """A number that was published, computed again."""

    name: str
    published: str
    computed: str
    difference: str
    tolerance: str
    holds: bool


@dataclass(frozen=True)
class FitCandidate:
    """How well the autoencoder reconstructs what is read in one way."""

    name: str
    explained_variance: float  # below 0 where the reconstruction is worse than the mean
    l0: float  # active features a token
    n_tokens: int  # that it was measured on


@dataclass(frozen=True)
class Fit:
    """Whether the autoencoder fits what is read, measured before the sweep; special and first tokens left out."""

    explained_variance: float
    l0: float
    n_tokens: int
    objection: str  # why it is taken not to fit, where the run went on all the same; else empty
    candidates: list[FitCandidate]  # the configured one first, then its alternatives


@dataclass(frozen=True)
class Overview:
    """What is known of the autoencoder as a whole."""

    n_sample_rows: int
    fit: Fit
    features: FeatureTable
    quality: Quality
    frequencies: Frequencies
    rare_cosine: Split | None  # None where no feature is rare
    map: FeatureMap | None  # None for too few features
    other: TwoRuns | None
    published: list[PublishedNumber]


@dataclass(frozen=True)
class ModelSettings:
    """What a transformer's weights do not say of it."""

    n_layers: int  # up to the hook point, the one that it stands in included
    n_heads: int
    activation: str  # of the MLPs, by its TransformerLens name
    epsilon: float  # of the layer norms
    score_scale: float  # what attention scores are divided by
    hook: str  # one of HOOKS: where in the last of these layers the activations are read


@dataclass(frozen=True)
class LiveSettings:
    """What pages need to know of the model that they run."""

    precision: str  # of the weights as they are kept: int16, with a scale for each row, or fp32
    model: ModelSettings
    normalisation: str  # before the encoder: a kind that `normalised` knows
    bos_id: int | None  # stands before every text; None: nothing does
    seq_len: int  # tokens a text may have, that one included
    n_checked: int  # tokens on which its activations were held against the sweep's
    largest_error: float  # found there, as a share of a feature's maximum

    @property
    def n_text_tokens(self) -> int:
        """Tokens that a text of a reader's own may have."""
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
