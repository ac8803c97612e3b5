"""The files that search loads, against a plain search through the records."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sitegen.records import FeatureRecord, TokenText
from sitegen.render.packing import value_of
from sitegen.render.search import SearchIndex, word_file
from sitegen.render.vocabulary import Vocabulary
from sitegen.store import read_manifest, read_vocab


def _loaded(path: Path) -> Any:
    name, value = value_of(path.read_bytes())
    assert path.as_posix().endswith(f"load/{name}.js")
    return json.loads(value)


def _records(output: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, path in enumerate(sorted((output / "data/features").glob("*.json"))):
        yield index, json.loads(path.read_bytes())


def _text(ids: list[int], tokens: list[TokenText], special_ids: list[int]) -> str:
    data = b""
    for i in ids:
        token = b" " if i in special_ids else tokens[i]
        assert token is not None  # each of these ids is a token of the vocabulary
        data += token if isinstance(token, bytes) else token.encode()
    return data.decode(errors="replace")


def _pairs(flat: list[float]) -> list[tuple[int, float]]:
    return [(int(index), number) for index, number in zip(flat[::2], flat[1::2], strict=True)]


def test_every_word_of_every_context_leads_to_its_features(tiny_output: Path) -> None:
    manifest = read_manifest(tiny_output / "data")
    tokens = read_vocab(tiny_output / "data")
    expected: dict[str, Counter[int]] = {}
    for index, record in _records(tiny_output):
        for context in record["contexts"]:
            text = _text(context["tokens"], tokens, manifest.special_ids).lower()
            for word in set(re.findall(r"\w\w+", text)):
                expected.setdefault(word, Counter())[index] += 1
    found: dict[str, Counter[int]] = {}
    for number in range(256):
        loaded = _loaded(tiny_output / f"site/load/words/{number}.js")
        assert loaded["word"] == sorted(loaded["word"])
        for word, steps in zip(loaded["word"], loaded["features"], strict=True):
            assert word_file(word) == number
            index = 0
            counts: Counter[int] = Counter()
            for step, n in _pairs(steps):
                index += step
                counts[index] = int(n)
            found[word] = counts
    assert len(found) > 100
    assert found == expected


@pytest.mark.parametrize(("name", "end"), [("promotes", "top"), ("suppresses", "bottom")])
def test_tokens_lead_to_features_with_the_largest_logit_effects(
    tiny_output: Path, name: str, end: str
) -> None:
    expected: dict[str, list[tuple[int, float]]] = {}
    for index, record in _records(tiny_output):
        for effect in record["logits"][end]:
            pair = (index, float(f"{effect['value']:.4g}"))
            expected.setdefault(str(effect["id"]), []).append(pair)
    assert _postings(tiny_output, name) == expected


def test_tokens_lead_to_the_features_that_are_active_on_them(tiny_output: Path) -> None:
    expected: dict[str, list[tuple[int, float]]] = {}
    for index, record in _records(tiny_output):
        top = [context for context in record["contexts"] if context["group"] == "top"]
        peaks = Counter(c["tokens"][c["position"] - c["start"]] for c in top)
        for token_id, n in peaks.items():
            expected.setdefault(str(token_id), []).append((index, n))
    assert _postings(tiny_output, "active") == expected


def _postings(output: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    return {
        token_id: _pairs(flat)
        for path in (output / "site/load/tokens").glob("*.js")
        for token_id, flat in _loaded(path)[name].items()
    }


def test_partial_indexes_merge_to_the_whole_index(
    tiny_output: Path, four_records: list[FeatureRecord]
) -> None:
    manifest = read_manifest(tiny_output / "data")
    vocabulary = Vocabulary(read_vocab(tiny_output / "data"), manifest.special_ids)
    whole, first, second = SearchIndex(), SearchIndex(), SearchIndex()
    for index, record in enumerate(four_records):
        whole.add(index, record, vocabulary)
        (first if index < 2 else second).add(index, record, vocabulary)
    first.merge(second)
    assert first == whole


@pytest.fixture
def four_records(tiny_output: Path) -> list[FeatureRecord]:
    from sitegen.store import decode, feature_files

    return [
        decode(FeatureRecord, path.read_bytes(), path)
        for path in feature_files(tiny_output / "data")[:4]
    ]


def test_every_context_is_part_of_a_stored_row(tiny_output: Path) -> None:
    rows: dict[int, list[int]] = {}
    for path in (tiny_output / "data/rows").glob("*.json"):
        kept = json.loads(path.read_bytes())
        rows |= dict(zip(kept["row"], kept["tokens"], strict=True))
    lines = [line for _, record in _records(tiny_output) for line in record["contexts"]]
    for folder, name in (("evidence", "near_misses"), ("other", "contexts")):
        for path in (tiny_output / "data" / folder).glob("*.json"):
            lines += json.loads(path.read_bytes())[name]
    for line in lines:
        end = line["start"] + len(line["tokens"])
        assert rows[line["row"]][line["start"] : end] == line["tokens"]
    assert rows.keys() == {line["row"] for line in lines}
