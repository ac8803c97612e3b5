"""Export in Neuronpedia's bulk format: gzipped JSON lines, 1,024 features per file.

source  hijohnnylin/neuronpedia, utils/neuronpedia-utils/neuronpedia_utils/export-data.py
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from sitegen.export.source import ExportSource, bin_middles
from sitegen.records import FeatureRecord
from sitegen.render.intervals import interval_boundaries, shares_between

FEATURES_A_FILE = 1024
# Bounds and share of the top group, in Neuronpedia's own exports too
NO_INTERVAL = -1
# Type of every explanation, since labels have no type; it is shown where a label has no author
EXPLANATION_TYPE = "labels"


def write_neuronpedia(source: ExportSource, folder: Path) -> None:
    """Write batch-N.jsonl.gz files to features/, activations/ and, if there are labels, explanations/."""
    batches = source.batches("neuronpedia", FEATURES_A_FILE)
    for number, records in enumerate(batches):
        lines = {
            "features": (_feature(record, source) for record in records),
            "activations": (line for record in records for line in _activations(record, source)),
            "explanations": (line for record in records for line in _explanations(record, source)),
        }
        for kind, values in lines.items():
            content = b"".join(orjson.dumps(value) + b"\n" for value in values)
            if content or kind != "explanations":
                path = folder / kind / f"batch-{number}.jsonl.gz"
                path.parent.mkdir(exist_ok=True)
                # Without a time stamp, so that the same data gives the same bytes
                path.write_bytes(gzip.compress(content, mtime=0))


def _feature_key(record: FeatureRecord, source: ExportSource) -> dict[str, str]:
    return {"modelId": source.model, "layer": source.name, "index": str(record.feature_id)}


def _feature(record: FeatureRecord, source: ExportSource) -> dict[str, Any]:
    neurons, near = record.neurons, record.neighbours.decoder
    weights, correlated = (neurons.weights, neurons.correlated) if neurons else ([], [])
    return {
        **_feature_key(record, source),
        "hookName": source.manifest.config.model.hook_point,
        "maxActApprox": record.max_activation,
        "frac_nonzero": record.density,
        "freq_hist_data_bar_heights": record.histogram.counts,
        "freq_hist_data_bar_values": bin_middles(record.histogram),
        "logits_hist_data_bar_heights": record.logits.histogram.counts,
        "logits_hist_data_bar_values": bin_middles(record.logits.histogram),
        "pos_str": [source.effect_text(effect) for effect in record.logits.top],
        "pos_values": [effect.value for effect in record.logits.top],
        "neg_str": [source.effect_text(effect) for effect in record.logits.bottom],
        "neg_values": [effect.value for effect in record.logits.bottom],
        "neuron_alignment_indices": [one.neuron for one in weights],
        "neuron_alignment_values": [one.weight for one in weights],
        "neuron_alignment_l1": [one.share for one in weights],
        "correlated_neurons_indices": [one.neuron for one in correlated],
        "correlated_neurons_pearson": [one.correlation for one in correlated],
        # Not computed: it is neither a cosine nor a correlation
        "correlated_neurons_l1": [],
        "topkCosSimIndices": [one.feature_id for one in near],
        "topkCosSimValues": [one.cosine for one in near],
        "decoder_weights_dist": [],
        "vector": [],
        "hasVector": False,
    }


def _activations(record: FeatureRecord, source: ExportSource) -> Iterator[dict[str, Any]]:
    n_intervals = source.manifest.config.contexts.n_intervals
    boundaries = interval_boundaries(record.max_activation, n_intervals)
    shares = shares_between(record.histogram, boundaries) if record.contexts else []
    for index, context in enumerate(record.contexts):
        i, peak = context.interval, context.position - context.start
        yield {
            "id": f"{source.model}-{source.name}-{record.feature_id}-{index}",
            **_feature_key(record, source),
            "tokens": source.tokens(context),
            "values": context.activations,
            "maxValue": max(context.activations),
            "maxValueTokenIndex": context.activations.index(max(context.activations)),
            "minValue": min(context.activations),
            "qualifyingTokenIndex": peak,
            "binMin": NO_INTERVAL if i is None else boundaries[i],
            "binMax": record.max_activation if i is None else boundaries[i + 1],
            "binContains": NO_INTERVAL if i is None else shares[i],
            "dataIndex": f"{context.row}/{context.position}",
            "dataSource": source.manifest.sources["corpus"].name,
        }


def _explanations(record: FeatureRecord, source: ExportSource) -> Iterator[dict[str, Any]]:
    for number, label in enumerate(source.labels.get(record.feature_id, [])):
        yield {
            "id": f"{source.model}-{source.name}-{record.feature_id}-{number}",
            **_feature_key(record, source),
            "description": label.label,
            "typeName": EXPLANATION_TYPE,
            "explanationModelName": label.author or None,
        }
