"""Quality of the demo's autoencoder, on the held-out text and with the shipped weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from demo.training.autoencoder import Autoencoder
from demo.training.language_model import LanguageModel


@dataclass(frozen=True)
class Quality:
    """Means over all positions of the held-out rows; losses in nats a token."""

    n_rows: int
    loss: float
    loss_reconstructed: float
    loss_zero_ablated: float
    loss_mean_ablated: float
    reconstruction_score: float  # (zero - reconstructed) / (zero - loss)
    explained_variance: float  # 1 - squared error / squared distance from the mean
    l0: float  # active features per position
    dead_share: float


@torch.no_grad()
def evaluate(model: LanguageModel, autoencoder: Autoencoder, rows: np.ndarray) -> Quality:
    """The quality over `rows` [n_rows, seq_len]; one pass for the mean activation, one for the rest."""
    batches = [
        torch.from_numpy(part.astype(np.int64))
        for part in np.array_split(rows, len(rows) // 64 + 1)
    ]
    total = torch.zeros(model.shape.d_mlp, dtype=torch.float64)
    for tokens in batches:
        total += model.mlp_activations(tokens)[1].double().sum((0, 1))
    mean = (total / rows.size).float()
    sums = dict.fromkeys(
        ("loss", "reconstructed", "zero", "mean", "error", "variance", "active"), 0.0
    )
    was_active = torch.zeros(len(autoencoder.b_enc), dtype=torch.bool)
    for tokens in batches:
        residual, x = model.mlp_activations(tokens)
        activations = autoencoder.encode(x)
        reconstruction = autoencoder.decode(activations)
        replaced = {
            "loss": x,
            "reconstructed": reconstruction,
            "zero": torch.zeros_like(x),
            "mean": mean.expand_as(x),
        }
        for name, value in replaced.items():
            sums[name] += _loss_sum(model.logits(residual, value), tokens)
        sums["error"] += (reconstruction - x).double().pow(2).sum().item()
        sums["variance"] += (x - mean).double().pow(2).sum().item()
        sums["active"] += (activations > 0).sum().item()
        was_active |= (activations > 0).flatten(0, 1).any(0)
    n_predicted = rows.shape[0] * (rows.shape[1] - 1)
    loss, reconstructed, zero = (
        sums[name] / n_predicted for name in ("loss", "reconstructed", "zero")
    )
    return Quality(
        n_rows=len(rows),
        loss=loss,
        loss_reconstructed=reconstructed,
        loss_zero_ablated=zero,
        loss_mean_ablated=sums["mean"] / n_predicted,
        reconstruction_score=(zero - reconstructed) / (zero - loss),
        explained_variance=1 - sums["error"] / sums["variance"],
        l0=sums["active"] / rows.size,
        dead_share=1 - was_active.double().mean().item(),
    )


def _loss_sum(logits: Tensor, tokens: Tensor) -> float:
    flat = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"
    )
    return flat.item()
