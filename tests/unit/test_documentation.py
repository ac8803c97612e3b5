"""Every command, configuration field, record field and Makefile target that is used is written of."""

from __future__ import annotations

import dataclasses
import re
import typing

import pytest

from sitegen import records
from sitegen.cli import _parser
from sitegen.config import Config
from tests.conftest import REPOSITORY


def test_every_command_is_in_the_readme() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    actions = [action for action in _parser()._actions if action.choices]
    commands = list(actions[0].choices or [])
    assert {"run", "sweep", "render", "check", "serve", "presets"} <= set(commands)
    for command in commands:
        assert f"build.py {command}" in readme


@pytest.mark.parametrize(
    "section", [f.name for f in dataclasses.fields(Config) if f.name != "preset"]
)
def test_every_configuration_field_is_documented(section: str) -> None:
    documented = (REPOSITORY / "docs/configuration.md").read_text("utf-8")
    for field in dataclasses.fields(typing.get_type_hints(Config)[section]):
        assert f"`{section}.{field.name}`" in documented


@pytest.mark.parametrize(
    "record",
    [
        records.FeatureRecord,
        records.ContextRecord,
        records.LogitEffects,
        records.Histogram,
        records.LogitEffect,
        records.Neighbours,
        records.CoactiveFeature,
        records.ContextNeighbour,
        records.Neurons,
        records.NeuronWeight,
        records.NeuronCorrelation,
        records.RunMatch,
        records.Match,
        records.EvidenceRecord,
        records.NearMiss,
        records.Ablations,
        records.OtherRecord,
        records.Overview,
        records.Fit,
        records.FitCandidate,
        records.FeatureTable,
        records.Frequencies,
        records.Split,
        records.Group,
        records.Box,
        records.FeatureMap,
        records.TwoRuns,
        records.PublishedNumber,
    ],
)
def test_every_record_field_is_documented(record: type) -> None:
    documented = (REPOSITORY / "docs/data-format.md").read_text("utf-8")
    for field in dataclasses.fields(record):
        assert re.search(rf"\b{field.name}\b", documented), field.name


def test_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for document in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]:
        for target in re.findall(r"`make ([a-z-]+)`", document.read_text("utf-8")):
            assert target in targets, f"{document.name} speaks of make {target}"


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for document in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"
