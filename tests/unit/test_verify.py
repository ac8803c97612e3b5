"""Published numbers: computed alone, or taken from what a run has measured already, with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sitegen.analysis import quality
from sitegen.analysis.quality import LEAST_BATCH_ROWS, MULTIPLICATIONS, choose_rows, measure_quality
from sitegen.analysis.sample import read_sample
from sitegen.config import AnalysisConfig, Config, load_config
from sitegen.records import PublishedNumber
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sweep.reader import RowReader
from sitegen.sweep.state import SweepState
from sitegen.verify import numbers
from sitegen.verify.numbers import Measured, verify
from tests.tiny import D_HIDDEN, SEQ_LEN, TinyInputs

N_LOSS_ROWS, N_FREQUENCY_ROWS = 200, 300


def number(value: float) -> dict[str, float]:
    return {"value": value, "tolerance": 0.1}


PUBLISHED: dict[str, Any] = {
    "losses": {
        "n_rows": N_LOSS_ROWS,
        "loss": number(6.7),
        "loss_reconstructed": number(6.7),
        "loss_zero_ablated": number(6.7),
    },
    "frequencies": {
        "n_rows": N_FREQUENCY_ROWS,
        "n_dead": number(1),
        "density": {"feature": 5, **number(0.1)},
        "rare_share_along_direction": number(1.0),
    },
}


@pytest.fixture(scope="module")
def config(tiny: TinyInputs) -> Config:
    return load_config(str(tiny.preset))


@pytest.fixture(scope="module")
def inputs(config: Config) -> Inputs:
    return load_inputs(config)


@pytest.fixture(scope="module")
def alone(inputs: Inputs, config: Config) -> list[PublishedNumber]:
    return list(verify(inputs, config, PUBLISHED))


@pytest.fixture(scope="module")
def measured(inputs: Inputs, config: Config) -> Measured:
    """A sample of 500 rows and figures of 150, as configured, and of the 50 more that are published."""
    sample = read_sample(inputs, config)
    own, figures = measure_quality(inputs, sample, config, N_LOSS_ROWS)
    assert (own.n_rows, figures.n_rows) == (150, N_LOSS_ROWS)
    return Measured(sample, figures)


def refuse(*_: Any) -> None:
    raise AssertionError("measured again")


def test_what_a_run_has_measured_is_not_measured_again(
    inputs: Inputs,
    config: Config,
    alone: list[PublishedNumber],
    measured: Measured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("read_sample", "measure_quality"):
        monkeypatch.setattr(numbers, name, refuse)
    read: list[range] = []

    def reading(self: RowReader, rows: range) -> Iterator[Any]:
        read.append(rows)
        return iter(())

    monkeypatch.setattr(RowReader, "read", reading)
    assert list(verify(inputs, config, PUBLISHED, measured)) == alone
    assert all(len(rows) == 0 for rows in read)
    assert "200 rows" in alone[0].name


def test_rows_beyond_the_sample_are_read_once(
    inputs: Inputs, config: Config, alone: list[PublishedNumber], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample of `verify` alone has the rows of the losses; the densities are over more rows."""
    read, real = [], RowReader.read

    def reading(self: RowReader, rows: range) -> Any:
        read.append(rows)
        return real(self, rows)

    monkeypatch.setattr(RowReader, "read", reading)
    assert list(verify(inputs, config, PUBLISHED)) == alone
    assert [row for rows in read for row in rows] == list(range(N_FREQUENCY_ROWS))


def test_a_sweep_of_all_features_gives_the_densities(
    inputs: Inputs, config: Config, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowReader, "read", refuse)
    state = SweepState(inputs.feature_ids, config.contexts)
    n_rows = len(inputs.rows.tokens)
    state.counts.n_positions = n_rows * SEQ_LEN
    state.counts.n_active = torch.arange(D_HIDDEN)
    of_sweep = Measured(measured.sample, measured.figures, state.result())
    found = list(verify(inputs, config, PUBLISHED, of_sweep))
    density = next(one for one in found if one.name.startswith("density of feature 5"))
    assert density.name == f"density of feature 5 over {n_rows:,} rows"
    assert density.computed == f"{5 / (n_rows * SEQ_LEN):.4f}"


def test_a_shorter_sample_is_read_again_for_published_losses(
    tiny: TinyInputs, inputs: Inputs, config: Config, alone: list[PublishedNumber]
) -> None:
    short = load_config(str(tiny.preset), {"analysis.n_rows": 60, "analysis.n_quality_rows": 50})
    sample = read_sample(inputs, short)
    _, figures = measure_quality(inputs, sample, short, N_LOSS_ROWS)
    assert list(verify(inputs, config, PUBLISHED, Measured(sample, figures))) == alone


def test_losses_of_a_large_model_are_measured_on_fewer_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = AnalysisConfig()
    assert choose_rows(usual, int(MULTIPLICATIONS / 320)) == (320, 64)
    assert capsys.readouterr().err == ""
    assert choose_rows(usual, int(MULTIPLICATIONS / 100)) == (100, 20)
    assert "losses are measured on 100 rows instead of 320" in capsys.readouterr().err
    assert choose_rows(usual, int(MULTIPLICATIONS)) == (5 * LEAST_BATCH_ROWS, LEAST_BATCH_ROWS)
    asked = AnalysisConfig(n_quality_rows=320)
    assert choose_rows(asked, int(MULTIPLICATIONS)) == (320, 64)


def test_the_number_of_rows_depends_on_the_models_size(
    tiny: TinyInputs, inputs: Inputs, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "MULTIPLICATIONS", 1)
    default = load_config(str(tiny.preset), {"analysis.n_quality_rows": 0})
    found, _ = measure_quality(inputs, measured.sample, default)
    assert (found.n_rows, found.batch_rows) == (5 * LEAST_BATCH_ROWS, LEAST_BATCH_ROWS)
