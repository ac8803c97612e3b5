"""Data that a page loads when it needs it: one call with JSON in it, since pages on disk may not fetch files."""

from __future__ import annotations

import orjson

from sitegen.render.text import marked
from sitegen.render.views import SiteData


def evidence_script_name(feature_id: int) -> str:
    """Where the evidence of a feature stands in the site."""
    return f"load/evidence/{feature_id}.js"


def evidence_script(evidence: bytes) -> bytes:
    """The evidence beside a feature's record, from its JSON."""
    return _call("evidence", evidence)


def vocabulary_script(site: SiteData) -> bytes:
    """The text of every token as it is shown by itself."""
    return _call("vocabulary", orjson.dumps([marked(token) for token in site.vocabulary.tokens]))


def map_script(site: SiteData) -> bytes:
    """Places of all features, and what they are known by; null without a map."""
    plane, features = site.overview.map, site.overview.features
    value = plane and {
        "x": plane.x,
        "y": plane.y,
        "feature_id": features.feature_id,
        "density": features.density,
        "tokens": [site.names.tokens(feature_id) for feature_id in features.feature_id],
    }
    return _call("map", orjson.dumps(value))


def _call(name: str, json: bytes) -> bytes:
    return b"sitegen.data." + name.encode() + b"(" + json + b");\n"
