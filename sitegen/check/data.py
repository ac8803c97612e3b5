"""The data folder: checksums, schema, and that the numbers of a record agree with each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sitegen.errors import StoreError
from sitegen.files import sha256
from sitegen.records import FeatureRecord, kind_of
from sitegen.store import CHECKSUMS, read_feature


def checksum_findings(data: Path, copy: Path) -> list[str]:
    """Files of `data`, and of the site's `copy` of it, that are missing, strange or changed."""
    path = data / CHECKSUMS
    if not path.is_file():
        return [f"data/{CHECKSUMS} is missing"]
    try:
        text = path.read_text("ascii")
    except UnicodeDecodeError:
        return [f"data/{CHECKSUMS} is no list of checksums"]
    listed = {
        name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())
    }
    findings = []
    for folder, shown in ((data, "data"), (copy, "site/data")):
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {
            CHECKSUMS
        }
        findings += [f"{shown}/{name} is missing" for name in sorted(listed.keys() - there)]
        findings += [
            f"{shown}/{name} is not in {CHECKSUMS}" for name in sorted(there - listed.keys())
        ]
        changed = [
            name for name in sorted(listed.keys() & there) if sha256(folder / name) != listed[name]
        ]
        findings += [
            f"{shown}/{name} has another SHA-256 than {CHECKSUMS} says" for name in changed
        ]
    return findings


def record_findings(
    path: Path, manifest: dict[str, Any], d_vocab: int
) -> tuple[FeatureRecord | None, list[str]]:
    """(the record if it can be read, what in it contradicts itself or the manifest)."""
    try:
        record = read_feature(path)
    except StoreError as error:
        return None, [str(error)]
    shown = f"data/features/{path.name}"
    unknown = [t for context in record.contexts for t in context.tokens if t >= d_vocab]
    if unknown:
        return None, [f"{shown}: token id {unknown[0]} is not in the vocabulary of {d_vocab}"]
    return record, [f"{shown}: {finding}" for finding in _contradictions(record, path, manifest)]


def count_findings(manifest: dict[str, Any], kinds: list[str]) -> list[str]:
    """Where the manifest's counts are not those of the records whose kinds are given."""
    counts = manifest["counts"]
    findings = []
    if counts["n_features"] != len(kinds):
        findings.append(
            f"data/manifest.json says {counts['n_features']} features, data/features holds {len(kinds)}"
        )
    for kind, n in counts["n_of_kind"].items():
        if n != kinds.count(kind):
            findings.append(
                f"data/manifest.json says {n} {kind} features, the records {kinds.count(kind)}"
            )
    return findings


def _contradictions(record: FeatureRecord, path: Path, manifest: dict[str, Any]) -> list[str]:
    counts = manifest["counts"]
    top = [context for context in record.contexts if context.group == "top"]
    strongest = max((context.activation for context in record.contexts), default=0.0)
    n_on_text = record.n_active - record.special.n_active
    claims = {
        "feature_id is not the file's": record.feature_id == int(path.stem),
        "density is not n_active over the positions read": record.density
        == record.n_active / counts["n_positions"],
        "kind does not fit the density": record.kind == kind_of(record.density),
        "max_activation is not that of the strongest context": record.max_activation == strongest,
        "the top contexts are not in order": top
        == sorted(top, key=lambda c: (-c.activation, c.row, c.position)),
        "the histogram does not hold all firings on text": sum(record.histogram.counts)
        == n_on_text,
        "the logit histogram does not hold the vocabulary": sum(record.logits.histogram.counts)
        == counts["d_vocab"],
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
        elif context.tokens[peak] in manifest["special_ids"]:
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
