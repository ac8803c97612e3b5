"""Wide autoencoders: what a run says about pages, disk and memory before it computes anything."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sitegen.analysis.map import feature_map
from sitegen.cli import main
from sitegen.config import AutoencoderConfig, Config, ContextConfig, CorpusConfig, ModelConfig
from sitegen.errors import SpaceError
from sitegen.memory import available_bytes, require_memory, sweep_bytes
from sitegen.space import describe_large_site
from sitegen.sweep.accumulators import Accumulator
from sitegen.sweep.state import SweepState, state_bytes
from tests.tiny import TinyInputs

GB = 1_000_000_000
# Of the one number of the error bound, which belongs to no feature
ERROR_BYTES = 8


def config(**contexts: int) -> Config:
    return Config(
        "wide",
        ModelConfig("model"),
        AutoencoderConfig(source="autoencoder"),
        CorpusConfig(seq_len=128),
        contexts=ContextConfig(**contexts),
    )


def test_a_site_that_every_host_takes_needs_no_line() -> None:
    assert describe_large_site(config(), 10_000) is None


@pytest.mark.parametrize(
    ("n_features", "contexts", "sentence"),
    [
        (
            262_144,
            {},
            "the site will have 262,144 pages and take about 12.6 GB at most; GitHub Pages takes 1.0 GB and a Space "
            "takes 10,000 files in a folder: choose features, such as --features 0-9999, or show fewer contexts, such "
            "as --set contexts.n_top=10",
        ),
        (
            12_000,
            {},
            "the site will have 12,000 pages and take about 576.0 MB at most; a Space takes 10,000 files in a folder: "
            "choose features, such as --features 0-9999",
        ),
        (
            9_000,
            {"n_top": 100},
            "the site will have 9,000 pages and take about 1.3 GB at most; GitHub Pages takes 1.0 GB: choose features, "
            "such as --features 0-6943, or show fewer contexts, such as --set contexts.n_top=50",
        ),
    ],
)
def test_a_large_site_is_told_with_what_would_make_it_smaller(
    n_features: int, contexts: dict[str, int], sentence: str
) -> None:
    assert describe_large_site(config(**contexts), n_features) == sentence


def test_the_size_of_the_state_is_that_of_its_arrays() -> None:
    for contexts in (ContextConfig(), ContextConfig(n_top=3, n_per_interval=1)):
        state = SweepState(list(range(5)), contexts)
        n_bytes = sum(_tensor_bytes(a) for a in state.accumulators.values()) - ERROR_BYTES
        entries = state.top.lists.entries().take(torch.zeros(0, dtype=torch.int64))
        an_entry = sum(getattr(entries, field.name).itemsize for field in fields(entries))
        n_entries = contexts.n_top + 64 * 2 * contexts.n_per_interval
        assert state_bytes(contexts) == n_bytes / 5 + n_entries * an_entry


def _tensor_bytes(holder: Accumulator | object) -> int:
    """Bytes of all tensors that an object holds, or that the objects in it hold."""
    if isinstance(holder, Tensor):
        return holder.nbytes
    parts = vars(holder).values() if hasattr(holder, "__dict__") else ()
    return sum(map(_tensor_bytes, parts))


def test_a_sweep_that_memory_cannot_hold_is_refused_and_a_large_one_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # States of 3 x 11 KB, columns of (8 + 4) x 512 and products of 5 x 1,024 bytes for each feature
    needed = sweep_bytes(config(), 262_144, 262_144, 512)
    assert needed == pytest.approx(262_144 * (33_000 + 6_144 + 5_120), rel=0.01)
    monkeypatch.setattr("sitegen.memory.available_bytes", lambda: 16 * GB)
    require_memory(config(), 262_144, 262_144, 512)
    assert capsys.readouterr().err == (
        "the sweep takes about 11.6 GB of memory; 16.0 GB are available\n"
    )
    require_memory(config(), 9_000, 16_384, 512)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sitegen.memory.available_bytes", lambda: 4 * GB)
    with pytest.raises(SpaceError, match=r"needs about 11\.6 GB of memory, but this machine has 4"):
        require_memory(config(), 262_144, 262_144, 512)
    # A GPU holds the encoder and the states, so only the statistics of all rows are in this memory
    require_memory(config(), 262_144, 262_144, 512, on_cpu=False)
    monkeypatch.setattr("sitegen.memory.available_bytes", lambda: None)
    require_memory(config(), 10**9, 10**9, 512)


def test_available_memory_is_a_part_of_all_memory() -> None:
    available = available_bytes()
    assert available is None or 10_000_000 < available < 10**15


def test_a_run_tells_its_size_and_stops_before_anything_is_computed(
    tiny: TinyInputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sitegen.space.FILES_A_FOLDER", 50)
    monkeypatch.setattr("sitegen.memory.available_bytes", lambda: 1000)
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path / "out")]) == 2
    *_, told, refused = capsys.readouterr().err.splitlines()
    assert told.startswith("the site will have 93 pages and take about ")
    assert "a Space takes 50 files in a folder: choose features, such as --features 0-49" in told
    assert re.fullmatch(
        r"build\.py: the sweep needs about \d\.\d MB of memory, but this machine has 0\.0 MB available: choose "
        r"features, such as --features 0-9999, or use a machine with more",
        refused,
    ), refused
    assert not (tmp_path / "out/data").exists()


def test_there_is_no_map_of_more_features_than_can_be_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    W_dec = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    assert feature_map(W_dec, 1) is not None
    monkeypatch.setattr("sitegen.analysis.map.MAX_FEATURES", 39)
    assert feature_map(W_dec, 1) is None
