"""The site and its checks: a correct site has no findings, and each defect is found."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sitegen.cli import main
from sitegen.file_names import DATA_FILES, PUBLISHED_FILES, SITE_FILES
from sitegen.records import FeatureRecord, OtherRecord, RowsRecord
from sitegen.render.feature_files import FeatureFiles
from sitegen.store import (
    SCHEMA_VERSION,
    StoreWriter,
    decode,
    feature_files,
    other_path,
    read_live,
    read_manifest,
    read_overview,
    read_vocab,
    rows_files,
)
from tests.conftest import REPOSITORY, folder_bytes


def test_fresh_output_has_no_findings(
    tiny_output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tiny_output)]) == 0
    assert capsys.readouterr().out == ""


def test_every_file_has_a_name_of_the_list(tiny_output: Path) -> None:
    data, site = folder_bytes(tiny_output / "data"), folder_bytes(tiny_output / "site")
    assert [name for name in data if not DATA_FILES.fullmatch(name)] == []
    assert [name for name in site if not SITE_FILES.fullmatch(name)] == []
    copied = {name.removeprefix("data/") for name in site if name.startswith("data/")}
    assert copied == {name for name in data if PUBLISHED_FILES.fullmatch(name)}
    strange = ["mine.html", "data/rows/00000.json", "data/features/7.json", "load/live/mine.js"]
    assert [name for name in strange if SITE_FILES.fullmatch(name)] == []


def _edit(path: Path, pattern: str, replacement: str) -> None:
    text = path.read_text("utf-8")
    changed, n = re.subn(pattern, replacement, text, count=1)
    assert n == 1, f"{pattern} is not in {path.name}"
    path.write_text(changed, "utf-8")


def _rewrite(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = out / "data/features/00000.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def _page(name: str, pattern: str, replacement: str) -> Callable[[Path], None]:
    return lambda out: _edit(out / f"site/{name}", pattern, replacement)


def _data(name: str, content: str) -> Callable[[Path], object]:
    return lambda out: (out / "data" / name).write_text(content, "utf-8")


NOT_AS_RENDERED = "is not the page that the data gives"
SPOILS: dict[str, tuple[Callable[[Path], object], str]] = {
    "number on a page": (
        _page("features/0.html", r"<li>[\d.]+", "<li>7.5"),
        "site/features/0.html: number '7.5 ",
    ),
    "logit effect": (
        _page("features/0.html", r"(<td style=[^>]*>)[\d.]+", r"\g<1>9.9"),
        "site/features/0.html: number '9.9' where its JSON gives",
    ),
    "number in a sentence": (
        _page("features/0.html", r"(loss by\s)\S+", r"\g<1>7.5"),
        "site/features/0.html: does not say \"the next token's loss by",
    ),
    "text of a context": (
        _page("features/0.html", r"(<mark[^>]*>)[^<]*", r"\g<1>ZZZ"),
        "site/features/0.html: context",
    ),
    "shown density": (
        _page("features/0.html", r">[\d.]+ %<", ">99.9 %<"),
        "site/features/0.html: number '99.9 %' where its JSON gives",
    ),
    "kind": (_page("features/0.html", r">(dense|ordinary)<", ">rare<"), NOT_AS_RENDERED),
    "place": (
        _page("features/0.html", r"</p>\d+/", "</p>4711/"),
        "site/features/0.html: number ",
    ),
    "heat": (_page("features/0.html", r"--a:[\d.]+", "--a:.01"), NOT_AS_RENDERED),
    "interval": (_page("features/0.html", r"<h3>[\d.]+", "<h3>0.5"), NOT_AS_RENDERED),
    "density in the index": (
        _page("index.html", r">[\d.]+ %<", ">99.9 %<"),
        "site/index.html " + NOT_AS_RENDERED,
    ),
    "row of the index": (
        _page("index.html", r"<tr><th scope=row>.*", ""),
        "site/index.html " + NOT_AS_RENDERED,
    ),
    "page in another encoding": (
        lambda out: (out / "site/features/0.html").write_bytes(b"\xff\xfe"),
        "site/features/0.html is not UTF-8",
    ),
    "feature lost everywhere": (
        lambda out: (out / "data/features/00003.json").unlink(),
        "data/manifest.json says 93 features, data/features holds 92",
    ),
    "vocabulary cut short": (
        _data("vocab.json", '["a"]'),
        "vocab.json has 1 tokens, the manifest says",
    ),
    "vocabulary of something else": (
        _data("vocab.json", '[{"byte": 3}]'),
        "unknown field `byte` - at `$[0]`",
    ),
    "no vocabulary": (lambda out: (out / "data/vocab.json").unlink(), "vocab.json is missing"),
    "manifest of nothing": (
        _data("manifest.json", f'{{"schema_version": {SCHEMA_VERSION}}}'),
        "manifest.json is damaged (Object missing required field `preset`)",
    ),
    "no features": (lambda out: shutil.rmtree(out / "data/features"), "holds no feature"),
    "stray file": (
        _data("features/notes.json", "{}"),
        "data/features/notes.json is not in SHA256SUMS",
    ),
    "checksums of something else": (_data("SHA256SUMS", "ä"), "SHA256SUMS is no list of checksums"),
    "token that is none": (
        lambda out: _rewrite(
            out, lambda record: record["contexts"][0]["tokens"].__setitem__(0, 99999)
        ),
        "token id 99999 is not in the vocabulary of 333",
    ),
    "page lost": (
        lambda out: (out / "site/features/4.html").unlink(),
        "site/features/4.html is missing",
    ),
    "page too many": (
        lambda out: shutil.copy(out / "site/features/4.html", out / "site/features/999.html"),
        "site/features/999.html belongs to nothing in the data",
    ),
    "broken link": (
        lambda out: _edit(out / "site/features/1.html", r'href="2\.html"', 'href="2000.html"'),
        "link to features/2000.html, which is not there",
    ),
    "broken anchor": (
        lambda out: _edit(out / "site/about.html", r"id=density", "id=dense"),
        "#density, which that page does not have",
    ),
    "link to elsewhere": (
        lambda out: _edit(
            out / "site/about.html", r"data/manifest\.json", "https://example.org/x.css"
        ),
        "leaves the site",
    ),
    "absolute link": (
        lambda out: _edit(
            out / "site/about.html", r"href=data/manifest\.json", "href=/data/manifest.json"
        ),
        "leaves the site",
    ),
    "data changed": (
        lambda out: _rewrite(out, lambda record: record.update(n_active=record["n_active"] + 1)),
        "density is not n_active over the positions read",
    ),
    "checksum": (
        lambda out: _rewrite(out, lambda record: None),
        "data/features/00000.json has another SHA-256 than SHA256SUMS says",
    ),
    "published data changed": (
        lambda out: (out / "site/data/features/00000.json").write_text("{}"),
        "site/data/features/00000.json has another SHA-256",
    ),
    "schema": (
        lambda out: _rewrite(out, lambda record: record.pop("density")),
        "data/features/00000.json is damaged (Object missing required field `density`)",
    ),
    "silent context": (
        lambda out: _rewrite(out, lambda record: record["contexts"][0].update(activation=0)),
        "Expected `float` > 0.0 - at `$.contexts[0].activation`",
    ),
    "truncated data": (
        lambda out: (out / "data/features/00003.json").write_text('{"feature_id": 3'),
        "features/00003.json is damaged",
    ),
    "no title": (
        lambda out: _edit(out / "site/index.html", r"<title>[^<]*", "<title>"),
        "site/index.html: no title",
    ),
}


@pytest.mark.parametrize(
    "what", ["vocabulary cut short", "vocabulary of something else", "no vocabulary", "no features"]
)
def test_render_refuses_damaged_data(
    what: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, finding = SPOILS[what]
    before = (output / "site/index.html").read_bytes()
    spoil(output)
    assert main(["render", str(output)]) == 2
    assert finding in capsys.readouterr().err
    assert (output / "site/index.html").read_bytes() == before


@pytest.mark.parametrize("what", SPOILS)
def test_check_finds_each_kind_of_damage(
    what: str, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, finding = SPOILS[what]
    spoil(output)
    assert main(["check", str(output)]) == 1
    assert finding.replace("exclusiveMinimum", "must be bigger than 0") in capsys.readouterr().out


@pytest.mark.parametrize(("n_features", "budget"), [(1, "25,000"), (930, "250,000"), (16384, None)])
def test_fewer_pages_have_a_larger_budget(
    n_features: int,
    budget: str | None,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sitegen.check.report.BUDGET_FEATURES", n_features)
    with (output / "site/features/0.html").open("a") as page:
        page.write("<!--" + "x" * 93 * 260_000 + "-->")
    assert main(["check", str(output)]) == 1  # the page differs from the data
    message = capsys.readouterr().out
    assert ("above the budget" in message) == (budget is not None)
    assert budget is None or f"above the budget of {budget}" in message


def test_rendering_the_data_alone_gives_the_same_site(tiny_output: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_output / "data", tmp_path / "data")
    assert main(["render", str(tmp_path)]) == 0
    names = {p.relative_to(tmp_path) for p in (tmp_path / "site").rglob("*") if p.is_file()}
    assert names == {
        p.relative_to(tiny_output) for p in (tiny_output / "site").rglob("*") if p.is_file()
    }
    for name in names:
        assert (tmp_path / name).read_bytes() == (tiny_output / name).read_bytes()


def test_records_round_trip_through_json(tiny_output: Path, tmp_path: Path) -> None:
    data = tiny_output / "data"
    store = StoreWriter(tmp_path / "data")
    for i in range(len(feature_files(data))):
        files = FeatureFiles.read(data, i).data()
        assert isinstance(files.record, FeatureRecord)
        store.add(files.record)
        store.add_evidence(files.evidence)
        path = other_path(data, i)
        store.add_other(decode(OtherRecord, path.read_bytes(), path))
    for path in rows_files(data):
        store.add_rows(decode(RowsRecord, path.read_bytes(), path))
    live = read_live(data)
    assert live is not None
    store.add_live(live)
    store.finish(read_manifest(data), read_vocab(data), read_overview(data))
    assert folder_bytes(tmp_path / "data") == folder_bytes(data)


def test_hostile_text_is_never_markup(tiny_output: Path) -> None:
    pages = "".join(
        path.read_text("utf-8") for path in (tiny_output / "site/features").glob("*.html")
    )
    own = {
        '<script src="../static/theme.js">',
        '<script defer src="../static/site.js">',
    }
    assert set(re.findall("<script[^>]*>", pages)) == own
    assert "the &lt;second&gt; run" in pages
    assert "Tiny &lt;subject&gt; &amp; co" in pages
    assert "\ufffd" not in pages
    contexts = json.dumps(
        [json.loads(path.read_text()) for path in feature_files(tiny_output / "data")]
    )
    assert "\\ufffd" not in contexts


def test_nothing_about_this_machine_is_published(tiny_output: Path) -> None:
    for path in [*tiny_output.glob("data/*"), *tiny_output.glob("site/*.html")]:
        if path.is_file():
            text = path.read_text("utf-8")
            assert str(tiny_output.parent) not in text
            assert str(REPOSITORY) not in text


def test_previous_and_next_links_stop_at_the_first_and_last_feature(tiny_output: Path) -> None:
    first, last = ((tiny_output / f"site/features/{i}.html").read_text("utf-8") for i in (0, 92))
    assert "rel=prev" not in first
    assert 'rel=next href="1.html"' in first
    assert "rel=next" not in last
    assert 'rel=prev href="91.html"' in last


def test_serve_answers_on_loopback(tiny_output: Path) -> None:
    command = [sys.executable, "build.py", "serve", str(tiny_output), "--port", "0"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = re.search(r"http://(127\.0\.0\.1):(\d+)/", process.stderr.readline())
        assert address is not None
        connection = http.client.HTTPConnection(address[1], int(address[2]), timeout=10)
        connection.request("GET", "/features/0.html")
        assert (
            connection.getresponse().read() == (tiny_output / "site/features/0.html").read_bytes()
        )
        again = [*command[:-1], address[2]]
        refused = subprocess.run(again, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 2
        assert f"--port {address[2]} cannot be used" in refused.stderr
    finally:
        process.terminate()
        process.wait()
