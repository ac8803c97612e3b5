"""A loopback Hub for code that runs in this process, whose libraries have already read the environment."""

from __future__ import annotations

from pathlib import Path

import datasets.config
import pytest
from huggingface_hub import HfFileSystem, constants

from sitegen.sources import hub as client
from tests.loopback_hub import LoopbackHub

CHUNK_BYTES = 64_000  # an interrupted download keeps a whole number of these


def visit(hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect this process to a Hub as if started with HF_ENDPOINT and an empty HF_HOME, without pauses."""
    settings = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_ETAG_TIMEOUT": 0.3,
        "HF_HUB_DOWNLOAD_TIMEOUT": 0.2,
        "DOWNLOAD_CHUNK_SIZE": CHUNK_BYTES,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "tables")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr(client, "connection", client.Connection())
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    HfFileSystem.clear_instance_cache()
