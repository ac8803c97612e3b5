"""Every number of a feature's record recomputed in float64 and plain PyTorch, without any code of the sweep.

Slow and simple on purpose: the model's layer is written out, all activations are kept in memory, and sorted as a whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

RELATIVE = 1e-4
NEAR_TIE = 1e-5  # two float32 computations may order activations that are this close differently


def read_rows(
    corpus: Path,
    tokenizer_file: Path,
    seq_len: int,
    seed: int,
    bos: int | None = 1,
    separator: int | None = 0,
) -> np.ndarray:
    """Token ids [n_rows, seq_len], from the text and the tokenizer's file."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.encode_special_tokens = True
    ids: list[int] = []
    for line in corpus.read_text("utf-8").splitlines():
        text = json.loads(line)["text"]
        if text:
            ids += tokenizer.encode(text, add_special_tokens=False).ids
            ids += [] if separator is None else [separator]
    width = seq_len if bos is None else seq_len - 1
    n_rows = len(ids) // width
    rows = np.array(ids[: n_rows * width]).reshape(n_rows, width)
    if bos is not None:
        rows = np.insert(rows, 0, bos, axis=1)
    return rows[np.random.default_rng(seed).permutation(n_rows)]


def mlp_activations(weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """MLP activations [rows, positions, d_mlp] float64 of one transformer layer, written out."""
    return residual_and_mlp(weights, tokens)[1]


def residual_and_mlp(weights: dict[str, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The residual stream before the MLP, and the MLP's activations, float64."""
    w = {name: weight.double() for name, weight in weights.items()}
    residual = w["embed.W_E"][tokens] + w["pos_embed.W_pos"][: tokens.shape[1]]
    x = _layer_norm(residual, w["blocks.0.ln1.w"], w["blocks.0.ln1.b"])
    mask = torch.full((tokens.shape[1], tokens.shape[1]), -torch.inf, dtype=torch.float64).triu(1)
    for head in range(len(w["blocks.0.attn.W_Q"])):
        q, k, v = (
            x @ w[f"blocks.0.attn.W_{n}"][head] + w[f"blocks.0.attn.b_{n}"][head] for n in "QKV"
        )
        pattern = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + mask, dim=-1)
        residual = residual + pattern @ v @ w["blocks.0.attn.W_O"][head]
    residual = residual + w["blocks.0.attn.b_O"]
    x = _layer_norm(residual, w["blocks.0.ln2.w"], w["blocks.0.ln2.b"])
    pre = x @ w["blocks.0.mlp.W_in"] + w["blocks.0.mlp.b_in"]
    return residual, pre * 0.5 * (1 + torch.erf(pre / 2**0.5))


def log_probabilities(weights: dict[str, Tensor], residual: Tensor, mlp: Tensor) -> Tensor:
    """Log-probabilities [rows, positions, d_vocab] float64 of the next token, given the MLP's activations."""
    w = {name: weight.double() for name, weight in weights.items()}
    residual = residual + mlp @ w["blocks.0.mlp.W_out"] + w["blocks.0.mlp.b_out"]
    normal = _layer_norm(residual, w["ln_final.w"], w["ln_final.b"])
    return torch.log_softmax(normal @ w["unembed.W_U"] + w["unembed.b_U"], -1)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def folded_logit_effects(weights: dict[str, Tensor], W_dec: Tensor) -> Tensor:
    """Logit effects [n_features, d_vocab] float64, through centred W_out and folded, centred W_U computed here."""
    W_out = weights["blocks.0.mlp.W_out"].double()
    W_out = W_out - W_out.mean(1, keepdim=True)
    W_U = weights["ln_final.w"].double()[:, None] * weights["unembed.W_U"].double()
    # Folding removes the component that the LayerNorm has already removed
    W_U = W_U - W_U.mean(0, keepdim=True)
    W_U = W_U - W_U.mean(1, keepdim=True)  # centred over the vocabulary
    return W_dec.double() @ W_out @ W_U


@dataclass
class BruteForce:
    """All activations of a few features over all rows."""

    rows: np.ndarray  # [n_rows, seq_len]
    activations: dict[int, np.ndarray]  # feature -> [n_rows, seq_len] float64
    effects: dict[int, np.ndarray]  # feature -> [d_vocab] float64
    n_before: int
    n_after: int
    n_samples: int = 0  # found in the records so far
    n_samples_possible: int = 0  # had every interval been filled

    @classmethod
    def compute(
        cls,
        model: Path,
        autoencoder: Path,
        rows: np.ndarray,
        features: list[int],
        n_before: int,
        n_after: int,
    ) -> BruteForce:
        weights = load_file(model / "model.safetensors")
        sae = {name: weight.double() for name, weight in load_file(autoencoder).items()}
        found = []
        for part in np.array_split(rows, max(1, len(rows) // 64)):
            x = mlp_activations(weights, torch.from_numpy(part.astype(np.int64)))
            found.append(
                torch.relu((x - sae["b_dec"]) @ sae["W_enc"][:, features] + sae["b_enc"][features])
            )
        activations = torch.cat(found).numpy()
        effects = folded_logit_effects(weights, sae["W_dec"][features]).numpy()
        return cls(
            rows,
            {feature: activations[:, :, i] for i, feature in enumerate(features)},
            dict(zip(features, effects, strict=True)),
            n_before,
            n_after,
        )

    def check(
        self, record: dict[str, Any], special_ids: list[int], n_top: int, intervals: tuple[int, int]
    ) -> None:
        """Assert that every number of a record equals the one computed here.

        intervals  (number of intervals, largest number of samples of each)
        """
        activations = self.activations[record["feature_id"]]
        special = np.isin(self.rows, special_ids)
        on_text = np.where(special, 0, activations)
        n_active = int((activations > 0).sum())
        density = n_active / activations.size
        assert record["n_active"] == near(n_active, absolute=0)
        assert record["density"] == near(density, absolute=0)
        kinds = {"dead": density == 0, "rare": 0 < density < 1e-4, "dense": density > 0.1}
        assert record["kind"] == next((kind for kind, holds in kinds.items() if holds), "ordinary")
        assert record["mean_active"] == near(activations[activations > 0].mean() if n_active else 0)
        assert record["max_activation"] == near(on_text.max())
        assert record["special"]["n_active"] == near(n_active - (on_text > 0).sum(), absolute=0)
        assert record["special"]["max_activation"] == near(np.where(special, activations, 0).max())
        self._check_histogram(record["histogram"], on_text[on_text > 0])
        top = [c for c in record["contexts"] if c["group"] == "top"]
        self._check_top(top, on_text, n_top)
        for context in record["contexts"]:
            self._check_context(context, activations)
        self._check_samples(record, top, on_text, *intervals)
        self._check_logits(record)

    def _check_samples(
        self,
        record: dict[str, Any],
        top: list[dict[str, Any]],
        on_text: np.ndarray,
        n_intervals: int,
        n_each: int,
    ) -> None:
        """Assert that samples are within their interval, of distinct texts, not in the top, and fill it if possible."""
        shown = {self._window(c["row"], c["position"]) for c in top}
        texts: dict[int, set[tuple[int, ...]]] = {i: set() for i in range(n_intervals)}
        boundary_texts: set[tuple[int, ...]] = set()
        maximum = on_text.max()
        for row, position in np.argwhere(on_text > 0).tolist():
            cell = on_text[row, position] * n_intervals / maximum
            window = self._window(row, position)
            if window not in shown:
                texts[min(int(np.ceil(cell)), n_intervals) - 1].add(window)
                if abs(cell - round(cell)) < 1e-4:
                    boundary_texts.add(window)
        samples = [c for c in record["contexts"] if c["group"] == "interval"]
        assert [c["interval"] for c in samples] == sorted(c["interval"] for c in samples)
        for i in range(n_intervals):
            mine = [c for c in samples if c["interval"] == i]
            windows = [self._window(c["row"], c["position"]) for c in mine]
            assert [c["rank"] for c in mine] == list(range(len(mine)))
            assert [c["activation"] for c in mine] == sorted(
                (c["activation"] for c in mine), reverse=True
            )
            assert len(set(windows)) == len(windows)
            assert set(windows) <= texts[i] | boundary_texts
            self.n_samples += len(mine)
            self.n_samples_possible += min(n_each, len(texts[i]))
            assert len(mine) <= n_each

    def _check_histogram(self, histogram: dict[str, Any], entries: np.ndarray) -> None:
        assert sum(histogram["counts"]) == near(len(entries))
        for low, high, count in zip(
            histogram["edges"][:-1], histogram["edges"][1:], histogram["counts"], strict=True
        ):
            slack = NEAR_TIE * (1 + high)  # float32's rounding near an edge
            inside = ((entries > low - slack) & (entries <= high + slack)).sum()
            surely = ((entries > low + slack) & (entries <= high - slack)).sum()
            assert surely <= count <= inside

    def _check_top(self, contexts: list[dict[str, Any]], on_text: np.ndarray, n_top: int) -> None:
        """Assert that the top contexts are the largest activations, one for each window, and none is inactive."""
        best: dict[tuple[int, ...], tuple[float, int, int]] = {}
        rows, positions = np.nonzero(on_text)
        order = np.lexsort((positions, rows, -on_text[rows, positions]))
        for i in order:
            row, position = int(rows[i]), int(positions[i])
            best.setdefault(
                self._window(row, position), (float(on_text[row, position]), row, position)
            )
            if len(best) == n_top + 1:
                break
        expected = list(best.values())
        assert len(contexts) == min(n_top, len(expected))
        windows = [self._window(c["row"], c["position"]) for c in contexts]
        assert len(set(windows)) == len(windows)
        for rank, (context, (activation, row, position)) in enumerate(
            zip(contexts, expected[:n_top], strict=True)
        ):
            assert context["rank"] == rank
            assert context["activation"] == near(activation)
            if (context["row"], context["position"]) != (row, position):
                there = on_text[context["row"], context["position"]]
                assert there == near(activation, NEAR_TIE), (
                    "another position, and no near tie explains it"
                )

    def _check_context(self, context: dict[str, Any], activations: np.ndarray) -> None:
        row, position, start = context["row"], context["position"], context["start"]
        end = start + len(context["tokens"])
        assert (start, end) == (
            max(0, position - self.n_before),
            min(self.rows.shape[1], position + self.n_after + 1),
        )
        assert context["tokens"] == self.rows[row, start:end].tolist()
        assert context["activations"] == near(activations[row, start:end])
        assert context["activation"] == near(activations[row, position])
        assert context["copies"] >= 1

    def copies(self, context: dict[str, Any]) -> int:
        """Number of positions with the same window, found by comparing every window of every row."""
        window = self._window(context["row"], context["position"])
        n_rows, seq_len = self.rows.shape
        return sum(self._window(r, p) == window for r in range(n_rows) for p in range(seq_len))

    def _window(self, row: int, position: int) -> tuple[int, ...]:
        start = max(0, position - self.n_before)
        return (position - start, *self.rows[row, start : position + self.n_after + 1].tolist())

    def _check_logits(self, record: dict[str, Any]) -> None:
        effects = self.effects[record["feature_id"]]
        log_normaliser = np.log(np.exp(effects - effects.max()).sum()) + effects.max()
        for name, sign in (("top", -1), ("bottom", 1)):
            listed = record["logits"][name]
            expected = np.argsort(sign * effects, kind="stable")[: len(listed)]
            scale = np.abs(effects).max()
            for effect, token_id in zip(listed, expected, strict=True):
                assert effect["value"] == near(effects[token_id])
                assert abs(effects[effect["id"]] - effects[token_id]) <= RELATIVE * scale
                assert effect["probability"] == near(
                    np.exp(effects[effect["id"]] - log_normaliser), absolute=0
                )
        histogram = record["logits"]["histogram"]
        assert [histogram["edges"][0], histogram["edges"][-1]] == near(
            [effects.min(), effects.max()]
        )
        assert sum(histogram["counts"]) == len(effects)
        counts = np.histogram(effects, np.array(histogram["edges"]))[0]
        assert np.abs(counts - histogram["counts"]).sum() <= 2 * len(counts) + 2


def near(value: Any, relative: float = RELATIVE, absolute: float = 2e-5) -> Any:
    """Approximately equal, to 1e-4 relative; the absolute part is float32's rounding of activations near 0."""
    import pytest

    return pytest.approx(value, rel=relative, abs=absolute)
