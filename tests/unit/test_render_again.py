"""A second render writes only what has changed; an interrupted one resumes where it stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sitegen.cli import main
from tests.conftest import folder_bytes


@pytest.fixture
def out(tiny_output: Path, tmp_path: Path) -> Path:
    """A copy of the finished output that a test may change."""
    shutil.copytree(tiny_output / "data", tmp_path / "data")
    assert main(["render", str(tmp_path)]) == 0
    return tmp_path


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of each file, which identify a rewritten one."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def rewritten(out: Path, before: dict[str, tuple[int, int]]) -> set[str]:
    """Names of the files that another render rewrites."""
    assert main(["render", str(out)]) == 0
    return {
        name for name, identity in identities(out / "site").items() if before.get(name) != identity
    }


def test_an_unchanged_site_is_not_rewritten(out: Path) -> None:
    assert rewritten(out, identities(out / "site")) == set()


def test_one_changed_record_rewrites_its_page_its_data_and_its_line_of_each_list(out: Path) -> None:
    path = out / "data/features/00005.json"
    record = json.loads(path.read_text())
    record["max_activation"] += 1
    path.write_text(json.dumps(record))
    changed = rewritten(out, identities(out / "site"))
    lists = {name for name in changed if name.startswith("lists/")}
    assert changed - lists == {
        "features/5.html",
        "data/features/00005.json",
        "index.html",
        "load/features.js",
    }
    assert f"lists/{record['kind']}.html" in lists
    assert len(lists) == 2


def test_a_changed_title_rewrites_every_page(out: Path) -> None:
    path = out / "data/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["site"]["title"] = "Another title"
    path.write_text(json.dumps(manifest))
    before = identities(out / "site")
    pages = {name for name in before if name.endswith(".html")}
    assert rewritten(out, before) == pages | {"data/manifest.json"}
    assert "Another title" in (out / "site/features/0.html").read_text()


def test_an_interrupted_render_resumes(out: Path) -> None:
    whole = folder_bytes(out / "site")
    partial = (out / "site").rename(out / "site.partial")
    (partial / "index.html").unlink()
    (partial / "features/7.html").unlink()
    torn = partial / "features/8.html"
    torn.write_bytes(torn.read_bytes()[:-100])
    (partial / "data/features/00009.json").write_bytes(b"{")
    (partial / "features/12345.html").write_text("of another run")
    changed = rewritten(out, identities(partial))
    assert changed == {
        "index.html",
        "features/7.html",
        "features/8.html",
        "data/features/00009.json",
    }
    assert folder_bytes(out / "site") == whole


def test_a_page_changed_by_hand_is_rendered_again(out: Path) -> None:
    page = out / "site/features/3.html"
    content = page.read_text()
    page.write_text(content.replace("Feature", "Feeture", 1))
    assert rewritten(out, identities(out / "site")) == {"features/3.html"}
    assert page.read_text() == content


def test_reused_pages_are_never_written_through(out: Path) -> None:
    """An interrupted render has hard links to the previous pages; writing one must not change the previous site."""
    former = folder_bytes(out / "site")
    shutil.copytree(
        out / "site", out / "site.partial", copy_function=lambda a, b: Path(b).hardlink_to(a)
    )
    for feature_id, change in ((5, {"n_active": 1}), (7, {"contexts": [{}]})):
        path = out / f"data/features/{feature_id:05d}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert main(["render", str(out)]) == 2  # 5 is written, then 7 does not fit its schema
    assert folder_bytes(out / "site") == former


def test_a_stopped_render_keeps_its_finished_pages(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(out / "site")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sitegen.render.site._files_beside", stop)
        assert main(["render", str(out)]) == 2
    assert not (out / "site").exists()
    done = identities(out / "site.partial")
    assert {name for name in rewritten(out, done) if name.startswith("features/")} == set()


def test_a_link_in_place_of_the_unfinished_site_is_not_followed(out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("mine")
    (out / "site.partial").symlink_to(elsewhere)
    assert main(["render", str(out)]) == 2
    assert (elsewhere / "thesis.txt").read_text() == "mine"


def test_a_strange_file_in_the_unfinished_site_is_refused(out: Path) -> None:
    (out / "site.partial").mkdir()
    (out / "site.partial/thesis.txt").write_text("mine")
    assert main(["render", str(out)]) == 2
    assert (out / "site.partial/thesis.txt").read_text() == "mine"
