"""Relations of each feature: similar features, neurons, and its best match in the second autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sitegen.analysis.contexts import ContextTable
from sitegen.analysis.sample import Sample
from sitegen.analysis.similarity import (
    Advance,
    Coactivation,
    coactive_features,
    correlation_matches,
    neuron_correlations,
    share_contexts,
)
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.maths.geometry import Matches, cosine_matches, nearest, strongest_neurons
from sitegen.progress import Progress
from sitegen.records import (
    CoactiveFeature,
    ContextNeighbour,
    CosineNeighbour,
    Match,
    Neighbours,
    NeuronCorrelation,
    Neurons,
    NeuronWeight,
    RunMatch,
)
from sitegen.sources.inputs import Inputs

N_LISTED_BY = 10

# ([n, k] features or neurons, [n, k] the measure by which they are ranked)
Ranked = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RunMatches:
    """The best matches of all features of one autoencoder in the other one."""

    cosine: Matches
    correlation: Matches

    def record(self, feature_id: int) -> RunMatch:
        """Make the record of one feature's best matches."""
        cosine = _match(self.cosine, feature_id)
        assert cosine is not None  # every decoder row has a direction to compare
        return RunMatch(cosine, _match(self.correlation, feature_id))


@dataclass(frozen=True)
class NeuronTables:
    """The neurons of each feature swept.

    strongest   ([n, k] neurons, [n, k] weights, [n, k] shares of the decoder row's L1 norm)
    correlated  neurons and the correlations of their activations with the feature's; NaN where the feature is inactive
                on the whole sample
    """

    strongest: tuple[np.ndarray, np.ndarray, np.ndarray]
    correlated: Ranked


@dataclass(frozen=True)
class Relations:
    """Relations of the features swept to all other features, to neurons and to the second autoencoder.

    ids               [n] int64 numbers of the features swept; the arrays below have a row for each
    decoder, encoder  similar features by the cosine of decoder or encoder directions
    coactivation      features that are active on the same tokens
    contexts          features that share contexts, as indices among the features swept
    neurons_of        None where the dimensions of the hook point are not neurons
    matches           best matches of all features in the second autoencoder; None without one
    other_matches     best matches of the second autoencoder's features in the first; None without one
    """

    ids: np.ndarray
    decoder: Ranked
    encoder: Ranked
    coactivation: Coactivation
    contexts: Ranked
    neurons_of: NeuronTables | None
    matches: RunMatches | None
    other_matches: RunMatches | None

    def neighbours(self, index: int) -> Neighbours:
        """Make the record of the features similar to one; `index` is among the features swept."""
        coactivation = self.coactivation
        sharing = (self.contexts[0][index], self.contexts[1][index])
        coactive = (
            coactivation.index[index],
            coactivation.jaccard[index],
            coactivation.n_both[index],
        )
        listed_by = self._listed_by.get(int(self.ids[index]), [])
        return Neighbours(
            decoder=_cosines(self.decoder, index),
            encoder=_cosines(self.encoder, index),
            coactivation=[
                CoactiveFeature(int(other), shortest(np.float32(jaccard)), int(n))
                for other, jaccard, n in zip(*coactive, strict=True)
                if other >= 0
            ],
            contexts=[
                ContextNeighbour(int(self.ids[other]), int(n))
                for other, n in zip(*sharing, strict=True)
                if other >= 0
            ],
            listed_by=listed_by[:N_LISTED_BY],
            n_listed_by=len(listed_by),
        )

    @cached_property
    def _listed_by(self) -> dict[int, list[int]]:
        """The features that list a feature in any of the four ways without being listed by it, for each feature."""
        shared = self.contexts[0]
        listed = np.concatenate(
            [
                self.decoder[0],
                self.encoder[0],
                self.coactivation.index,
                np.where(shared >= 0, self.ids[shared], -1),
            ],
            axis=1,
        )
        # Sets: a feature may list another one in several ways
        lists = {
            int(feature): set(others.tolist()) - {-1}
            for feature, others in zip(self.ids, listed, strict=True)
        }
        found: dict[int, list[int]] = {}
        for feature, others in lists.items():
            for other in others:
                if feature not in lists.get(other, ()):
                    found.setdefault(other, []).append(feature)
        return found

    def neurons(self, index: int) -> Neurons | None:
        """Make the record of one feature's neurons; `index` is among the features swept."""
        if self.neurons_of is None:
            return None
        neuron, weight, share = self.neurons_of.strongest
        other, correlation = self.neurons_of.correlated
        strongest = zip(neuron[index], weight[index], share[index], strict=True)
        correlated = zip(other[index], correlation[index], strict=True)
        return Neurons(
            [NeuronWeight(int(n), shortest(w), shortest(s)) for n, w, s in strongest],
            [
                NeuronCorrelation(int(n), shortest(np.float32(c)))
                for n, c in correlated
                if np.isfinite(c)
            ],
        )

    def match(self, index: int) -> RunMatch | None:
        """Make the record of one feature's matches; `index` is among the features swept."""
        return self.matches.record(int(self.ids[index])) if self.matches else None


def find_relations(
    inputs: Inputs, table: ContextTable, sample: Sample, config: Config
) -> Relations:
    """Compute the relations of the features swept, whose contexts are in `table`."""
    settings, weights = config.analysis, inputs.autoencoder
    ids = np.array(inputs.feature_ids)
    chosen = torch.tensor(inputs.feature_ids, device=inputs.device)
    k, n = settings.n_neighbours, len(ids)
    # Each search below takes about as long for a feature as the others
    n_searches = (5 if sample.neurons is not None else 4) * n
    if inputs.second is not None:
        n_searches += 2 * weights.d_hidden + inputs.second.d_hidden
    progress = Progress("relations", n_searches, "searches")
    advance = progress.advance
    neurons = None
    if sample.neurons is not None:
        index, weight, share = strongest_neurons(weights.W_dec[chosen], settings.n_neurons)
        correlated = neuron_correlations(
            sample.activations, sample.neurons, ids, settings.n_neurons, advance
        )
        neurons = NeuronTables((_numpy(index), _numpy(weight), _numpy(share)), correlated)
    matches, other_matches = _run_matches(inputs, sample, advance)
    found = Relations(
        ids=ids,
        decoder=_ranked(*nearest(weights.W_dec, chosen, k, advance)),
        encoder=_ranked(*nearest(weights.W_enc.T.contiguous(), chosen, k, advance)),
        coactivation=coactive_features(sample.activations, ids, k, advance),
        contexts=share_contexts(table, n, sample.tokens.shape[1], k, advance),
        neurons_of=neurons,
        matches=matches,
        other_matches=other_matches,
    )
    progress.finish()
    return found


def _run_matches(
    inputs: Inputs, sample: Sample, advance: Advance
) -> tuple[RunMatches | None, RunMatches | None]:
    """Find (the matches of all features in the second autoencoder, the matches of its features in the first)."""
    if inputs.second is None or sample.second is None:
        return None, None
    W_dec, other_W_dec = inputs.autoencoder.W_dec, inputs.second.W_dec
    cosine, other_cosine = cosine_matches(W_dec, other_W_dec, advance)
    correlation, other_correlation = correlation_matches(sample.activations, sample.second, advance)
    return RunMatches(cosine, correlation), RunMatches(other_cosine, other_correlation)


def _match(matches: Matches, feature_id: int) -> Match | None:
    index = int(matches.index[feature_id])
    if index < 0:
        return None
    value = shortest(matches.value[feature_id].numpy())
    return Match(index, value, bool(matches.mutual[feature_id]))


def _cosines(ranked: Ranked, index: int) -> list[CosineNeighbour]:
    pairs = zip(ranked[0][index], ranked[1][index], strict=True)
    return [CosineNeighbour(int(other), shortest(cosine)) for other, cosine in pairs]


def _ranked(index: Tensor, measure: Tensor) -> Ranked:
    return _numpy(index), _numpy(measure)


def _numpy(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.cpu().numpy()
    return found
