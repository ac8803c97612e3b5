"""Quality of the autoencoder: the model's losses with the reconstruction, sparsity and error, as means over batches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from sitegen.analysis.sample import Sample
from sitegen.config import AnalysisConfig, Config
from sitegen.progress import Progress, tell
from sitegen.records import Measure, Quality
from sitegen.sources.inputs import Inputs
from sitegen.sources.replaced_losses import replaced_losses
from sitegen.sweep.reader import row_ranges

# Rows on which losses are measured unless the configuration says how many
N_ROWS = 320
# Fewer are measured if these would take more multiplications than that, about a minute on two cores
MULTIPLICATIONS = 4e12
# Batches of fewer rows then, as many as N_ROWS are of the usual size: standard errors need several
N_BATCHES = 5
# Rows of such a batch at least
LEAST_BATCH_ROWS = 8


@dataclass(frozen=True)
class BatchFigures:
    """Figures of consecutive batches of the first rows, by name; None where a figure cannot be computed.

    batch_rows  rows of a batch
    """

    batch_rows: int
    figures: dict[str, list[float | None]]

    @property
    def n_rows(self) -> int:
        """Number of rows measured."""
        return self.batch_rows * len(self.figures["loss"])

    def quality(self, n_rows: int) -> Quality:
        """Make the means over the whole batches in the first rows, and their standard errors.

        n_rows  batch_rows at least, and no more than were measured
        """
        n = n_rows // self.batch_rows
        measures: dict[str, Any] = {
            name: _measure(values[:n]) for name, values in self.figures.items()
        }
        return Quality(n_rows=n * self.batch_rows, batch_rows=self.batch_rows, **measures)


def measure_quality(
    inputs: Inputs, sample: Sample, config: Config, n_published: int = 0
) -> tuple[Quality, BatchFigures]:
    """Measure quality on the first rows of the sample, in batches from which the standard errors are estimated.

    n_published  rows on which losses were published: if the batches are the same, as many rows of the sample are
                 measured too, so that they need not be read again
    returns      the quality over the configured rows, and the figures of all batches measured
    source       definitions.md, "quality"
    """
    meter = _Meter(inputs, sample, config)
    n_rows, batch_rows = choose_rows(config.analysis, meter.n_weights * sample.tokens.shape[1])
    n_rows = min(n_rows, sample.n_rows)
    batch_rows = min(batch_rows, n_rows)
    n_measured = n_rows
    if batch_rows == min(config.analysis.batch_rows, n_published):
        n_measured = max(n_rows, min(n_published, sample.n_rows))
    figures = meter.measure_batches(n_measured, batch_rows)
    return figures.quality(n_rows), figures


def choose_rows(analysis: AnalysisConfig, row_cost: int) -> tuple[int, int]:
    """Choose (how many rows losses are measured on, the rows of a batch).

    row_cost  multiplications that a row takes
    """
    n_rows, batch_rows = analysis.n_quality_rows or N_ROWS, analysis.batch_rows
    if analysis.n_quality_rows or n_rows * row_cost <= MULTIPLICATIONS:
        return n_rows, batch_rows
    affordable = int(MULTIPLICATIONS / row_cost / N_BATCHES)
    batch_rows = min(batch_rows, max(affordable, LEAST_BATCH_ROWS))
    n_fewer = min(n_rows, N_BATCHES * batch_rows)
    tell(
        f"losses are measured on {n_fewer} rows instead of {n_rows}, since this model is large; "
        "analysis.n_quality_rows sets their number"
    )
    return n_fewer, batch_rows


class _Meter:
    """Measurement of one batch at a time."""

    def __init__(self, inputs: Inputs, sample: Sample, config: Config) -> None:
        self._inputs, self._sample, self._config = inputs, sample, config
        self._losses = replaced_losses(inputs.model, inputs.final_layer, inputs.ids(range(1)))
        self._mean = torch.from_numpy(sample.mean).float().to(inputs.device)
        self._W_dec = inputs.autoencoder.W_dec.cpu().numpy()
        self._by_token = csr_array(sample.activations.matrix.T.tocsr(), dtype=np.float32)

    @property
    def n_weights(self) -> int:
        """Number of weights that each token is multiplied with."""
        return self._losses.n_weights

    def measure_batches(self, n_rows: int, batch_rows: int) -> BatchFigures:
        """Measure the whole batches in the first rows.

        A shorter last batch would have the same weight in the means as a complete one, so it is left out.
        """
        batches = [rows for rows in row_ranges(0, n_rows, batch_rows) if len(rows) == batch_rows]
        progress = Progress("quality", len(batches) * batch_rows, "rows")
        figures: dict[str, list[float | None]] = defaultdict(list)
        for rows in batches:
            for name, value in self.measure(rows, progress).items():
                figures[name].append(value)
        progress.finish()
        return BatchFigures(batch_rows, dict(figures))

    def measure(self, rows: range, progress: Progress) -> dict[str, float | None]:
        """Compute the figures of one batch.

        A share is None if its whole is 0, and l1 is None if no coefficient of the training loss is configured.
        """
        sums: dict[str, float] = defaultdict(float)
        for part in row_ranges(rows.start, rows.stop, self._inputs.block_rows):
            for name, value in self._sums(part).items():
                sums[name] += value
            progress.advance(len(part))
        seq_len = self._sample.tokens.shape[1]
        n_positions, n_predicted = len(rows) * seq_len, len(rows) * (seq_len - 1)
        loss, reconstructed, zero, mean = (
            sums[name] / n_predicted for name in ("loss", "reconstructed", "zero", "mean")
        )
        weight = self._config.autoencoder.l1_coeff * self._config.autoencoder.l1_positions
        return {
            "loss": loss,
            "loss_reconstructed": reconstructed,
            "loss_zero_ablated": zero,
            "loss_mean_ablated": mean,
            "reconstruction_score": _share(zero - reconstructed, zero - loss),
            "reconstruction_score_mean": _share(mean - reconstructed, mean - loss),
            "l0": sums["active"] / n_positions,
            "explained_variance": _share(sums["variance"] - sums["error"], sums["variance"]),
            "l2": sums["error"] / n_positions,
            "l1": weight * sums["activation"] / n_positions if weight else None,
        }

    @torch.no_grad()
    def _sums(self, rows: range) -> dict[str, float]:
        """Sum losses, errors and activations over the positions of a few rows."""
        tokens = self._inputs.ids(rows)
        x, target, loss = self._losses.start(tokens)
        seq_len = tokens.shape[1]
        active = self._by_token[rows.start * seq_len : rows.stop * seq_len]
        reconstruction = self._reconstruct(active, x, target)
        constants = (torch.zeros_like(self._mean), self._mean)
        losses = [loss, *self._losses.losses(reconstruction, *constants)]
        names = ("loss", "reconstructed", "zero", "mean")
        return {
            **{n: value.double().sum().item() for n, value in zip(names, losses, strict=True)},
            "error": (target - reconstruction).double().pow(2).sum().item(),
            "variance": (target - self._mean).double().pow(2).sum().item(),
            "active": float(active.nnz),
            "activation": float(active.data.sum(dtype=np.float64)),
        }

    def _reconstruct(
        self, active: csr_array, x: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Compute the reconstruction of `target` [n_rows, seq_len, d_output].

        active  [n_tokens, n_features] float32 activations
        x       [n_rows, seq_len, d_hook] the input
        """
        autoencoder = self._inputs.autoencoder
        products = torch.from_numpy(np.asarray(active @ self._W_dec)).to(autoencoder.b_dec)
        return autoencoder.decode(products, x.flatten(0, 1)).view_as(target)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _measure(figures: list[float | None]) -> Measure | None:
    """Compute the mean of the batches' figures and its standard error; None if a figure is None."""
    values, n = [figure for figure in figures if figure is not None], len(figures)
    if len(values) < n:
        return None
    error = float(np.std(values, ddof=1) / n**0.5) if n > 1 else None
    return Measure(float(np.mean(values)), error)
