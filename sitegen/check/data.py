"""The data folder: checksums, schema, and that the numbers of a record agree with each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sitegen.errors import StoreError
from sitegen.file_names import CHECKSUMS, DATA, EVIDENCE, FEATURES, MANIFEST
from sitegen.files import file_sizes, sha256
from sitegen.records import (
    Ablations,
    ContextRecord,
    FeatureRecord,
    Manifest,
    NearMiss,
    kind_of,
)
from sitegen.render.feature_files import FeatureFiles
from sitegen.render.views import FeatureData
from sitegen.store import read_checksums


def listed_checksums(data: Path) -> dict[str, str]:
    """The SHA-256 of each file of the data, by its name in it.

    raises  StoreError if there is no list of them, or it is no text
    """
    if not (data / CHECKSUMS).is_file():
        raise StoreError(f"{DATA}/{CHECKSUMS} is missing")
    return read_checksums(data)


def checksum_findings(folder: Path, shown: str, expected: dict[str, str]) -> list[str]:
    """Files of a folder that are missing, strange or changed.

    shown     name of the folder in findings
    expected  SHA-256 of every file that should be there but the list of checksums itself
    """
    there = file_sizes(folder).keys() - {CHECKSUMS}
    return [
        *(f"{shown}/{name} is missing" for name in sorted(expected.keys() - there)),
        *(f"{shown}/{name} is not in {CHECKSUMS}" for name in sorted(there - expected.keys())),
        *(
            f"{shown}/{name} has another SHA-256 than {CHECKSUMS} says"
            for name in sorted(expected.keys() & there)
            if sha256(folder / name) != expected[name]
        ),
    ]


def record_findings(
    files: FeatureFiles, manifest: Manifest, d_vocab: int
) -> tuple[FeatureData | None, list[str]]:
    """(the records of a feature if they can be read, what in them contradicts itself or the manifest)."""
    try:
        data = files.data()
    except StoreError as error:
        return None, [str(error)]
    shown = f"{DATA}/{FEATURES.name(files.feature_id)}"
    others = [context for other in data.others.values() for context in other.contexts]
    lines: list[ContextRecord | NearMiss] = [
        *data.record.contexts,
        *data.evidence.near_misses,
        *others,
    ]
    unknown = [token for line in lines for token in line.tokens if token >= d_vocab]
    if unknown:
        return None, [f"{shown}: token id {unknown[0]} is not in the vocabulary of {d_vocab}"]
    findings = _contradictions(data.record, files.feature_id, manifest)
    beside = f"{DATA}/{EVIDENCE.name(files.feature_id)}"
    return data, [f"{shown}: {finding}" for finding in findings] + [
        f"{beside}: {finding}" for finding in _evidence_contradictions(data)
    ]


def count_findings(manifest: Manifest, kinds: list[str]) -> list[str]:
    """Where the manifest's counts are not those of the records whose kinds are given."""
    counts = manifest.counts
    findings = []
    if counts.n_features != len(kinds):
        findings.append(
            f"{DATA}/{MANIFEST} says {counts.n_features} features, {DATA}/{FEATURES.folder} holds {len(kinds)}"
        )
    for kind, n in counts.n_of_kind.items():
        if n != kinds.count(kind):
            findings.append(
                f"{DATA}/{MANIFEST} says {n} {kind} features, the records {kinds.count(kind)}"
            )
    return findings


def _contradictions(record: FeatureRecord, feature_id: int, manifest: Manifest) -> list[str]:
    counts = manifest.counts
    top = [context for context in record.contexts if context.group == "top"]
    strongest = max((context.activation for context in record.contexts), default=0.0)
    n_on_text = record.n_active - record.special.n_active
    claims = {
        "feature_id is not the file's": record.feature_id == feature_id,
        "density is not n_active over the positions read": record.density
        == record.n_active / counts.n_positions,
        "kind does not fit the density": record.kind == kind_of(record.density),
        "max_activation is not that of the strongest context": record.max_activation == strongest,
        "the top contexts are not in order": top
        == sorted(top, key=lambda c: (-c.activation, c.row, c.position)),
        "the histogram does not hold all firings on text": sum(record.histogram.counts)
        == n_on_text,
        "the logit histogram does not hold the vocabulary": sum(record.logits.histogram.counts)
        == counts.d_vocab,
        "mean_active is above the largest activation": record.mean_active
        <= max(record.max_activation, record.special.max_activation) * (1 + 1e-6),
    }
    findings = [claim for claim, holds in claims.items() if not holds]
    for context in record.contexts:
        place = f"context {context.row}/{context.position}"
        peak = context.position - context.start
        if len(context.tokens) != len(context.activations) or not 0 <= peak < len(context.tokens):
            findings.append(f"{place}: tokens, activations and peak do not fit together")
        elif context.activations[peak] != context.activation:
            findings.append(f"{place}: the activation at the peak is not the context's")
        elif context.tokens[peak] in manifest.special_ids:
            findings.append(f"{place}: the peak is a special token")
    for name, effects, sign in (
        ("top", record.logits.top, -1),
        ("bottom", record.logits.bottom, 1),
    ):
        if effects != sorted(effects, key=lambda effect: (sign * effect.value, effect.id)):
            findings.append(f"the {name} logit effects are not in order")
    if not all(map(math.isfinite, [record.density, record.mean_active, record.max_activation])):
        findings.append("a number is not finite")
    return findings


def _evidence_contradictions(data: FeatureData) -> list[str]:
    """Where the evidence does not fit the record that it stands beside."""
    record, evidence = data.record, data.evidence
    findings = []
    if evidence.feature_id != record.feature_id:
        findings.append("feature_id is not the file's")
    for miss in evidence.near_misses:
        at = miss.position - miss.start
        if len(miss.tokens) != len(miss.activations) or not 0 <= at < len(miss.tokens):
            findings.append(f"near miss {miss.row}/{miss.position}: its tokens do not fit together")
        elif miss.activations[at]:
            findings.append(f"near miss {miss.row}/{miss.position}: the feature fires there")
    if evidence.ablation is not None:
        findings += _ablation_contradictions(evidence.ablation, record)
    return findings


def _ablation_contradictions(ablation: Ablations, record: FeatureRecord) -> list[str]:
    firing = [
        (i, offset)
        for i, context in enumerate(record.contexts)
        for offset, activation in enumerate(context.activations)
        if activation
    ]
    if [*zip(ablation.context, ablation.offset, strict=False)] != firing:
        return ["the ablations are not of the tokens that the feature fires on"]
    parts: list[list[Any]] = [
        ablation.loss_change,
        ablation.promoted_id,
        ablation.promoted_change,
        ablation.suppressed_id,
        ablation.suppressed_change,
    ]
    if any(len(part) != len(firing) for part in parts):
        return ["the ablations' lists do not run parallel"]
    return []
