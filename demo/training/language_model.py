"""The demo's language model: gelu-1l's architecture at small width, and its training.

Parameters carry the names and shapes of TransformerLens' own checkpoints (`blocks.0.attn.W_Q` and so on), so that
the trained model is read by the loader that reads the published one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 11


@dataclass(frozen=True)
class ModelShape:
    """Widths of the model; those of gelu-1l are 512, 2048, 8, 64, 1024 and 48262."""

    d_model: int = 128
    d_mlp: int = 512
    n_heads: int = 4
    d_head: int = 32
    n_ctx: int = 128
    d_vocab: int = 4096


@dataclass(frozen=True)
class ModelTraining:
    """One run of AdamW with a linear warm-up and a linear decay to a fiftieth."""

    n_tokens: int = 36_000_000
    batch_rows: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    n_warmup_steps: int = 300


class LanguageModel(nn.Module):
    """A transformer of one layer: attention, then a GELU MLP; LayerNorm before each and before the unembedding."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        generator = torch.Generator().manual_seed(SEED)

        def weight(*size: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*size, generator=generator) * std)

        d, heads, d_head = shape.d_model, shape.n_heads, shape.d_head
        inner = 1 / math.sqrt(d)
        self.W_E = weight(shape.d_vocab, d, std=0.05)
        self.W_pos = weight(shape.n_ctx, d, std=0.02)
        self.ln1 = nn.LayerNorm(d)
        self.W_Q = weight(heads, d, d_head, std=inner)
        self.W_K = weight(heads, d, d_head, std=inner)
        self.W_V = weight(heads, d, d_head, std=inner)
        self.W_O = weight(heads, d_head, d, std=inner / 2)
        self.b_Q = nn.Parameter(torch.zeros(heads, d_head))
        self.b_K = nn.Parameter(torch.zeros(heads, d_head))
        self.b_V = nn.Parameter(torch.zeros(heads, d_head))
        self.b_O = nn.Parameter(torch.zeros(d))
        self.ln2 = nn.LayerNorm(d)
        self.W_in = weight(d, shape.d_mlp, std=inner)
        self.b_in = nn.Parameter(torch.zeros(shape.d_mlp))
        self.W_out = weight(shape.d_mlp, d, std=1 / math.sqrt(shape.d_mlp) / 2)
        self.b_out = nn.Parameter(torch.zeros(d))
        self.ln_final = nn.LayerNorm(d)
        self.W_U = weight(d, shape.d_vocab, std=inner / 2)
        self.b_U = nn.Parameter(torch.zeros(shape.d_vocab))

    def mlp_activations(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Residual stream after attention [rows, seq, d_model], and MLP activations [rows, seq, d_mlp]."""
        n_rows, n_positions = tokens.shape
        residual = self.W_E[tokens] + self.W_pos[:n_positions]
        x = self.ln1(residual)

        def heads(weight: Tensor, bias: Tensor) -> Tensor:
            flat = weight.permute(1, 0, 2).reshape(self.shape.d_model, -1)
            out: Tensor = x @ flat + bias.reshape(-1)
            return out.view(n_rows, n_positions, self.shape.n_heads, -1).transpose(1, 2)

        query, key, value = (
            heads(self.W_Q, self.b_Q),
            heads(self.W_K, self.b_K),
            heads(self.W_V, self.b_V),
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(n_rows, n_positions, -1)
        residual = residual + mixed @ self.W_O.reshape(-1, self.shape.d_model) + self.b_O
        return residual, functional.gelu(self.ln2(residual) @ self.W_in + self.b_in)

    def logits(self, residual: Tensor, activations: Tensor) -> Tensor:
        """Logits [rows, seq, d_vocab] from the residual stream and the MLP's activations."""
        residual = residual + activations @ self.W_out + self.b_out
        normal: Tensor = self.ln_final(residual)
        return normal @ self.W_U + self.b_U

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean next-token cross-entropy, in nats."""
        logits = self.logits(*self.mlp_activations(tokens))[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

    def checkpoint(self) -> dict[str, Tensor]:
        """The weights under TransformerLens' names."""
        names = {
            "W_E": "embed.W_E",
            "W_pos": "pos_embed.W_pos",
            "W_U": "unembed.W_U",
            "b_U": "unembed.b_U",
            "W_in": "blocks.0.mlp.W_in",
            "b_in": "blocks.0.mlp.b_in",
            "W_out": "blocks.0.mlp.W_out",
            "b_out": "blocks.0.mlp.b_out",
        }
        norms = {"ln1": "blocks.0.ln1", "ln2": "blocks.0.ln2", "ln_final": "ln_final"}
        parts = {"weight": "w", "bias": "b"}
        weights = {}
        for name, parameter in self.named_parameters():
            module, _, part = name.partition(".")
            if module in norms:
                weights[f"{norms[module]}.{parts[part]}"] = parameter.detach()
            else:
                weights[names.get(name, f"blocks.0.attn.{name}")] = parameter.detach()
        return weights


def train_model(rows: np.ndarray, shape: ModelShape, training: ModelTraining) -> LanguageModel:
    """A model trained on `rows` [n_rows, seq_len], read in a seeded order, epoch after epoch."""
    torch.manual_seed(SEED)
    model = LanguageModel(shape)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.98))
    n_steps = training.n_tokens // (training.batch_rows * rows.shape[1])
    order = _endless_order(len(rows), training.batch_rows * n_steps)
    started, running = time.monotonic(), 0.0
    for step in range(n_steps):
        warmup = min(1.0, (step + 1) / training.n_warmup_steps)
        scale = warmup * max(0.02, 1 - step / n_steps)
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * scale
        batch = order[step * training.batch_rows : (step + 1) * training.batch_rows]
        tokens = torch.from_numpy(rows[np.sort(batch)].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(tokens)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running += loss.item()
        if (step + 1) % 100 == 0:
            rate = (step + 1) * training.batch_rows * rows.shape[1] / (time.monotonic() - started)
            print(
                f"model: step {step + 1}/{n_steps}, loss {running / 100:.3f}, {rate:.0f} tokens/s",
                flush=True,
            )
            running = 0.0
    return model.eval()


def _endless_order(n_rows: int, n_needed: int) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    return np.concatenate([rng.permutation(n_rows) for _ in range(n_needed // n_rows + 1)])
