"""Scripts with data, which pages load on demand: a page opened from disk may load scripts, but not fetch files."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import orjson
from markupsafe import Markup

from sitegen.file_names import (
    EVIDENCE_SCRIPTS,
    FEATURES_SCRIPT,
    LINES_SCRIPT,
    LOAD,
    MAP_SCRIPT,
    TERMS_SCRIPT,
    VOCABULARY_SCRIPT,
)
from sitegen.records import KINDS, EvidenceRecord
from sitegen.render.packing import data_call
from sitegen.render.text import visible
from sitegen.render.views import FeatureSummary, SiteData

DEFINITION = re.compile(r"<dt id=([\w-]+)>(.*?)</dt>\s*<dd>(.*?)</dd>", re.DOTALL)


def call(name: str, json: bytes, repeats: bool = True) -> tuple[str, bytes]:
    """(file name, content) of a script that hands over a value, by the script's file name.

    repeats  as in `data_call`
    """
    return name, data_call(loaded_as(name), json, repeats)


def loaded_as(name: str) -> str:
    """The name by which pages ask for a script, from its file name."""
    return name.removeprefix(f"{LOAD}/").removesuffix(".js")


def evidence_scripts(record: EvidenceRecord) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of a feature's ablations with the digits that pages show; nothing if it has none.

    Changes are in thousandths of a nat. Tokens and their changes are in one list for each rank, and every change but
    the first is the difference from that of the rank before, which compresses well. Near misses are left out, since
    the page shows them.
    """
    ablation = record.ablation
    if ablation is None:
        return
    value = {
        "context": ablation.context,
        "offset": ablation.offset,
        "loss_change": [None if c is None else round(1000 * c) for c in ablation.loss_change],
        "promoted_id": list(zip(*ablation.promoted_id, strict=True)),
        "promoted_change": _steps_by_rank(ablation.promoted_change),
        "suppressed_id": list(zip(*ablation.suppressed_id, strict=True)),
        "suppressed_change": _steps_by_rank(ablation.suppressed_change),
    }
    yield call(EVIDENCE_SCRIPTS.name(record.feature_id), orjson.dumps(value))


def _steps_by_rank(changes: list[list[float]]) -> list[list[int]]:
    """For each rank the changes in thousandths, less those of the rank before.

    changes  by token, then by rank
    """
    thousandths = np.rint(1000 * np.array(changes, ndmin=2)).astype(int).T
    steps: list[list[int]] = np.diff(thousandths, axis=0, prepend=0).tolist()
    return steps


def whole_scripts(site: SiteData, summaries: list[FeatureSummary]) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of the vocabulary, the table of all features in two parts, and the map.

    The table is split because a browser parses a script in one go, during which the page does not respond: a megabyte
    or so per file keeps that short.
    """
    tokens = site.vocabulary.tokens
    fragments = {str(i): list(token) for i, token in enumerate(tokens) if isinstance(token, bytes)}
    texts = [visible(token) for token in tokens]
    # "bytes" holds the tokens that are not whole characters
    yield call(VOCABULARY_SCRIPT, orjson.dumps({"text": texts, "bytes": fragments}))
    yield call(FEATURES_SCRIPT, orjson.dumps(_feature_columns(site, summaries)))
    lines = {name: [getattr(s, name) for s in summaries] for name in ("before", "peak", "after")}
    yield call(LINES_SCRIPT, orjson.dumps(lines))
    plane, ids = site.overview.map, site.overview.features.feature_id
    value = plane and {"feature_id": ids, "x": plane.x, "y": plane.y}
    yield call(MAP_SCRIPT, orjson.dumps(value))


def terms_script(about: str) -> tuple[str, bytes]:
    """(file name, content) of the about page's glossary by anchor: [term, definition] as plain text."""
    found = DEFINITION.findall(about)
    terms = {
        anchor: [Markup(part).striptags() for part in (word, explanation)]
        for anchor, word, explanation in found
    }
    return call(TERMS_SCRIPT, orjson.dumps(terms))


def _feature_columns(site: SiteData, summaries: list[FeatureSummary]) -> dict[str, object]:
    """The table of all features, column by column; numbers with the digits that a list shows or sorts by."""
    table = site.overview.features
    facts = {
        feature_id: (cosine, tokens)
        for feature_id, cosine, tokens in zip(
            table.feature_id, table.rare_cosine, table.tokens, strict=True
        )
    }
    known = [facts.get(summary.feature_id, (None, [])) for summary in summaries]
    return {
        "kinds": KINDS,
        "feature_id": [summary.feature_id for summary in summaries],
        "kind": [KINDS.index(summary.kind) for summary in summaries],
        "density": [_rounded(summary.density) for summary in summaries],
        "max_activation": [_rounded(summary.max_activation) for summary in summaries],
        "rare_cosine": [None if cosine is None else round(cosine, 4) for cosine, _ in known],
        "tokens": [tokens for _, tokens in known],
        "promoted": [summary.promoted_ids for summary in summaries],
        "labels": {
            str(index): [{"label": label.label, "author": label.author} for label in summary.labels]
            for index, summary in enumerate(summaries)
            if summary.labels
        },
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
