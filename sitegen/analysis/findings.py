"""The analysis after the sweep, part by part; parts that take long are kept on disk until the run has finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sitegen.analysis.context_records import ContextRecords
from sitegen.analysis.contexts import (
    ContextActivations,
    choose_contexts,
    count_copies,
    read_contexts,
)
from sitegen.analysis.map import feature_map
from sitegen.analysis.near_misses import NearMisses, find_near_misses
from sitegen.analysis.quality import BatchFigures, measure_quality
from sitegen.analysis.relations import Relations, find_relations
from sitegen.analysis.sample import Sample, read_sample
from sitegen.analysis.second_autoencoder import OtherContexts, find_other_contexts
from sitegen.config import Config
from sitegen.parts import KeptParts
from sitegen.records import FeatureMap, Fit, PublishedNumber, Quality
from sitegen.sources.inputs import Inputs
from sitegen.sweep.state import SweepResult
from sitegen.verify.numbers import Measured, verify


@dataclass(frozen=True)
class Findings:
    """All results of the sweep and the analysis, from which records are made."""

    swept: SweepResult
    fit: Fit
    shown: ContextActivations
    contexts: ContextRecords
    sample: Sample
    relations: Relations
    near_misses: NearMisses
    other_contexts: OtherContexts | None
    quality: Quality
    map: FeatureMap | None
    published: list[PublishedNumber]


def find_all(
    swept: SweepResult,
    fit: Fit,
    inputs: Inputs,
    config: Config,
    published: dict[str, Any] | None,
    parts: KeptParts,
) -> Findings:
    """Compute all results; those that take long are kept, and loaded if an interrupted run has kept them.

    swept      of the sweep over all rows
    published  numbers that others published for these inputs, to be recomputed and compared; None if there are none
    """
    rows, ids = inputs.rows.tokens, np.array(inputs.feature_ids)
    table = choose_contexts(swept, config, rows.shape[1])
    shown = parts.get("contexts", ContextActivations, lambda: read_contexts(table, inputs, config))
    copies = parts.get("copies", np.ndarray, lambda: count_copies(table, rows, config))
    sample = parts.get("sample", Sample, lambda: read_sample(inputs, config))
    relations = parts.get(
        "relations", Relations, lambda: find_relations(inputs, table, sample, config)
    )
    near_misses = parts.get(
        "misses", NearMisses, lambda: find_near_misses(table, sample, rows, ids, config)
    )
    other = None
    if sample.second is not None:
        other = find_other_contexts(sample.second, inputs, sample, config)
    n_published = published["losses"]["n_rows"] if published and "losses" in published else 0
    quality, figures = parts.get(
        "quality",
        tuple[Quality, BatchFigures],
        lambda: measure_quality(inputs, sample, config, n_published),
    )
    W_dec = inputs.autoencoder.W_dec.cpu().numpy()[inputs.feature_ids]
    layout = parts.get("map", FeatureMap | None, lambda: feature_map(W_dec, config.corpus.seed))
    numbers = parts.get(
        "published",
        list[PublishedNumber],
        lambda: (
            list(verify(inputs, config, published, Measured(sample, figures, swept)))
            if published
            else []
        ),
    )
    contexts = ContextRecords(table, shown.activations, copies, rows)
    return Findings(
        swept=swept,
        fit=fit,
        shown=shown,
        contexts=contexts,
        sample=sample,
        relations=relations,
        near_misses=near_misses,
        other_contexts=other,
        quality=quality,
        map=layout,
        published=numbers,
    )
