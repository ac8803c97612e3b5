"""Export as two Parquet tables: one row per feature, and one row per context."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sitegen.export.source import ExportSource
from sitegen.records import FeatureRecord

# Features in each row group of a file; readers load whole groups
FEATURES_A_GROUP = 1024

FEATURES = pa.schema(
    {
        "feature_id": pa.int64(),
        "kind": pa.string(),
        "density": pa.float64(),
        "n_active": pa.int64(),
        "max_activation": pa.float64(),
        "mean_active": pa.float64(),
        "n_active_special": pa.int64(),
        "max_activation_special": pa.float64(),
        "rare_cosine": pa.float64(),
        "histogram_edges": pa.list_(pa.float64()),
        "histogram_counts": pa.list_(pa.int64()),
        "top_id": pa.list_(pa.int64()),
        "top_token": pa.list_(pa.string()),
        "top_effect": pa.list_(pa.float64()),
        "bottom_id": pa.list_(pa.int64()),
        "bottom_token": pa.list_(pa.string()),
        "bottom_effect": pa.list_(pa.float64()),
        "decoder_neighbours": pa.list_(pa.int64()),
        "decoder_cosines": pa.list_(pa.float64()),
        "encoder_neighbours": pa.list_(pa.int64()),
        "encoder_cosines": pa.list_(pa.float64()),
        "labels": pa.list_(pa.string()),
    }
)
CONTEXTS = pa.schema(
    {
        "feature_id": pa.int64(),
        "group": pa.string(),
        "interval": pa.int64(),
        "rank": pa.int64(),
        "row": pa.int64(),
        "position": pa.int64(),
        "start": pa.int64(),
        "activation": pa.float64(),
        "copies": pa.int64(),
        "token_ids": pa.list_(pa.int64()),
        "tokens": pa.list_(pa.string()),
        "activations": pa.list_(pa.float64()),
        "text": pa.string(),
    }
)


def write_parquet(source: ExportSource, folder: Path) -> None:
    """Write features.parquet and contexts.parquet."""
    with (
        pq.ParquetWriter(folder / "features.parquet", FEATURES) as features,
        pq.ParquetWriter(folder / "contexts.parquet", CONTEXTS) as contexts,
    ):
        for records in source.batches("parquet", FEATURES_A_GROUP):
            rows = [_feature(record, source) for record in records]
            features.write_table(pa.Table.from_pylist(rows, FEATURES))
            rows = [row for record in records for row in _contexts(record, source)]
            contexts.write_table(pa.Table.from_pylist(rows, CONTEXTS))


def _feature(record: FeatureRecord, source: ExportSource) -> dict[str, Any]:
    effects = {
        f"{end}_{column}": [value(effect) for effect in listed]
        for end, listed in (("top", record.logits.top), ("bottom", record.logits.bottom))
        for column, value in (
            ("id", lambda effect: effect.id),
            ("token", source.effect_text),
            ("effect", lambda effect: effect.value),
        )
    }
    near = {"decoder": record.neighbours.decoder, "encoder": record.neighbours.encoder}
    return {
        "feature_id": record.feature_id,
        "kind": record.kind,
        "density": record.density,
        "n_active": record.n_active,
        "max_activation": record.max_activation,
        "mean_active": record.mean_active,
        "n_active_special": record.special.n_active,
        "max_activation_special": record.special.max_activation,
        "rare_cosine": record.rare_cosine,
        "histogram_edges": record.histogram.edges,
        "histogram_counts": record.histogram.counts,
        **effects,
        **{f"{name}_neighbours": [one.feature_id for one in near[name]] for name in near},
        **{f"{name}_cosines": [one.cosine for one in near[name]] for name in near},
        "labels": [label.label for label in source.labels.get(record.feature_id, [])],
    }


def _contexts(record: FeatureRecord, source: ExportSource) -> Iterator[dict[str, Any]]:
    for context in record.contexts:
        tokens = source.tokens(context)
        yield {
            "feature_id": record.feature_id,
            "group": context.group,
            "interval": context.interval,
            "rank": context.rank,
            "row": context.row,
            "position": context.position,
            "start": context.start,
            "activation": context.activation,
            "copies": context.copies,
            "token_ids": context.tokens,
            "tokens": tokens,
            "activations": context.activations,
            "text": "".join(tokens),
        }
