"""The sample: the first rows, on which features are compared with each other, neurons and other autoencoders.

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
from sitegen.maths.encoder import ActiveEntries
from sitegen.maths.sparse import csr_pattern
from sitegen.progress import Progress
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.inputs import Inputs
from sitegen.sweep.reader import RowReader, row_ranges


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
    """Sums over the sample's tokens, in float64, where the hook point's activations are neurons.

    total     [d_hook] of the neurons' activations
    squares   [d_hook] of their squares
    products  [n_features, d_hook] of each feature's activation times each neuron's
    """

    total: np.ndarray
    squares: np.ndarray
    products: np.ndarray

    @staticmethod
    def zero(autoencoder: Autoencoder) -> NeuronSums:
        """Make the sums over no tokens."""
        d_hook, d_hidden = autoencoder.d_hook, autoencoder.d_hidden
        return NeuronSums(np.zeros(d_hook), np.zeros(d_hook), np.zeros((d_hidden, d_hook)))

    def add(self, features: csr_array, neurons: torch.Tensor) -> None:
        """Add some tokens.

        features  [n_features, n_tokens] activations of the features
        neurons   [n_tokens, d_hook] float64, on the CPU
        """
        self.total[:] += neurons.sum(0).numpy()
        self.squares[:] += neurons.square().sum(0).numpy()
        # The tensor shares the array's memory, so this adds to `products`; torch is twice as fast as scipy here
        products = torch.from_numpy(self.products)
        torch.addmm(products, _as_tensor(features), neurons, out=products)


@dataclass(frozen=True)
class Sample:
    """The first rows, and all activations on them.

    tokens          [n_rows, seq_len]
    by_autoencoder  the activations of each autoencoder, in the order of the inputs
    mean            [d_output] float64: mean of the activations that are reconstructed
    neurons         sums of the neurons' activations; None where the hook point's activations are not neurons
    """

    tokens: np.ndarray
    by_autoencoder: list[SampleActivations]
    mean: np.ndarray
    neurons: NeuronSums | None

    @property
    def activations(self) -> SampleActivations:
        """Activations of the autoencoder whose features are swept."""
        return self.by_autoencoder[0]

    @property
    def second(self) -> SampleActivations | None:
        """Activations of the second autoencoder, if there is one."""
        return self.by_autoencoder[1] if len(self.by_autoencoder) > 1 else None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.tokens)


def read_sample(inputs: Inputs, config: Config) -> Sample:
    """Run the model and the encoders over the sample's rows."""
    tokens = np.asarray(inputs.rows.tokens[: config.analysis.n_rows])
    neurons = NeuronSums.zero(inputs.autoencoder) if inputs.model.reads_neurons else None
    total = np.zeros(inputs.autoencoder.d_output)
    encoders = [autoencoder.encoder() for autoencoder in inputs.autoencoders]
    reader = RowReader(inputs, encoders, config)
    parts: list[list[csr_array]] = [[] for _ in encoders]
    progress = Progress("sample", tokens.size, "tokens")
    for rows in row_ranges(0, len(tokens), inputs.pass_rows):
        batches = []
        for batch in reader.read(rows):
            batches.append(batch)
            progress.advance(batch.ids.numel())
        for index, autoencoder in enumerate(inputs.autoencoders):
            entries = ActiveEntries.joined([batch.entries[index] for batch in batches])
            n_tokens = sum(len(batch.x) for batch in batches)
            parts[index].append(_as_matrix(entries, autoencoder.d_hidden, n_tokens))
        target = torch.cat([batch.target for batch in batches]).cpu().double()
        total += target.sum(0).numpy()
        if neurons is not None:
            neurons.add(parts[0][-1], target)
    progress.finish()
    by_autoencoder = [_joined(matrices) for matrices in parts]
    return Sample(tokens, by_autoencoder, total / tokens.size, neurons)


def _as_matrix(entries: ActiveEntries, n_features: int, n_tokens: int) -> csr_array:
    """Make a sparse matrix [n_features, n_tokens] float64 of active entries."""
    starts = np.searchsorted(entries.feature.numpy(), np.arange(n_features + 1))
    values = (entries.activation.double().numpy(), entries.token.int().numpy(), starts)
    return csr_array(values, (n_features, n_tokens))


def _joined(matrices: list[csr_array]) -> SampleActivations:
    """Join the matrices of tokens that follow each other."""
    matrix = csr_array(hstack(matrices, format="csr"))
    matrix.sort_indices()
    return SampleActivations(matrix)


def _as_tensor(matrix: csr_array) -> torch.Tensor:
    starts, columns = (
        torch.from_numpy(a.astype(np.int64)) for a in (matrix.indptr, matrix.indices)
    )
    return csr_pattern(starts, columns, torch.from_numpy(matrix.data), matrix.shape)
