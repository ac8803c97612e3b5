"""What each feature is like: neighbours, neurons, its match in another run; as records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sitegen.analysis.contexts import ContextTable
from sitegen.analysis.likeness import (
    Together,
    correlation_matches,
    fires_together,
    neuron_correlations,
    share_contexts,
)
from sitegen.analysis.sample import Sample
from sitegen.analysis.values import shortest
from sitegen.config import Config
from sitegen.maths.geometry import Matches, cosine_matches, nearest, strongest_neurons
from sitegen.records import (
    ContextNeighbour,
    CosineNeighbour,
    FiringNeighbour,
    Match,
    Neighbours,
    NeuronCorrelation,
    Neurons,
    NeuronWeight,
    RunMatch,
)
from sitegen.sources.subject import Subject

N_LISTED_BY = 10

Ranked = tuple[np.ndarray, np.ndarray]  # [n, k] which, [n, k] how much


@dataclass(frozen=True)
class RunMatches:
    """The best matches of all features of one autoencoder in another."""

    cosine: Matches
    correlation: Matches

    def of(self, feature_id: int) -> RunMatch:
        """Those of one feature."""
        cosine = _match(self.cosine, feature_id)
        assert cosine is not None  # every decoder row has a direction to compare
        return RunMatch(cosine, _match(self.correlation, feature_id))


class Relations:
    """Relations of the features swept to all others, to neurons and to another run; found at once."""

    def __init__(
        self, subject: Subject, table: ContextTable, sample: Sample, config: Config
    ) -> None:
        settings, weights = config.analysis, subject.autoencoder
        self._ids = np.array(subject.feature_ids)
        chosen = torch.tensor(subject.feature_ids, device=subject.device)
        k = settings.n_neighbours
        self._decoder = _numpy(*nearest(weights.W_dec, chosen, k))
        self._encoder = _numpy(*nearest(weights.W_enc.T.contiguous(), chosen, k))
        self._together: Together = fires_together(sample.firings, self._ids, k)
        self._contexts = share_contexts(table, len(self._ids), sample.tokens.shape[1], k)
        self._listed_by = self._find_listed_by()
        self._neurons: tuple[tuple[np.ndarray, ...], Ranked] | None = None
        if subject.model.reads_neurons:
            strongest = strongest_neurons(weights.W_dec[chosen], settings.n_neurons)
            correlated = neuron_correlations(
                sample.firings, sample.neurons, self._ids, settings.n_neurons
            )
            self._neurons = _numpy(*strongest), correlated
        self.matches, self.other_matches = _run_matches(subject, sample)

    def neighbours(self, index: int) -> Neighbours:
        """Of the feature that is the index-th of those swept."""
        together = self._together
        pairs = (self._contexts[0][index], self._contexts[1][index])
        firings = (together.index[index], together.jaccard[index], together.n_both[index])
        listed_by = self._listed_by.get(int(self._ids[index]), [])
        return Neighbours(
            decoder=_cosines(self._decoder, index),
            encoder=_cosines(self._encoder, index),
            firings=[
                FiringNeighbour(int(other), shortest(np.float32(jaccard)), int(n))
                for other, jaccard, n in zip(*firings, strict=True)
                if other >= 0
            ],
            contexts=[
                ContextNeighbour(int(self._ids[other]), int(n))
                for other, n in zip(*pairs, strict=True)
                if other >= 0
            ],
            listed_by=listed_by[:N_LISTED_BY],
            n_listed_by=len(listed_by),
        )

    def _find_listed_by(self) -> dict[int, list[int]]:
        """For each feature those that list it and that it does not list."""
        shared = self._contexts[0]
        listed = np.concatenate(
            [
                self._decoder[0],
                self._encoder[0],
                self._together.index,
                np.where(shared >= 0, self._ids[shared], -1),
            ],
            axis=1,
        )
        own = {
            int(feature): set(others.tolist()) - {-1}
            for feature, others in zip(self._ids, listed, strict=True)
        }
        found: dict[int, list[int]] = {}
        for feature, others in own.items():
            for other in others:
                if feature not in own.get(other, ()):
                    found.setdefault(other, []).append(feature)
        return found

    def neurons(self, index: int) -> Neurons | None:
        """Of the feature that is the index-th of those swept."""
        if self._neurons is None:
            return None
        (neuron, weight, share), (other, correlation) = self._neurons
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
        """Of the feature that is the index-th of those swept."""
        return self.matches.of(int(self._ids[index])) if self.matches else None


def _run_matches(subject: Subject, sample: Sample) -> tuple[RunMatches | None, RunMatches | None]:
    """(the matches of all features in the second autoencoder, and of its features in the first)."""
    if subject.other is None or sample.other is None:
        return None, None
    cosine, other_cosine = cosine_matches(subject.autoencoder.W_dec, subject.other.W_dec)
    correlation, other_correlation = correlation_matches(sample.firings, sample.other)
    return RunMatches(cosine, correlation), RunMatches(other_cosine, other_correlation)


def _match(matches: Matches, feature_id: int) -> Match | None:
    index = int(matches.index[feature_id])
    if index < 0:
        return None
    value = shortest(matches.value[feature_id].numpy())
    return Match(index, value, bool(matches.mutual[feature_id]))


def _cosines(ranked: tuple[np.ndarray, ...], index: int) -> list[CosineNeighbour]:
    pairs = zip(ranked[0][index], ranked[1][index], strict=True)
    return [CosineNeighbour(int(other), shortest(cosine)) for other, cosine in pairs]


def _numpy(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.cpu().numpy() for tensor in tensors)
