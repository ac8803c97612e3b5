"""Hashes that tell contents and autoencoders apart. Free of Jinja, for exports too."""

from __future__ import annotations

import hashlib

import msgspec

from sitegen.records import Manifest

# Hexadecimal digits of a SHA-256: enough to rule out collisions by chance
N_DIGITS = 32


def digest(*contents: bytes) -> str:
    """A hash of several contents. Each is preceded by its length, so that moving bytes between them changes it."""
    found = hashlib.sha256()
    for content in contents:
        found.update(len(content).to_bytes(8, "big") + content)
    return found.hexdigest()[:N_DIGITS]


def autoencoder_key(manifest: Manifest) -> str:
    """A short key that tells the features of one preset and its sources from those of another."""
    return digest(manifest.preset.encode(), repr(msgspec.to_builtins(manifest.sources)).encode())[
        :8
    ]
