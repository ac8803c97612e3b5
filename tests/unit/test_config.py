"""Every number of a configuration at, below and above its bounds."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any, cast

import pytest

from sitegen.cli import main
from sitegen.config import Config, bounds_of, build_config
from sitegen.errors import UsageError
from tests.conftest import REPOSITORY
from tests.tiny import TinyInputs

TABLE: dict[str, Any] = {
    "model": {"name": "gelu-1l"},
    "autoencoder": {"source": "run1"},
    "corpus": {"dataset": "some/text"},
}
NUMBERS = {
    f"{section}.{name}": bounds
    for section, kind in typing.get_type_hints(Config).items()
    if dataclasses.is_dataclass(kind)
    for name, bounds in bounds_of(cast(Any, kind)).items()
}
# Values that other fields need before a bound is allowed
TOGETHER = {
    "analysis.n_rows": {"analysis.n_quality_rows": 1},
    "analysis.n_quality_rows": {"analysis.n_rows": 10**9},
}


def with_value(field: str, value: float) -> Config:
    return build_config("mine", TABLE, REPOSITORY, {**TOGETHER.get(field, {}), field: value})


def test_every_number_has_bounds() -> None:
    hints = typing.get_type_hints(Config)
    numbers = {
        f"{section}.{name}"
        for section, kind in hints.items()
        if dataclasses.is_dataclass(kind)
        for name, wanted in typing.get_type_hints(kind).items()
        if wanted in (int, float)
    }
    assert numbers == set(NUMBERS)
    assert len(numbers) > 20


@pytest.mark.parametrize("field", NUMBERS)
def test_bounds_are_enforced(field: str) -> None:
    least, most = NUMBERS[field]
    section, _, name = field.partition(".")
    for value in (least, most):
        assert getattr(getattr(with_value(field, value), section), name) == value
    for value in (least - 1, most + 1, -(10**30), 10**30):
        with pytest.raises(UsageError, match=rf"^{field} is -?[\d.e+]+: give [\d,]+ to [\d,]+$"):
            with_value(field, value)
    for wrong in ("many", "", "1e999", "nan", [1], True, None):
        with pytest.raises(UsageError, match=rf"^{field} is "):
            with_value(field, wrong)  # type: ignore[arg-type]  # a TOML file may have this value


@pytest.mark.slow
@pytest.mark.parametrize("end", [0, 1])
def test_a_run_succeeds_with_every_number_at_a_bound(
    tiny: TinyInputs, tmp_path: Path, end: int
) -> None:
    """All numbers at once, except those that would need more rows, features or tokens than exist."""
    bounds = {
        field: bound[end]
        for field, bound in NUMBERS.items()
        if not field.startswith("autoencoder.")  # declared values are compared with the run
    }
    if end == 1:  # a row is no longer than the model reads
        bounds |= {"corpus.seq_len": 64, "analysis.batch_rows": 48}
    else:
        bounds |= {"corpus.seq_len": 2, "corpus.n_rows": 96}
    flags = [part for field, value in bounds.items() for part in ("--set", f"{field}={value}")]
    command = ["run", str(tiny.preset), "--out", str(tmp_path / "out"), *flags]
    assert main([*command, "--features", "0-1"]) == 0
