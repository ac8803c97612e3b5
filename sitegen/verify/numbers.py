"""Compute published numbers again and compare each within its tolerance."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sitegen.analysis.quality import BatchFigures, measure_quality
from sitegen.analysis.sample import Sample, read_sample
from sitegen.config import Config
from sitegen.maths.encoder import PairReader
from sitegen.maths.geometry import rare_cosines
from sitegen.maths.logits import logit_effects, logit_extremes
from sitegen.progress import Progress, within
from sitegen.records import RARE_DENSITY, Measure, PublishedNumber, Quality
from sitegen.sources.inputs import Inputs
from sitegen.sweep.reader import RowReader
from sitegen.sweep.state import SweepResult

# A feature whose cosine with the rare direction is above this points along it
ALONG_DIRECTION = 0.5

# The names and texts of the comparisons below are part of the data (`published` in overview.json)


@dataclass(frozen=True)
class Measured:
    """What a run has measured of the same inputs already, and is not measured again.

    sample   the first rows
    figures  of quality on them; None if they were not measured
    swept    statistics of the sweep over all rows; None without a sweep
    """

    sample: Sample
    figures: BatchFigures | None = None
    swept: SweepResult | None = None


def verify(
    inputs: Inputs, config: Config, published: dict[str, Any], measured: Measured | None = None
) -> Iterator[PublishedNumber]:
    """Compute every published number again that can be computed from the inputs.

    published  contents of the preset's file in `published/`
    measured   what a run has measured already; without it everything is measured here
    returns    an iterator of comparisons, in the order of the report
    """
    with within("published"):
        yield from _compare_all(inputs, config, published, measured)


def _compare_all(
    inputs: Inputs, config: Config, published: dict[str, Any], measured: Measured | None
) -> Iterator[PublishedNumber]:
    if "tokens" in published:
        yield _compare_tokens(inputs, published["tokens"])
    if "logit_effects" in published:
        yield from _compare_logit_effects(inputs, published["logit_effects"])
    for activation in published.get("activations", []):
        yield _compare_activation(inputs, activation)
    if "losses" in published:
        n_rows = published["losses"]["n_rows"]
        if measured is None or measured.sample.n_rows < min(n_rows, len(inputs.rows.tokens)):
            sample = _read_first(inputs, config, n_rows)
            measured = Measured(sample, None, measured.swept if measured else None)
        yield from _compare_losses(inputs, config, published["losses"], measured)
    if "frequencies" in published:
        yield from _compare_frequencies(inputs, config, published["frequencies"], measured)


def _compare_tokens(inputs: Inputs, published: dict[str, Any]) -> PublishedNumber:
    expected = published["ids"]
    text = published["text"].removeprefix("\n")
    all_ids = inputs.rows.delimiters.prepend_bos(inputs.tokenizer.encode([text])[0])
    ids = all_ids[: len(expected)]
    n_same = sum(one == other for one, other in zip(ids, expected, strict=False))
    return PublishedNumber(
        f"first {len(expected)} token ids of the passage",
        f"{len(expected)} ids",
        f"{n_same} of them the same",
        str(len(expected) - n_same),
        "none",
        ids == expected,
    )


def _compare_logit_effects(inputs: Inputs, published: dict[str, Any]) -> Iterator[PublishedNumber]:
    feature, ids, values = published["feature"], published["ids"], published["values"]
    name = f"logit effect of feature {feature}"
    if feature >= inputs.autoencoder.d_hidden:
        yield _missing_feature(f"{name}, the {len(ids)} largest", feature, inputs)
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
        yield _compare(f"{name}, number {i + 1}", value, computed, published["tolerance"], 6)


def _compare_activation(inputs: Inputs, published: dict[str, Any]) -> PublishedNumber:
    feature, text = published["feature"], published["text"]
    delimiters, tokenizer = inputs.rows.delimiters, inputs.tokenizer
    first = "" if delimiters.bos_id is None else tokenizer.text_of(delimiters.bos_id)
    name = f"feature {feature} at the end of {first}{text}"
    if feature >= inputs.autoencoder.d_hidden:
        return _missing_feature(name, feature, inputs)
    ids = delimiters.prepend_bos(tokenizer.encode([text])[0])
    x = inputs.model.hook_activations(torch.tensor([ids], device=inputs.device))[0, -1:]
    reader = PairReader(inputs.autoencoder.encoder(), "fp32")
    features, tokens = torch.tensor([feature], device=x.device), torch.tensor([0], device=x.device)
    computed = float(reader.activations(x, features, tokens))
    return _compare(name, published["value"], computed, published["tolerance"], 6)


def _read_first(inputs: Inputs, config: Config, n_rows: int) -> Sample:
    """Read the first rows, without the second autoencoder, which no published number is about."""
    analysis = dataclasses.replace(config.analysis, n_rows=n_rows, n_quality_rows=0)
    first = dataclasses.replace(inputs, autoencoders=inputs.autoencoders[:1])
    return read_sample(first, dataclasses.replace(config, analysis=analysis))


def _compare_losses(
    inputs: Inputs, config: Config, published: dict[str, Any], measured: Measured
) -> Iterator[PublishedNumber]:
    # The published losses are means over a number of rows of their own, not over the configured one
    n_rows = min(published["n_rows"], measured.sample.n_rows)
    quality = _quality_over(n_rows, inputs, config, measured)
    for name, number in published.items():
        if isinstance(number, dict):
            measure: Measure | None = getattr(quality, name)
            computed = measure.mean if measure else math.nan
            title = f"{name.replace('_', ' ')}, {quality.n_rows:,} rows"
            yield _compare(title, number["value"], computed, number["tolerance"], 4)


def _quality_over(n_rows: int, inputs: Inputs, config: Config, measured: Measured) -> Quality:
    """Take the quality over the first rows from the batches measured, or measure it."""
    figures, batch_rows = measured.figures, min(config.analysis.batch_rows, n_rows)
    if figures and figures.batch_rows == batch_rows and figures.n_rows + batch_rows > n_rows:
        return figures.quality(n_rows)
    # A sample may be longer, and then has other means; nothing that is published depends on them
    analysis = dataclasses.replace(
        config.analysis, n_rows=measured.sample.n_rows, n_quality_rows=n_rows
    )
    config = dataclasses.replace(config, analysis=analysis)
    return measure_quality(inputs, measured.sample, config)[0]


def _compare_frequencies(
    inputs: Inputs, config: Config, published: dict[str, Any], measured: Measured | None
) -> Iterator[PublishedNumber]:
    n_rows = min(published["n_rows"], len(inputs.rows.tokens))
    if measured and measured.swept and len(inputs.feature_ids) == inputs.autoencoder.d_hidden:
        # The sweep has counted all features, on these rows and all others
        swept, n_rows = measured.swept, len(inputs.rows.tokens)
        density = swept.n_active / swept.n_positions
    else:
        density = _measure_densities(inputs, config, n_rows, measured)
    scope = f"over {n_rows:,} rows"
    dead = published["n_dead"]
    yield _compare(
        f"dead features {scope}", dead["value"], float((density == 0).sum()), dead["tolerance"], 0
    )
    one = published["density"]
    name = f"density of feature {one['feature']} {scope}"
    if one["feature"] < len(density):
        yield _compare(name, one["value"], float(density[one["feature"]]), one["tolerance"], 4)
    else:
        yield _missing_feature(name, one["feature"], inputs)
    along = published["rare_share_along_direction"]
    is_rare = torch.from_numpy(density < RARE_DENSITY).to(inputs.device)
    cosines = rare_cosines(inputs.autoencoder.W_enc.T, is_rare)
    share = 0.0 if cosines is None else float((cosines[is_rare] > ALONG_DIRECTION).float().mean())
    yield _compare(
        f"share of rare features along the rare direction {scope}",
        along["value"],
        share,
        along["tolerance"],
        3,
    )


def _measure_densities(
    inputs: Inputs, config: Config, n_rows: int, measured: Measured | None
) -> np.ndarray:
    """Measure the densities [d_hidden] float64 of all features over the first rows, reading those beyond the sample."""
    autoencoder, seq_len = inputs.autoencoder, inputs.rows.tokens.shape[1]
    n_active, first = np.zeros(autoencoder.d_hidden, np.int64), 0
    if measured:
        first = min(measured.sample.n_rows, n_rows)
        in_sample = measured.sample.activations
        counted = in_sample.matrix.indices < first * seq_len
        n_active += np.bincount(in_sample.feature[counted], minlength=autoencoder.d_hidden)
    reader = RowReader(inputs, [autoencoder.encoder()], config)
    progress = Progress("densities", (n_rows - first) * seq_len, "tokens")
    for batch in reader.read(range(first, n_rows)):
        feature = batch.entries[0].feature.numpy()
        n_active += np.bincount(feature, minlength=autoencoder.d_hidden)
        progress.advance(batch.ids.numel())
    progress.finish()
    density: np.ndarray = n_active / (n_rows * seq_len)
    return density


def _compare(
    name: str, published: float, computed: float, tolerance: float, digits: int
) -> PublishedNumber:
    difference = computed - published
    return PublishedNumber(
        name,
        f"{published:.{digits}f}",
        f"{computed:.{digits}f}",
        f"{difference:+.{digits}f}",
        f"{tolerance:g}",
        # False for NaN, which marks a loss that cannot be measured
        abs(difference) <= tolerance,
    )


def _missing_feature(name: str, feature: int, inputs: Inputs) -> PublishedNumber:
    reason = f"no feature {feature}: there are {inputs.autoencoder.d_hidden}"
    return PublishedNumber(name, "a number", reason, "", "", False)
