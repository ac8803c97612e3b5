"""Faults of a Hub or of the connection end in a complete file, or in a one-line message with reason and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from sitegen.cli import main
from sitegen.config import CorpusConfig, load_config
from sitegen.errors import SourceError
from sitegen.sources import hub as client
from sitegen.sources.documents import open_documents
from sitegen.sources.inputs import load_inputs
from tests.conftest import folder_bytes
from tests.gelu_hub import make_gelu_hub
from tests.hub_session import visit
from tests.loopback_hub import API, COMMIT, HERE, Fault, LoopbackHub
from tests.tiny import SEQ_LEN, TinyInputs, documents

DATASET = "NeelNanda/c4-code-20k"
LARGE, SMALL = "weights.pt", "settings.json"
CONTENT = bytes(range(256)) * 4000
NEEDED = (
    "25.pt",
    "25_cfg.json",
    "tokenizer.json",
    "config.json",
    "model_final.pth",
    "README.md",
    "data/train-00000-of-00001-0123456789abcdef.parquet",
)
STATUSES = (401, 403, 404, 429, 500, 503)
REFUSED = [(file, status) for file in NEEDED for status in STATUSES]
REFUSED.remove(("README.md", 404))  # a dataset may do without one
NOWHERE = "http://127.0.0.1:9/gone"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub with a large and a small file, to which this process is connected."""
    loopback = LoopbackHub()
    loopback.add("models", "a/b", {LARGE: CONTENT, SMALL: CONTENT[:999]})
    with loopback.serving():
        visit(loopback, tmp_path, monkeypatch)
        yield loopback


@pytest.fixture(scope="module")
def gelu_files(tiny: TinyInputs) -> LoopbackHub:
    return make_gelu_hub(tiny)


@pytest.fixture
def gelu_hub(
    gelu_files: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHub]:
    """A Hub with everything that the gelu-1l presets need, to which this process is connected."""
    with LoopbackHub(gelu_files.repositories).serving() as loopback:
        visit(loopback, tmp_path, monkeypatch)
        yield loopback


def downloaded(name: str) -> bytes:
    return client.download("a/b", [name])[0][name].read_bytes()


def sweep(out: Path) -> int:
    small = ["corpus.seq_len", "sweep.batch_rows", "sweep.shard_rows"], [SEQ_LEN, 8, 64]
    settings = [f"--set={key}={value}" for key, value in zip(*small, strict=True)]
    return main(
        ["sweep", "gelu-1l-run1", "--out", str(out), "--rows=64", "--features=0-7", *settings]
    )


def require_one_line(line: str, thing: str) -> None:
    assert re.fullmatch(rf"build\.py: {re.escape(thing)}: [^:].*: [^:].*", line), line
    assert "Traceback" not in line


PASSING = {
    "headers: connection closed": Fault(unheard=True),
    "headers: no answer": Fault(silent=True),
    "headers: 429": Fault(status=429, headers={"Retry-After": "2"}),
    "headers: 500": Fault(status=500),
    "headers: 503": Fault(status=503),
    "body: closed at the first byte": Fault(ends_after=0),
    "body: closed in the middle": Fault(ends_after=0.5),
    "body: closed near the end": Fault(ends_after=0.999),
    "body: reset at the first byte": Fault(ends_after=0, ending="reset"),
    "body: reset in the middle": Fault(ends_after=0.5, ending="reset"),
    "body: stalled": Fault(ends_after=0.5, ending="stall"),
    "body: too short": Fault(short_by=7),
    "body: 429": Fault(on_body=True, status=429),
    "body: 500": Fault(on_body=True, status=500),
    "body: 503": Fault(on_body=True, status=503),
    "body: redirected to nowhere": Fault(on_body=True, location=NOWHERE),
}
REASONS = {
    "headers: connection closed": "the connection to http://127.0.0.1:",
    "headers: no answer": "stopped sending",
    "headers: 429": "too many requests from this machine or account (the Hub answered 429): wait",
    "headers: 500": "out of order (the Hub answered 500): wait",
    "headers: 503": "out of order (the Hub answered 503): wait",
    "body: stalled": "stopped sending",
    "body: too short": "should be of size 1024000 but has size 1023993",
    "body: 429": "too many requests from this machine or account (the Hub answered 429): wait",
    "body: 500": "out of order (the Hub answered 500): wait",
    "body: 503": "out of order (the Hub answered 503): wait",
    "body: redirected to nowhere": "http://127.0.0.1:9 cannot be reached",
}
GATED = Fault(status=403, code="GatedRepo")
LASTING = {
    "401": (Fault(status=401), "asks for a login (the Hub answered 401): log in"),
    "401, gated": (
        Fault(status=401, code="GatedRepo"),
        "gated (the Hub answered 401): accept its terms at",
    ),
    "403": (Fault(status=403), "this account has no access on the Hub (the Hub answered 403): ask"),
    "403, gated": (GATED, "gated (the Hub answered 403): accept its terms at"),
    "404": (Fault(status=404), "has no such file (the Hub answered 404): check its name"),
    "404, said": (
        Fault(status=404, code="EntryNotFound"),
        "has no such file (the Hub answered 404)",
    ),
    "404, repository": (Fault(status=404, code="RepoNotFound"), "no such repository on the Hub"),
    "404, revision": (Fault(status=404, code="RevisionNotFound"), "no such revision"),
    "418": (Fault(status=418), "refuses the request (the Hub answered 418): check"),
    "circle": (Fault(location=HERE), "redirects in a circle: check"),
    "no place": (Fault(location="http://[nowhere"), "redirects to an invalid address"),
    "no ETag": (Fault(without="ETag"), "lacks the file's hash or commit"),
    "no commit": (Fault(without="X-Repo-Commit"), "lacks the file's hash or commit"),
    "wrong hash": (Fault(corrupted=True), "has hash"),
    "body: 403": (Fault(on_body=True, status=403), "(the Hub answered 403): ask"),
    "body: 404": (Fault(on_body=True, status=404), "(the Hub answered 404): check its name"),
    "body: circle": (Fault(on_body=True, location=HERE), "redirects in a circle: check"),
}


@pytest.mark.parametrize("name", [LARGE, SMALL])
@pytest.mark.parametrize("fault", PASSING)
def test_a_temporary_fault_ends_in_a_complete_file(
    hub: LoopbackHub, fault: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = {name: [replaced(PASSING[fault], n_left=1)]}
    assert downloaded(name) == hub.repositories["models", "a/b"][name]
    printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("a/b/")]
    assert len(printed) == 1 or fault == "body: 429"  # which the client itself retries and reports
    assert all(line.endswith(" s") or line.endswith("resuming") for line in printed)


@pytest.mark.parametrize("fault", PASSING)
def test_a_lasting_temporary_fault_is_tried_five_times_and_reported(
    hub: LoopbackHub, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "body: stalled":
        # Each try waits for a while, six times over
        monkeypatch.setattr(client, "PAUSES_S", (1.0,))
    hub.faults = {LARGE: [replaced(PASSING[fault])]}
    with pytest.raises(SourceError) as raised:
        downloaded(LARGE)
    require_one_line(f"build.py: {raised.value}", f"a/b/{LARGE}")
    assert REASONS.get(fault, "the connection to http://127.0.0.2:") in str(raised.value)
    n_tries = 1 + len(client.PAUSES_S)
    assert sum(request.startswith("HEAD") for request in hub.requests) >= n_tries
    assert not [*(Path(constants.HF_HUB_CACHE)).rglob("*.incomplete")]


@pytest.mark.parametrize("fault", LASTING)
def test_a_permanent_fault_is_reported_at_once(hub: LoopbackHub, fault: str) -> None:
    struck, reason = LASTING[fault]
    name = SMALL if fault == "no ETag" else LARGE
    hub.faults = {name: [replaced(struck)]}
    with pytest.raises(SourceError) as raised:
        downloaded(name)
    require_one_line(f"build.py: {raised.value}", f"a/b/{name}")
    assert reason in str(raised.value)
    assert len(hub.requests) <= 25  # a redirect loop is followed for a while


def test_a_gated_model_s_error_names_the_page_with_its_terms(hub: LoopbackHub) -> None:
    hub.faults = {SMALL: [replaced(GATED)]}
    with pytest.raises(SourceError, match=re.escape(f"accept its terms at {hub.endpoint}/a/b, ")):
        downloaded(SMALL)


def test_a_slow_download_is_reported_and_not_interrupted(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults = {LARGE: [Fault(parts=20)]}
    monkeypatch.setattr(client, "LINE_EVERY_S", 0.1)
    assert downloaded(LARGE) == CONTENT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    printed = [
        re.fullmatch(rf"a/b/{LARGE}: (\d+)kB of 1.02MB, .*B/s, .* left", line) for line in lines
    ]
    done = [int(line[1]) for line in printed if line]
    assert len(done) == len(lines)
    assert done == sorted(set(done))


def test_an_interrupted_download_resumes_by_range(hub: LoopbackHub) -> None:
    hub.faults = {LARGE: [Fault(1, ends_after=0.25), Fault(1, ends_after=0.5)]}
    assert downloaded(LARGE) == CONTENT
    assert hub.ranges == ["bytes=256000-", "bytes=640000-"]


def test_a_hub_without_ranges_sends_the_whole_file_again(hub: LoopbackHub) -> None:
    hub.faults = {LARGE: [Fault(1, ends_after=0.5), Fault(ignores_range=True)]}
    assert downloaded(LARGE) == CONTENT
    assert hub.ranges == ["bytes=512000-"]


def test_pauses_grow_and_respect_what_the_hub_asks(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    hub.faults = {
        SMALL: [Fault(2, status=503), Fault(1, status=429, headers={"Retry-After": "60"})]
    }
    assert downloaded(SMALL) == CONTENT[:999]
    assert pauses == [1, 2, 60]


@pytest.mark.parametrize(
    "fault",
    [PASSING[name] for name in PASSING if name.startswith("headers")]
    + [Fault(location=HERE), GATED],
)
def test_a_cached_file_takes_one_request(
    hub: LoopbackHub, fault: Fault, capsys: pytest.CaptureFixture[str]
) -> None:
    downloaded(LARGE)
    capsys.readouterr()
    hub.requests.clear()
    hub.faults = {LARGE: [replaced(fault)]}
    assert downloaded(LARGE) == CONTENT
    assert len(hub.requests) <= 25
    assert len(set(hub.requests)) <= 1
    assert capsys.readouterr().err.count("using the copy in the cache") == 1
    n_asked = len(hub.requests)
    assert downloaded(LARGE) == CONTENT
    if client.connection.is_lost:
        assert len(hub.requests) == n_asked


def test_the_hub_is_asked_again_once_it_is_reachable(hub: LoopbackHub) -> None:
    downloaded(LARGE)
    hub.faults = {LARGE: [Fault(1, unheard=True)]}
    downloaded(LARGE)
    assert client.connection.is_lost
    downloaded(SMALL)
    assert not client.connection.is_lost


def test_a_damaged_cached_file_is_refused_offline(hub: LoopbackHub) -> None:
    path = client.download("a/b", [LARGE])[0][LARGE].resolve()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    hub.faults = {LARGE: [Fault(unheard=True)]}
    with pytest.raises(SourceError, match="the file in the cache has hash"):
        downloaded(LARGE)


def test_a_file_known_to_be_absent_is_absent_offline(hub: LoopbackHub) -> None:
    assert [*client.download("a/b", [SMALL], optional=("none.json",))[0]] == [SMALL]
    hub.faults = {name: [Fault(unheard=True)] for name in (SMALL, "none.json")}
    hub.requests.clear()
    assert [*client.download("a/b", [SMALL], optional=("none.json",))[0]] == [SMALL]
    assert len(hub.requests) <= 1


def test_a_later_commit_is_fetched(hub: LoopbackHub) -> None:
    downloaded(SMALL)
    hub.commit = "f" * 40
    hub.repositories["models", "a/b"][SMALL] = b"{}"
    assert client.download("a/b", [SMALL])[1].revision == "f" * 40
    assert downloaded(SMALL) == b"{}"


def replaced(fault: Fault, n_left: int | None = None) -> Fault:
    """A copy of a fault for one test, since a fault counts how often it occurred."""
    return Fault(**{**vars(fault), "n_left": n_left})


@pytest.mark.parametrize(("file", "status"), REFUSED)
def test_a_status_on_any_file_of_a_preset_ends_the_run_in_one_line(
    gelu_hub: LoopbackHub,
    tmp_path: Path,
    file: str,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    former = {"manifest.json": b'{"schema_version": 0, "preset": "former"}'}
    (tmp_path / "out/data").mkdir(parents=True)
    (tmp_path / "out/data/manifest.json").write_bytes(former["manifest.json"])
    gelu_hub.faults = {file: [Fault(status=status, code="EntryNotFound" if status == 404 else "")]}
    code = sweep(tmp_path / "out")
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert re.match(rf"build\.py: NeelNanda/[^:]*{re.escape(file)}: ", last)
    require_one_line(last, last.split(": ")[1])
    assert f"(the Hub answered {status}): " in last
    assert folder_bytes(tmp_path / "out/data") == former


HEADERS = [name for name in PASSING if name.startswith("headers")]


@pytest.mark.parametrize("fault", HEADERS)
def test_a_temporary_fault_of_a_dataset_s_file_list_is_retried(
    gelu_hub: LoopbackHub, fault: str
) -> None:
    gelu_hub.faults = {API: [replaced(PASSING[fault], n_left=1)]}
    found = open_documents(CorpusConfig(dataset=DATASET))
    assert (list(found.texts()), found.provenance.revision) == (documents(), COMMIT)


@pytest.mark.parametrize("fault", [*HEADERS, "401", "403", "404", "circle"])
def test_a_permanent_fault_of_a_dataset_s_file_list_is_reported(
    gelu_hub: LoopbackHub, fault: str
) -> None:
    struck, reason = LASTING.get(fault) or (PASSING[fault], REASONS[fault])
    gelu_hub.faults = {API: [replaced(struck)]}
    with pytest.raises(SourceError) as raised:
        open_documents(CorpusConfig(dataset=DATASET))
    require_one_line(f"build.py: {raised.value}", DATASET)
    assert reason.partition(":")[0] in str(raised.value)


def test_everything_is_read_despite_many_faults_and_then_offline(
    gelu_hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config("gelu-1l-run1", {"corpus.seq_len": str(SEQ_LEN)})
    gelu_hub.faults = {
        name: [Fault(1, unheard=True), Fault(1, status=503), Fault(1, ends_after=0.5)]
        for name in NEEDED
    }
    online = load_inputs(config)
    n_requests = len(gelu_hub.requests)
    gelu_hub.faults = {name: [Fault(unheard=True)] for name in NEEDED}
    alone = load_inputs(config)
    assert len(gelu_hub.requests) == n_requests + 1
    assert capsys.readouterr().err.count("using the copy in the cache") == 1
    for part in ("model", "autoencoder", "tokenizer", "rows"):
        assert getattr(alone, part).provenance == getattr(online, part).provenance
    ids = online.ids(range(4))
    assert torch.equal(alone.ids(range(4)), ids)
    assert torch.equal(alone.model.hook_activations(ids), online.model.hook_activations(ids))
