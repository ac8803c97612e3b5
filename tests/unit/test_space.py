"""A site as a static Space on a loopback Hub: what is sent, kept, deleted and refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sitegen.errors import UsageError
from sitegen.output import OutputFolder
from sitegen.publish.space import space_publication
from tests.conftest import folder_bytes
from tests.loopback_hub import CARD, TOKEN, LoopbackHub
from tests.unit.test_hub import build

SPACE = "someone/features"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with LoopbackHub().serving() as hub:
        yield hub


@pytest.fixture
def out(tiny_output: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_output, tmp_path / "out")
    return tmp_path / "out"


def publish(hub: LoopbackHub, out: Path, *more: str, code: int = 0) -> str:
    command = ["publish", str(out), "--to", "space", "--space", SPACE, *more]
    done = build(hub.endpoint, out.parent, *command)
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.mark.slow
def test_the_space_holds_the_site_and_keeps_its_card(hub: LoopbackHub, out: Path) -> None:
    site = folder_bytes(out / "site")
    said = publish(hub, out, "--yes")
    assert f"to be sent: {len(site):,} files" in said
    assert f"to the static Space {SPACE} at {hub.endpoint}, which is new" in said
    held = hub.repositories["spaces", SPACE]
    assert held == {**site, ".gitattributes": b"", "README.md": CARD}
    # If it had stopped after the first file, the file that identifies a site would already be there
    assert [*held][2] == "data/manifest.json"
    held["README.md"] = mine = b"---\ntitle: Mine\nsdk: static\n---\nMy words.\n"
    held["features/999.html"] = b"of an earlier run"
    held |= {"CNAME": b"example.org", "notes/mine.md": b"mine"}
    (out / "site/about.html").unlink()
    assert "nothing was sent" in publish(hub, out, "--yes", code=1)
    (out.parent / "mine.csv").write_text("feature,label\n5,whales\n")
    command = ["render", str(out), "--labels", str(out.parent / "mine.csv")]
    assert build(hub.endpoint, out.parent, *command).returncode == 0
    n_before = hub.n_commits
    said = publish(hub, out, "--yes")
    assert "replacing the site that is there now; kept unchanged: .gitattributes, CNAME, R" in said
    others = {".gitattributes": b"", "README.md": mine, "CNAME": b"example.org"}
    assert held == {**folder_bytes(out / "site"), **others, "notes/mine.md": b"mine"}
    assert b"whales" in held["features/5.html"]
    assert hub.n_commits - n_before == 2  # new files, deleted files


@pytest.mark.slow
def test_a_space_that_is_no_site_or_not_writable_is_left_alone(
    hub: LoopbackHub, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "give --yes" in publish(hub, out, code=2)
    assert hub.repositories == {}
    hub.add("spaces", SPACE, {"README.md": CARD, "app.py": b"years of work"})
    assert f"Space {SPACE} contains something other than a site" in publish(
        hub, out, "--yes", code=2
    )
    hub.add("spaces", SPACE, {"README.md": CARD, "index.html": b"", "style.css": b""})
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    said = publish(hub, out, "--yes", code=2)
    assert f"{SPACE}: the Hub asks for a login (the Hub answered 401): log in" in said
    assert set(hub.repositories["spaces", SPACE]) == {"README.md", "index.html", "style.css"}
    said = build(hub.endpoint, out.parent, "publish", str(out), "--to", "space").stderr
    assert "--to space: give --space OWNER/NAME" in said
    monkeypatch.setattr("sitegen.publish.space.FILES_A_FOLDER", 255)
    message = "words has 256 files, but the Hub accepts at most 255 in a folder"
    with pytest.raises(UsageError, match=message), space_publication(OutputFolder(out), SPACE, ""):
        pass
    wrong = ["publish", str(out), "--to", "space", "--space", "features"]
    said = build(hub.endpoint, out.parent, *wrong).stderr
    assert said.strip() == "build.py: --space features: give OWNER/NAME"
