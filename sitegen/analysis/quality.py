"""Quality of the autoencoder: the model's losses with the reconstruction, sparsity and error, as means over batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from sitegen.analysis.sample import Sample
from sitegen.config import Config
from sitegen.maths.logits import written_by
from sitegen.progress import Progress
from sitegen.records import Measure, Quality
from sitegen.sources.inputs import Inputs
from sitegen.sweep.reader import row_ranges


def measure_quality(inputs: Inputs, sample: Sample, config: Config) -> Quality:
    """Measure quality on the first rows of the sample, in batches from which the standard errors are estimated.

    source  definitions.md, "quality"
    """
    n_rows = min(config.analysis.n_quality_rows, sample.n_rows)
    batch_rows = min(config.analysis.batch_rows, n_rows)
    meter = _Meter(inputs, sample, config)
    # A shorter last batch would have the same weight in the means as a complete one, so it is left out
    batches = [rows for rows in row_ranges(0, n_rows, batch_rows) if len(rows) == batch_rows]
    progress = Progress("quality", len(batches) * batch_rows, "rows")
    figures: dict[str, list[float | None]] = defaultdict(list)
    for rows in batches:
        for name, value in meter.measure(rows).items():
            figures[name].append(value)
        progress.advance(len(rows))
    progress.finish()
    measures: dict[str, Any] = {name: _measure(values) for name, values in figures.items()}
    return Quality(n_rows=len(batches) * batch_rows, batch_rows=batch_rows, **measures)


class _Meter:
    """Measurement of one batch at a time."""

    def __init__(self, inputs: Inputs, sample: Sample, config: Config) -> None:
        self._inputs, self._sample, self._config = inputs, sample, config
        self._mean = torch.from_numpy(sample.mean).float().to(inputs.device)
        self._W_dec = inputs.autoencoder.W_dec.cpu().numpy()
        self._by_token = csr_array(sample.activations.matrix.T.tocsr(), dtype=np.float32)

    def measure(self, rows: range) -> dict[str, float | None]:
        """Compute the figures of one batch.

        A share is None if its whole is 0, and l1 is None if no coefficient of the training loss is configured.
        """
        sums: dict[str, float] = defaultdict(float)
        for part in row_ranges(rows.start, rows.stop, self._inputs.block_rows):
            for name, value in self._sums(part).items():
                sums[name] += value
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
        x, target, losses_with = self._start(tokens)
        seq_len = tokens.shape[1]
        active = self._by_token[rows.start * seq_len : rows.stop * seq_len]
        reconstruction = self._reconstruct(active, x, target)
        replacements = {
            "loss": target,
            "reconstructed": reconstruction,
            "zero": torch.zeros_like(target),
            "mean": self._mean.expand_as(target),
        }
        losses = {
            name: losses_with(value).double().sum().item() for name, value in replacements.items()
        }
        return {
            **losses,
            "error": (target - reconstruction).double().pow(2).sum().item(),
            "variance": (target - self._mean).double().pow(2).sum().item(),
            "active": float(active.nnz),
            "activation": float(active.data.sum(dtype=np.float64)),
        }

    def _start(
        self, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Get (input, activations to reconstruct, a function from replaced activations to losses) of some rows.

        Where nothing but the final norm comes after the output point, the model runs only once: each replacement adds
        its difference to the last residual stream. Elsewhere the model runs again for each replacement.
        """
        model, final = self._inputs.model, self._inputs.final_layer
        if final is None:
            return *model.input_and_target(tokens), partial(model.losses, tokens)
        x, target, residual = model.input_target_and_residual(tokens)
        next_id = tokens[:, 1:].flatten()

        def losses_with(activations: torch.Tensor) -> torch.Tensor:
            changed = residual + written_by(activations - target, model.W_out)
            return final.losses(changed[:, :-1].flatten(0, 1), next_id)

        return x, target, losses_with

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
