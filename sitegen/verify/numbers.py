"""Each published number computed again, with the tolerance that it deserves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from sitegen.analysis.quality import measure_quality
from sitegen.analysis.sample import read_sample
from sitegen.config import Config
from sitegen.maths.encoder import ActivationSearch, PairReader
from sitegen.maths.geometry import rare_cosines
from sitegen.maths.logits import logit_effects, logit_extremes
from sitegen.progress import Progress, within
from sitegen.records import RARE_DENSITY, Measure, PublishedNumber
from sitegen.sources.inputs import Inputs
from sitegen.sweep.shards import row_ranges

ALONG_DIRECTION = 0.5  # cosine from which a feature is said to point along the rare direction


def verify(inputs: Inputs, config: Config, published: dict[str, Any]) -> Iterator[PublishedNumber]:
    """Computes every number that was published of a subject and can be computed from it."""
    with within("published"):
        yield from _numbers(inputs, config, published)


def _numbers(
    inputs: Inputs, config: Config, published: dict[str, Any]
) -> Iterator[PublishedNumber]:
    if "tokens" in published:
        yield _tokens(inputs, published["tokens"])
    if "logit_effects" in published:
        yield from _logit_effects(inputs, published["logit_effects"])
    for activation in published.get("activations", []):
        yield _activation(inputs, activation)
    if "losses" in published:
        yield from _losses(inputs, config, published["losses"])
    if "frequencies" in published:
        yield from _frequencies(inputs, config, published["frequencies"])


def _tokens(inputs: Inputs, published: dict[str, Any]) -> PublishedNumber:
    expected = published["ids"]
    text = published["text"].removeprefix("\n")
    ids = inputs.rows.delimiters.begun(inputs.tokenizer.encode([text])[0])[: len(expected)]
    n_same = sum(one == other for one, other in zip(ids, expected, strict=False))
    return PublishedNumber(
        f"first {len(expected)} token ids of the passage",
        f"{len(expected)} ids",
        f"{n_same} of them the same",
        str(len(expected) - n_same),
        "none",
        ids == expected,
    )


def _logit_effects(inputs: Inputs, published: dict[str, Any]) -> Iterator[PublishedNumber]:
    feature, ids, values = published["feature"], published["ids"], published["values"]
    name = f"logit effect of feature {feature}"
    if feature >= inputs.autoencoder.d_hidden:
        yield _absent(f"{name}, the {len(ids)} largest", feature, inputs)
        return
    model = inputs.model
    row = inputs.autoencoder.W_dec[feature : feature + 1]
    effects = logit_effects(row, model.W_out, model.W_U)
    largest = logit_extremes(effects, len(ids), largest=True)
    found = largest.token_id[0].tolist()
    n_same = sum(one == other for one, other in zip(found, ids, strict=False))
    yield PublishedNumber(
        f"{name}, tokens of the {len(ids)} largest",
        " ".join(map(str, ids)),
        " ".join(map(str, found)),
        str(len(ids) - n_same),
        "none",
        found == ids,
    )
    for i, value in enumerate(values[: len(found)]):
        computed = float(largest.value[0, i])
        yield _number(f"{name}, number {i + 1}", value, computed, published["tolerance"], 6)


def _activation(inputs: Inputs, published: dict[str, Any]) -> PublishedNumber:
    feature, text = published["feature"], published["text"]
    delimiters, tokenizer = inputs.rows.delimiters, inputs.tokenizer
    first = "" if delimiters.bos_id is None else tokenizer.text_of(delimiters.bos_id)
    name = f"feature {feature} at the end of {first}{text}"
    if feature >= inputs.autoencoder.d_hidden:
        return _absent(name, feature, inputs)
    ids = delimiters.begun(tokenizer.encode([text])[0])
    x = inputs.model.hook_activations(torch.tensor([ids], device=inputs.device))[0, -1:]
    reader = PairReader(inputs.autoencoder.encoder(), "fp32")
    one, token = torch.tensor([feature], device=x.device), torch.tensor([0], device=x.device)
    computed = float(reader.activations(x, one, token))
    return _number(name, published["value"], computed, published["tolerance"], 6)


def _losses(inputs: Inputs, config: Config, published: dict[str, Any]) -> Iterator[PublishedNumber]:
    n_rows = published["n_rows"]
    analysis = dataclasses.replace(config.analysis, n_rows=n_rows, n_quality_rows=n_rows)
    config = dataclasses.replace(config, analysis=analysis)
    quality = measure_quality(inputs, read_sample(inputs, config), config)
    for name, number in published.items():
        if isinstance(number, dict):
            measure: Measure | None = getattr(quality, name)
            computed = measure.mean if measure else math.nan
            told = f"{name.replace('_', ' ')}, {quality.n_rows:,} rows"
            yield _number(told, number["value"], computed, number["tolerance"], 4)


def _frequencies(
    inputs: Inputs, config: Config, published: dict[str, Any]
) -> Iterator[PublishedNumber]:
    n_rows = min(published["n_rows"], len(inputs.rows.tokens))
    density = _densities(inputs, config, n_rows)
    told = f"over {n_rows:,} rows"
    dead = published["n_dead"]
    yield _number(
        f"dead features {told}", dead["value"], float((density == 0).sum()), dead["tolerance"], 0
    )
    one = published["density"]
    name = f"density of feature {one['feature']} {told}"
    if one["feature"] < len(density):
        yield _number(name, one["value"], float(density[one["feature"]]), one["tolerance"], 4)
    else:
        yield _absent(name, one["feature"], inputs)
    along = published["rare_share_along_direction"]
    is_rare = torch.from_numpy(density < RARE_DENSITY).to(inputs.device)
    cosines = rare_cosines(inputs.autoencoder.W_enc.T, is_rare)
    share = 0.0 if cosines is None else float((cosines[is_rare] > ALONG_DIRECTION).float().mean())
    yield _number(
        f"share of rare features along the rare direction {told}",
        along["value"],
        share,
        along["tolerance"],
        3,
    )


def _densities(inputs: Inputs, config: Config, n_rows: int) -> np.ndarray:
    """[d_hidden] float64 densities of all features over the first rows."""
    weights, seq_len = inputs.autoencoder, inputs.rows.tokens.shape[1]
    search = ActivationSearch(weights.encoder(), config.sweep.precision)
    n_active = np.zeros(weights.d_hidden, np.int64)
    progress = Progress("densities", n_rows * seq_len, "tokens")
    for rows in row_ranges(0, n_rows, config.sweep.batch_rows):
        ids = inputs.ids(rows)
        found = search.active_entries(inputs.model.hook_activations(ids).flatten(0, 1))
        n_active += np.bincount(found.feature.cpu().numpy(), minlength=weights.d_hidden)
        progress.advance(ids.numel())
    progress.finish()
    density: np.ndarray = n_active / (n_rows * seq_len)
    return density


def _number(
    name: str, published: float, computed: float, tolerance: float, digits: int
) -> PublishedNumber:
    difference = computed - published
    return PublishedNumber(
        name,
        f"{published:.{digits}f}",
        f"{computed:.{digits}f}",
        f"{difference:+.{digits}f}",
        f"{tolerance:g}",
        abs(difference) <= tolerance,  # not so for NaN
    )


def _absent(name: str, feature: int, inputs: Inputs) -> PublishedNumber:
    there = f"no feature {feature}: there are {inputs.autoencoder.d_hidden}"
    return PublishedNumber(name, "a number", there, "", "", False)
