"""Quality, geometry, matches, near misses and ablation of the tiny inputs against a plain recomputation."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sitegen.analysis.map import feature_map
from sitegen.analysis.quality import measure_quality
from sitegen.analysis.sample import read_sample
from sitegen.cli import main
from sitegen.config import load_config
from sitegen.records import log_density
from sitegen.sources.inputs import load_inputs
from tests.brute_force import near
from tests.brute_force_analysis import PlainAnalysis, correlations, cosines
from tests.tiny import D_HIDDEN, SEQ_LEN, TinyInputs

N_SAMPLE, N_QUALITY, BATCH = 500, 150, 50
FEATURES = range(D_HIDDEN)


@pytest.fixture(scope="module")
def plain(tiny: TinyInputs) -> PlainAnalysis:
    return PlainAnalysis.of(tiny)


@pytest.fixture(scope="module")
def records(tiny_output: Path) -> list[dict[str, Any]]:
    return [_read(tiny_output, "features", feature) for feature in FEATURES]


@pytest.fixture(scope="module")
def evidence(tiny_output: Path) -> list[dict[str, Any]]:
    return [_read(tiny_output, "evidence", feature) for feature in FEATURES]


@pytest.fixture(scope="module")
def overview(tiny_output: Path) -> dict[str, Any]:
    overview: dict[str, Any] = json.loads((tiny_output / "data/overview.json").read_text())
    return overview


def _read(out: Path, kind: str, feature: int) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / f"data/{kind}/{feature:05d}.json").read_text())
    return record


def exact(value: Any) -> Any:
    """Approximately equal, to 1e-5, as float32 directions allow."""
    return pytest.approx(value, abs=1e-5)


def test_quality_equals_a_plain_recomputation(
    overview: dict[str, Any], plain: PlainAnalysis
) -> None:
    quality = overview["quality"]
    mean = plain.x[:N_SAMPLE].flatten(0, 1).mean(0)
    batches = []
    for first in range(0, N_QUALITY, BATCH):
        rows = slice(first, first + BATCH)
        x, recons, f = plain.x[rows], plain.reconstruction(rows), plain.f[rows]
        loss, reconstructed, zero, ablated = (
            plain.losses(rows, mlp).mean().item()
            for mlp in (x, recons, torch.zeros_like(x), mean.expand_as(x))
        )
        error = (x - recons).pow(2).sum(-1)
        batches.append(
            {
                "loss": loss,
                "loss_reconstructed": reconstructed,
                "loss_zero_ablated": zero,
                "loss_mean_ablated": ablated,
                "reconstruction_score": (zero - reconstructed) / (zero - loss),
                "reconstruction_score_mean": (ablated - reconstructed) / (ablated - loss),
                "l0": (f > 0).sum(-1).double().mean().item(),
                "explained_variance": 1 - (error.sum() / (x - mean).pow(2).sum()).item(),
                "l2": error.mean().item(),
                "l1": 0.5 * 3 * f.sum(-1).mean().item(),
            }
        )
    assert (quality["n_rows"], quality["batch_rows"]) == (N_QUALITY, BATCH)
    for name in batches[0]:
        values = np.array([batch[name] for batch in batches])
        # A score divides by the cost of ablation, which is small in a model of random weights
        relative = 2e-2 if "score" in name else 1e-4
        assert quality[name]["mean"] == pytest.approx(values.mean(), rel=relative), name
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert quality[name]["standard_error"] == pytest.approx(error, rel=0.05, abs=1e-5), name


def test_no_reconstruction_score_is_given_where_ablation_costs_nothing(tiny: TinyInputs) -> None:
    config = load_config(str(tiny.preset))
    inputs = load_inputs(config)
    W_out = inputs.model.W_out
    assert W_out is not None
    output = dataclasses.replace(inputs.model.output, W_out=torch.zeros_like(W_out))
    model = dataclasses.replace(inputs.model, output=output)
    inputs = dataclasses.replace(inputs, model=model)
    found, _ = measure_quality(inputs, read_sample(inputs, config), config)
    assert found.reconstruction_score is found.reconstruction_score_mean is None
    assert found.explained_variance is not None


def test_frequencies_equal_a_plain_recomputation(
    overview: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    densities = np.array([record["density"] for record in records])
    frequencies = overview["frequencies"]
    assert frequencies["n_dead"] == (densities == 0).sum() > 0
    alive = np.log10(densities[densities > 0] + 10**-6.5)
    assert frequencies["counts"] == np.histogram(alive, frequencies["edges"])[0].tolist()
    assert frequencies["edges"][0] == log_density(0) == -6.5
    assert overview["features"]["density"] == densities.tolist()


def test_the_rare_direction_equals_a_plain_recomputation(
    overview: dict[str, Any], records: list[dict[str, Any]], plain: PlainAnalysis
) -> None:
    densities = np.array([record["density"] for record in records])
    columns, is_rare = plain.one["W_enc"].T, densities < 1e-4
    expected = cosines(columns, columns[is_rare].mean(0, keepdim=True))[:, 0]
    assert [record["rare_cosine"] for record in records] == exact(expected)
    assert overview["features"]["rare_cosine"] == exact(expected)
    for name, chosen in (("rare", expected[is_rare]), ("others", expected[~is_rare])):
        group = overview["rare_cosine"][name]
        assert group["n_features"] == len(chosen) == sum(group["counts"])
        quartiles = np.quantile(chosen, [0, 0.25, 0.5, 0.75, 1])
        assert list(group["box"].values()) == exact(quartiles)


def test_nearest_directions_equal_a_plain_recomputation(
    records: list[dict[str, Any]], plain: PlainAnalysis
) -> None:
    directions = {"decoder": plain.one["W_dec"], "encoder": plain.one["W_enc"].T}
    for name, rows in directions.items():
        expected = cosines(rows, rows)
        np.fill_diagonal(expected, -np.inf)
        for record in records:
            own = expected[record["feature_id"]]
            listed = record["neighbours"][name]
            assert [one["cosine"] for one in listed] == exact(np.sort(own)[::-1][:4])
            assert [own[one["feature_id"]] for one in listed] == exact(
                [one["cosine"] for one in listed]
            )


def test_co_activation_equals_a_plain_recomputation(
    records: list[dict[str, Any]], plain: PlainAnalysis
) -> None:
    is_active = (plain.sampled(N_SAMPLE)[0] > 0).astype(np.float64)
    n_both = is_active.T @ is_active
    n_either = np.diag(n_both)[:, None] + np.diag(n_both) - n_both
    jaccard = np.where(n_both >= 3, n_both / np.maximum(n_either, 1), 0)
    np.fill_diagonal(jaccard, 0)
    n_listed = 0
    for record in records:
        own = jaccard[record["feature_id"]]
        listed = record["neighbours"]["coactivation"]
        best = np.sort(own)[::-1][:4]
        assert [one["jaccard"] for one in listed] == near(best[best > 0])
        for one in listed:
            assert own[one["feature_id"]] == near(one["jaccard"])
            assert one["n_both"] == near(n_both[record["feature_id"], one["feature_id"]])
        n_listed += len(listed)
    assert n_listed > 150


def test_shared_contexts_equal_a_plain_recomputation(records: list[dict[str, Any]]) -> None:
    tops = [[c for c in record["contexts"] if c["group"] == "top"] for record in records]
    peaks = [{(c["row"], c["position"]) for c in top} for top in tops]
    for record, top in zip(records, tops, strict=True):
        shared = np.zeros(len(records), int)
        for context in top:
            window = {(context["row"], context["start"] + i) for i in range(len(context["tokens"]))}
            for other in range(len(records)):
                shared[other] += bool(window & peaks[other])
        shared[record["feature_id"]] = 0
        listed = record["neighbours"]["contexts"]
        best = np.sort(shared)[::-1][:4]
        assert [one["n_shared"] for one in listed] == best[best > 0].tolist()
        assert [shared[one["feature_id"]] for one in listed] == [one["n_shared"] for one in listed]


def test_lists_are_linked_both_ways(records: list[dict[str, Any]]) -> None:
    kinds = ("decoder", "encoder", "coactivation", "contexts")
    own = [{one["feature_id"] for k in kinds for one in r["neighbours"][k]} for r in records]
    for record in records:
        feature, near = record["feature_id"], record["neighbours"]
        expected = [i for i in FEATURES if feature in own[i] and i not in own[feature]]
        assert near["listed_by"] == expected[:10]
        assert near["n_listed_by"] == len(expected)
    assert any(record["neighbours"]["n_listed_by"] for record in records)


def test_neurons_equal_a_plain_recomputation(
    records: list[dict[str, Any]], plain: PlainAnalysis
) -> None:
    f, _, x = plain.sampled(N_SAMPLE)
    correlation = correlations(f, x)
    for record in records:
        row = plain.one["W_dec"][record["feature_id"]].numpy()
        strongest = record["neurons"]["weights"]
        assert [abs(one["weight"]) for one in strongest] == near(np.sort(abs(row))[::-1][:3])
        for one in strongest:
            assert one["weight"] == near(row[one["neuron"]])
            assert one["share"] == near(abs(row[one["neuron"]]) / abs(row).sum())
        own, correlated = correlation[record["feature_id"]], record["neurons"]["correlated"]
        if np.isnan(own).all():
            assert correlated == []
        else:
            assert [one["correlation"] for one in correlated] == exact(np.sort(own)[::-1][:3])
            assert [own[one["neuron"]] for one in correlated] == exact(
                [one["correlation"] for one in correlated]
            )


def test_matches_in_the_second_autoencoder_equal_a_plain_recomputation(
    tiny_output: Path,
    records: list[dict[str, Any]],
    overview: dict[str, Any],
    plain: PlainAnalysis,
) -> None:
    f, g, _ = plain.sampled(N_SAMPLE)
    similarity = {
        "decoder": cosines(plain.one["W_dec"], plain.other["W_dec"]),
        "activation": correlations(f, g),
    }
    others = [_read(tiny_output, "other", feature) for feature in FEATURES]
    n_mutual = {}
    for name, values in similarity.items():
        best, best_back = np.nan_to_num(values, nan=-2), np.nan_to_num(values, nan=-2).T
        sides = ((records, best), (others, best_back))
        for listed, expected in sides:
            for record in listed:
                own, match = expected[record["feature_id"]], record["match"][name]
                if own.max() == -2:
                    assert match is None
                    continue
                assert match["value"] == exact(own.max())
                assert own[match["feature_id"]] == exact(match["value"])
                back = expected.T[match["feature_id"]].argmax()
                assert match["mutual"] == (back == record["feature_id"])
        n_mutual[name] = sum(bool(r["match"][name] and r["match"][name]["mutual"]) for r in records)
    assert overview["other"]["n_mutual_cosine"] == n_mutual["decoder"] > 30
    assert overview["other"]["n_mutual_correlation"] == n_mutual["activation"] > 10
    split = overview["other"]["cosine"]
    assert sum(split["rare"]["counts"]) + sum(split["others"]["counts"]) == len(records)


def test_contexts_of_the_second_autoencoder_equal_a_plain_recomputation(
    tiny_output: Path, plain: PlainAnalysis
) -> None:
    on_text = np.where(np.isin(plain.rows, [0, 1, 2])[..., None], 0, plain.g.numpy())[:N_SAMPLE]
    for feature in FEATURES:
        record, own = _read(tiny_output, "other", feature), on_text[..., feature]
        assert record["max_activation"] == near(own.max())
        assert record["n_active"] == near((plain.g[:N_SAMPLE, :, feature] > 0).sum().item())
        assert len(record["contexts"]) == min(2, len(record["contexts"]))
        if own.max() > 1e-4:
            assert record["contexts"][0]["activation"] == near(own.max())
        for context in record["contexts"]:
            start, end = context["start"], context["start"] + len(context["tokens"])
            there = plain.g[context["row"], start:end, feature].numpy()
            assert context["activations"] == near(there)
            assert context["tokens"] == plain.rows[context["row"], start:end].tolist()


def test_near_misses_equal_a_plain_recomputation(
    records: list[dict[str, Any]], evidence: list[dict[str, Any]], plain: PlainAnalysis
) -> None:
    n_found = 0
    for record, beside in zip(records, evidence, strict=True):
        feature = record["feature_id"]
        top = [c for c in record["contexts"] if c["group"] == "top"]
        endings = {
            tuple(plain.rows[c["row"], c["position"] - n + 1 : c["position"] + 1].tolist())
            for c in top
            for n in range(1, 5)
            if c["position"] >= n - 1
        }
        texts = set()
        for miss in beside["near_misses"]:
            row, position, n = miss["row"], miss["position"], miss["n_matched"]
            assert row < N_SAMPLE
            assert plain.f[row, position, feature].item() == near(0)
            assert tuple(plain.rows[row, position - n + 1 : position + 1].tolist()) in endings
            end = miss["start"] + len(miss["tokens"])
            assert miss["tokens"] == plain.rows[row, miss["start"] : end].tolist()
            expected = plain.f[row, miss["start"] : end, feature].numpy()
            assert miss["activations"] == near(expected)
            assert miss["activations"][position - miss["start"]] == 0
            texts.add((position - miss["start"], *miss["tokens"]))
        matched = [miss["n_matched"] for miss in beside["near_misses"]]
        assert matched == sorted(matched, reverse=True)
        assert len(texts) == len(matched) <= 3
        n_found += len(matched)
    assert n_found > 100


def test_ablation_equals_the_model_without_the_feature(
    records: list[dict[str, Any]], evidence: list[dict[str, Any]], plain: PlainAnalysis
) -> None:
    """Agrees to 1e-4 with running the model without the feature; lists are stored with three decimals."""
    n_checked = 0
    for record, beside in zip(records[::7], evidence[::7], strict=True):
        ablation = beside["ablation"]
        active_tokens = [
            (i, offset)
            for i, context in enumerate(record["contexts"])
            for offset, activation in enumerate(context["activations"])
            if activation
        ]
        assert [*zip(ablation["context"], ablation["offset"], strict=True)] == active_tokens
        for i, (index, offset) in enumerate(active_tokens):
            context = record["contexts"][index]
            row, position = context["row"], context["start"] + offset
            change = plain.removal(record["feature_id"], row, position)
            loss_change = ablation["loss_change"][i]
            if position + 1 == SEQ_LEN:
                assert loss_change is None
            else:
                follows = plain.rows[row, position + 1]
                assert loss_change == pytest.approx(change[follows], abs=1e-4)
            for name, end in (("promoted", np.sort(change)[::-1]), ("suppressed", np.sort(change))):
                ids, changes = ablation[f"{name}_id"][i], ablation[f"{name}_change"][i]
                assert changes == pytest.approx(end[:3], abs=6e-4)
                assert change[ids] == pytest.approx(changes, abs=6e-4)
            n_checked += 1
    assert n_checked > 200


def test_ablation_does_not_depend_on_the_number_of_queued_batches(
    tiny: TinyInputs,
    evidence: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sitegen.analysis.ablation.RESIDUAL_BYTES", 0)  # each batch by itself
    assert main(["sweep", str(tiny.preset), "--out", str(tmp_path)]) == 0
    for feature, beside in zip(FEATURES, evidence, strict=True):
        together, alone = beside["ablation"], _read(tmp_path, "evidence", feature)["ablation"]
        assert [together[name] for name in ("context", "offset")] == [
            alone[name] for name in ("context", "offset")
        ]
        for one, other in zip(together["loss_change"], alone["loss_change"], strict=True):
            assert one == (None if other is None else exact(other))


def test_peak_tokens_of_features_are_listed(
    overview: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    for record, tokens in zip(records, overview["features"]["tokens"], strict=True):
        top = [c for c in record["contexts"] if c["group"] == "top"]
        peaks = [c["tokens"][c["position"] - c["start"]] for c in top]
        assert tokens == list(dict.fromkeys(peaks))[:3]


def test_few_features_have_a_map_and_equal_directions_have_none(
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = feature_map(np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32), 1)
    assert found is not None
    assert len({*zip(found.x, found.y, strict=True)}) == 40
    for W_dec in (np.zeros((50, 12), np.float32), np.ones((50, 12), np.float32)):
        W_dec[7] *= -1
        assert feature_map(W_dec, 1) is None
    assert {*capfd.readouterr().err.splitlines()} == {
        "computing the map of features …"
    }  # no warning
