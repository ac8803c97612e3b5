"""The results of the analysis recomputed in float64 and plain PyTorch, with everything held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.brute_force import log_probabilities, read_rows, residual_and_mlp
from tests.tiny import SEQ_LEN, TinyInputs

Weights = dict[str, Tensor]


@dataclass
class PlainAnalysis:
    """All activations of the tiny inputs, over all rows."""

    model: Weights
    one: Weights  # the autoencoder, float64
    other: Weights  # the second
    rows: np.ndarray  # [n_rows, seq_len]
    residual: Tensor  # [n_rows, seq_len, d_model] before the MLP
    x: Tensor  # [n_rows, seq_len, d_mlp]
    f: Tensor  # [n_rows, seq_len, d_hidden]
    g: Tensor  # the second autoencoder's

    @classmethod
    def of(cls, tiny: TinyInputs) -> PlainAnalysis:
        rows = read_rows(tiny.corpus, tiny.tokenizer / "tokenizer.json", SEQ_LEN, 42)
        model = load_file(tiny.model / "model.safetensors")
        one, other = (
            {name: weight.double() for name, weight in load_file(path).items()}
            for path in (tiny.autoencoder, tiny.second)
        )
        residual, x = residual_and_mlp(model, torch.from_numpy(rows.astype(np.int64)))
        return cls(model, one, other, rows, residual, x, _encode(one, x), _encode(other, x))

    def losses(self, rows: slice, mlp: Tensor) -> Tensor:
        """Cross-entropy [n_rows, seq_len - 1], given the MLP's activations."""
        log_p = log_probabilities(self.model, self.residual[rows], mlp)
        tokens = torch.from_numpy(self.rows[rows].astype(np.int64))
        return -log_p[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]

    def reconstruction(self, rows: slice) -> Tensor:
        return self.f[rows] @ self.one["W_dec"] + self.one["b_dec"]

    def removal(self, feature: int, row: int, position: int) -> np.ndarray:
        """Log-probability [d_vocab] of the unchanged model, less that with the feature removed at one token."""
        mlp = self.x[row : row + 1].clone()
        before = log_probabilities(self.model, self.residual[row : row + 1], mlp)
        mlp[0, position] -= self.f[row, position, feature] * self.one["W_dec"][feature]
        after = log_probabilities(self.model, self.residual[row : row + 1], mlp)
        change: np.ndarray = (before - after)[0, position].numpy()
        return change

    def sampled(self, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Activations [n_tokens, …] of the first and the second autoencoder and of the neurons, over the first rows."""
        f, g, x = (t[:n_rows].flatten(0, 1).numpy() for t in (self.f, self.g, self.x))
        return f, g, x


def _encode(weights: Weights, x: Tensor) -> Tensor:
    return torch.relu((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"])


def cosines(rows: Tensor, others: Tensor) -> np.ndarray:
    """Cosines [n, n_others] float64 of rows."""
    found: np.ndarray = torch.nn.functional.cosine_similarity(
        rows[:, None], others[None], dim=2
    ).numpy()
    return found


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson correlations [n, n_others] of columns."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = np.corrcoef(one.T, other.T)[: one.shape[1], one.shape[1] :]
    return found
