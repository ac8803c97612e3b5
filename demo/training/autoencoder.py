"""The demo's sparse autoencoder, of the form of the published one, and its training on the model's activations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from demo.training.language_model import LanguageModel


@dataclass(frozen=True)
class AutoencoderTraining:
    """One run of Adam on shuffled activations; the reconstruction error is summed over d_mlp."""

    dict_mult: int = 8
    n_tokens: int = 13_000_000
    batch_tokens: int = 1024
    learning_rate: float = 1e-3
    beta2: float = 0.99
    l1_coeff: float = 0.9
    l1_warmup: float = 0.05
    decay_from: float = 0.6
    resample_until: float = 0.5
    resample_every_steps: int = 500
    buffer_rows: int = 2048
    seed: int = 52


class Autoencoder(nn.Module):
    """`f = ReLU((x - b_dec) W_enc + b_enc)`, `x' = f W_dec + b_dec`; decoder rows are kept at unit norm."""

    def __init__(self, d_mlp: int, d_hidden: int, mean: Tensor, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        decoder = torch.randn(d_hidden, d_mlp, generator=generator)
        decoder /= decoder.norm(dim=1, keepdim=True)
        self.W_dec = nn.Parameter(decoder)
        self.W_enc = nn.Parameter(decoder.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(d_hidden))
        self.b_dec = nn.Parameter(mean.clone())

    def encode(self, x: Tensor) -> Tensor:
        """Feature activations [n_tokens, d_hidden]."""
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def decode(self, activations: Tensor) -> Tensor:
        """Reconstruction [n_tokens, d_mlp]."""
        return activations @ self.W_dec + self.b_dec

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Remove the part of the decoder's gradient that would only change the norms of its rows."""
        gradient = self.W_dec.grad
        assert gradient is not None
        gradient -= (gradient * self.W_dec).sum(1, keepdim=True) * self.W_dec

    @torch.no_grad()
    def normalise(self) -> None:
        """Scale decoder rows to unit norm."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True))


def train_autoencoder(
    model: LanguageModel, rows: np.ndarray, training: AutoencoderTraining
) -> Autoencoder:
    """An autoencoder trained on the model's MLP activations over `rows` [n_rows, seq_len]."""
    torch.manual_seed(training.seed)
    batches = _activation_batches(model, rows, training)
    first = next(batches)
    d_mlp = first.shape[1]
    autoencoder = Autoencoder(
        d_mlp, training.dict_mult * d_mlp, first.float().mean(0), training.seed
    )
    optimizer = torch.optim.Adam(
        autoencoder.parameters(), lr=training.learning_rate, betas=(0.9, training.beta2)
    )
    n_steps = training.n_tokens // training.batch_tokens
    was_active = torch.zeros(training.dict_mult * d_mlp, dtype=torch.bool)
    started = time.monotonic()
    for step in range(n_steps):
        x = next(batches).float()
        progress = step / n_steps
        l1_coeff = training.l1_coeff * min(1.0, progress / training.l1_warmup)
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * min(
                1.0, (1 - progress) / (1 - training.decay_from)
            )
        with torch.autocast("cpu", torch.bfloat16):
            activations = autoencoder.encode(x)
            reconstruction = autoencoder.decode(activations)
        error = (reconstruction.float() - x).pow(2).sum(1)
        loss = error.mean() + l1_coeff * activations.float().sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        autoencoder.project_gradient()
        optimizer.step()
        autoencoder.normalise()
        with torch.no_grad():
            was_active |= (activations > 0).any(0)
        if (step + 1) % training.resample_every_steps == 0:
            l0 = (activations > 0).sum(1).float().mean().item()
            unexplained = (error.mean() / (x - x.mean(0)).pow(2).sum(1).mean()).item()
            rate = (step + 1) * training.batch_tokens / (time.monotonic() - started)
            n_inactive = int((~was_active).sum())
            print(
                f"autoencoder: step {step + 1}/{n_steps}, L0 {l0:.1f}, unexplained {unexplained:.3f}, "
                f"inactive {n_inactive}, {rate:.0f} tokens/s",
                flush=True,
            )
            if progress < training.resample_until and n_inactive:
                _resample(autoencoder, optimizer, ~was_active, x, error.detach())
            was_active.zero_()
    return autoencoder.eval()


@torch.no_grad()
def _activation_batches(
    model: LanguageModel, rows: np.ndarray, training: AutoencoderTraining
) -> Iterator[Tensor]:
    """Batches [batch_tokens, d_mlp] bfloat16 drawn from a buffer of whole rows, half of it renewed at a time."""
    rng = np.random.default_rng(training.seed)
    kept = torch.empty(0, model.shape.d_mlp, dtype=torch.bfloat16)
    while True:
        order = rng.permutation(len(rows))
        for start in range(0, len(order) - training.buffer_rows, training.buffer_rows):
            chosen = np.sort(order[start : start + training.buffer_rows])
            tokens = torch.from_numpy(rows[chosen].astype(np.int64))
            fresh = []
            with torch.autocast("cpu", torch.bfloat16):
                for part in torch.split(tokens, 128):
                    fresh.append(model.mlp_activations(part)[1].flatten(0, 1).bfloat16())
            buffer = torch.cat([kept, *fresh])
            buffer = buffer[torch.from_numpy(rng.permutation(len(buffer)))]
            kept = buffer[: len(buffer) // 2] if len(buffer) > training.batch_tokens else buffer
            used = buffer[len(kept) :]
            for at in range(0, len(used) - training.batch_tokens + 1, training.batch_tokens):
                yield used[at : at + training.batch_tokens]


@torch.no_grad()
def _resample(
    autoencoder: Autoencoder,
    optimizer: torch.optim.Adam,
    is_inactive: Tensor,
    x: Tensor,
    error: Tensor,
) -> None:
    """Set inactive features to the directions of badly reconstructed inputs, and clear their optimizer state."""
    features = is_inactive.nonzero().flatten()
    chosen = torch.multinomial(error.pow(2), len(features), replacement=len(features) > len(error))
    directions = x[chosen] - autoencoder.b_dec
    directions /= directions.norm(dim=1, keepdim=True)
    alive_norm = autoencoder.W_enc[:, ~is_inactive].norm(dim=0).mean()
    autoencoder.W_dec[features] = directions
    autoencoder.W_enc[:, features] = directions.T * alive_norm * 0.3
    autoencoder.b_enc[features] = 0.0
    for parameter, index in (
        (autoencoder.W_dec, (features,)),
        (autoencoder.W_enc, (slice(None), features)),
        (autoencoder.b_enc, (features,)),
    ):
        for name in ("exp_avg", "exp_avg_sq"):
            optimizer.state[parameter][name][index] = 0.0
