"""The sample: the first rows, on which all features are compared with each other, neurons and the second autoencoder.

Rows are shuffled, so the first rows are a random sample. It covers every feature of the autoencoder, even if only a
few are swept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array, hstack

from sitegen.config import Config
from sitegen.maths.encoder import ActivationSearch, ActiveEntries
from sitegen.maths.sparse import csr_pattern
from sitegen.progress import Progress
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.inputs import Inputs
from sitegen.sweep.shards import BATCHES_AT_ONCE, row_ranges


@dataclass(frozen=True)
class SampleActivations:
    """The activations of all features of an autoencoder over the sample.

    matrix  [n_features, n_tokens] float64, sparse, entries sorted by feature, then token
    """

    matrix: csr_array

    @property
    def n_features(self) -> int:
        """Number of features of the autoencoder."""
        return int(self.matrix.shape[0])

    @property
    def n_tokens(self) -> int:
        """Number of tokens of the sample."""
        return int(self.matrix.shape[1])

    @cached_property
    def feature(self) -> np.ndarray:
        """Feature of each entry, [n] int64."""
        return np.repeat(np.arange(self.n_features), np.diff(self.matrix.indptr))

    @cached_property
    def _key(self) -> np.ndarray:
        """`feature * n_tokens + token` of each entry, [n] int64, rising: entries are found by binary search."""
        key: np.ndarray = self.feature * np.int64(self.n_tokens) + self.matrix.indices
        return key

    @property
    def n_active(self) -> np.ndarray:
        """Number of tokens on which each feature is active, [n_features] int64."""
        n_active: np.ndarray = np.diff(self.matrix.indptr).astype(np.int64)
        return n_active

    def at(self, feature: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Look up the activations of pairs of feature and token, […] float32; 0 where the feature is inactive."""
        key = feature.astype(np.int64) * self.n_tokens + token
        if not len(self._key):
            return np.zeros(key.shape, np.float32)
        at = np.minimum(np.searchsorted(self._key, key), len(self._key) - 1)
        return np.where(self._key[at] == key, self.matrix.data[at], 0).astype(np.float32)

    def is_active(self) -> csr_array:
        """Make a matrix with 1 where a feature is active, [n_features, n_tokens]."""
        matrix = self.matrix
        return csr_array((np.ones_like(matrix.data), matrix.indices, matrix.indptr), matrix.shape)


@dataclass(frozen=True)
class NeuronSums:
    """Sums over the sample's tokens, in float64.

    total     [d_hook] of the neurons' activations
    squares   [d_hook] of their squares
    products  [n_features, d_hook] of each feature's activation times each neuron's
    """

    total: np.ndarray
    squares: np.ndarray
    products: np.ndarray


@dataclass(frozen=True)
class Sample:
    """The first rows, and all activations on them."""

    tokens: np.ndarray  # [n_rows, seq_len]
    activations: SampleActivations
    other: SampleActivations | None  # of the second autoencoder
    neurons: NeuronSums

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.tokens)

    @property
    def mean(self) -> np.ndarray:
        """Mean activation at the hook point, [d_hook] float64."""
        mean: np.ndarray = self.neurons.total / self.tokens.size
        return mean


def read_sample(inputs: Inputs, config: Config) -> Sample:
    """Run the model and the encoders over the sample's rows."""
    tokens = np.asarray(inputs.rows.tokens[: config.analysis.n_rows])
    weights = [inputs.autoencoder, *([inputs.other] if inputs.other else [])]
    collectors = [_Collector(autoencoder, config.sweep.precision) for autoencoder in weights]
    batch_tokens = config.sweep.batch_rows * tokens.shape[1]
    d_hook = inputs.autoencoder.d_hook
    sums = NeuronSums(
        np.zeros(d_hook), np.zeros(d_hook), np.zeros((inputs.autoencoder.d_hidden, d_hook))
    )
    progress = Progress("sample", tokens.size, "tokens")
    for rows in row_ranges(0, len(tokens), config.sweep.batch_rows * BATCHES_AT_ONCE):
        parts = torch.split(inputs.ids(rows), config.sweep.batch_rows)
        x = torch.cat([inputs.model.hook_activations(ids).flatten(0, 1) for ids in parts])
        found = [collector.add(torch.split(x, batch_tokens)) for collector in collectors]
        neurons = x.cpu().double()
        sums.total[:] += neurons.sum(0).numpy()
        sums.squares[:] += neurons.square().sum(0).numpy()
        # The tensor shares the array's memory, so this adds to `sums.products`; torch is twice as fast as scipy here
        products = torch.from_numpy(sums.products)
        torch.addmm(products, _as_tensor(found[0]), neurons, out=products)
        progress.advance(len(rows) * tokens.shape[1])
    progress.finish()
    activations = [collector.active_entries() for collector in collectors]
    return Sample(tokens, activations[0], activations[1] if inputs.other else None, sums)


def _as_tensor(matrix: csr_array) -> torch.Tensor:
    starts, columns = (
        torch.from_numpy(a.astype(np.int64)) for a in (matrix.indptr, matrix.indices)
    )
    return csr_pattern(starts, columns, torch.from_numpy(matrix.data), matrix.shape)


class _Collector:
    """Collector of one autoencoder's activations, batch by batch."""

    def __init__(self, weights: Autoencoder, precision: str) -> None:
        self._search = ActivationSearch(weights.encoder(), precision)
        self._n_features = weights.d_hidden
        self._parts: list[csr_array] = []

    def add(self, batches: tuple[torch.Tensor, ...]) -> csr_array:
        """Add the activations on further tokens, and return them as [n_features, n_tokens].

        batches  [n, d_hook] float32 hook-point activations of each batch
        """
        parts, n_tokens = [], 0
        for x in batches:
            parts.append(self._search.active_entries(x).moved(n_tokens))
            n_tokens += len(x)
        found = ActiveEntries.joined(parts)
        starts = np.searchsorted(found.feature.numpy(), np.arange(self._n_features + 1))
        values = (found.activation.double().numpy(), found.token.int().numpy(), starts)
        part = csr_array(values, (self._n_features, n_tokens))
        self._parts.append(part)
        return part

    def active_entries(self) -> SampleActivations:
        """Join all activations that were added."""
        matrix = csr_array(hstack(self._parts, format="csr"))
        matrix.sort_indices()
        return SampleActivations(matrix)
