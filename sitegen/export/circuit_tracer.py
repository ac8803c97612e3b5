"""Export for circuit-tracer, whose view of attribution graphs shows each feature from a JSON file.

source  circuit_tracer 0.5.0, frontend/feature_models.py and frontend/assets/feature_examples
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from sitegen.export.source import ExportSource
from sitegen.records import ContextRecord, FeatureRecord
from sitegen.render.intervals import interval_boundaries


def write_circuit_tracer(source: ExportSource, folder: Path) -> None:
    """Write features/N.json, where N is the pair number of layer and feature."""
    (folder / "features").mkdir()
    for record in source.features("circuit-tracer"):
        number = cantor_pair(source.layer, record.feature_id)
        path = folder / f"features/{number}.json"
        path.write_bytes(orjson.dumps(_feature(record, source)))


def cantor_pair(layer: int, feature_id: int) -> int:
    """Compute the number of the pair in Cantor's pairing function."""
    diagonal = layer + feature_id
    return diagonal * (diagonal + 1) // 2 + feature_id


def _feature(record: FeatureRecord, source: ExportSource) -> dict[str, Any]:
    n_intervals = source.manifest.config.contexts.n_intervals
    boundaries = interval_boundaries(record.max_activation, n_intervals)
    groups = [
        (interval, [_example(context, source) for context in contexts])
        for interval, contexts in groupby(record.contexts, key=lambda context: context.interval)
    ]
    # The top group first, then the intervals from the strongest to the weakest
    groups.sort(key=lambda group: n_intervals if group[0] is None else group[0], reverse=True)
    return {
        "transcoder_id": source.name,
        "index": record.feature_id,
        "examples_quantiles": [
            {"quantile_name": _group_name(interval, boundaries), "examples": examples}
            for interval, examples in groups
        ],
        "top_logits": [source.effect_text(effect) for effect in record.logits.top],
        "bottom_logits": [source.effect_text(effect) for effect in record.logits.bottom],
        "act_min": 0.0,
        "act_max": record.max_activation,
        "quantile_values": boundaries,
        "histogram": record.histogram.counts,
        "activation_frequency": record.density,
    }


def _group_name(interval: int | None, boundaries: list[float]) -> str:
    if interval is None:
        return "Top activations"
    return f"Activations {boundaries[interval]:.3g} to {boundaries[interval + 1]:.3g}"


def _example(context: ContextRecord, source: ExportSource) -> dict[str, Any]:
    return {
        "tokens": source.tokens(context),
        "tokens_acts_list": context.activations,
        "train_token_ind": context.position - context.start,
        # Each text is in a list only once
        "is_repeated_datapoint": False,
    }
