"""A site as a branch: what is sent, what is said before, what is refused; against a bare repository on disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sitegen.cli import main
from sitegen.output import OutputFolder
from tests.conftest import REPOSITORY, folder_bytes


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A git that knows a name, and nothing of whoever runs the tests."""
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\nname = Test\nemail = test@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


@pytest.fixture
def output(tiny_output: Path, tmp_path: Path) -> OutputFolder:
    shutil.copytree(tiny_output, tmp_path / "out")
    return OutputFolder(tmp_path / "out")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    git("init", "--quiet", "--bare", str(tmp_path / "remote.git"))
    return tmp_path / "remote.git"


def git(*arguments: str, folder: Path | None = None) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def publish(output: OutputFolder, remote: Path | str, *more: str) -> int:
    return main(["publish", str(output.root), "--to", "gh-pages", "--remote", str(remote), *more])


def test_the_branch_holds_the_site(
    output: OutputFolder, remote: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(output, remote, "--yes") == 0
    said = capsys.readouterr().err
    n_files = len(folder_bytes(output.site))
    assert f"to be sent: {n_files:,} files" in said
    assert "which is new" in said
    git("clone", "--quiet", "--branch", "gh-pages", str(remote), str(tmp_path / "clone"))
    shutil.rmtree(tmp_path / "clone/.git")
    assert folder_bytes(tmp_path / "clone") == folder_bytes(output.site)
    assert {".nojekyll", "404.html"} <= folder_bytes(tmp_path / "clone").keys()
    assert not (output.site / ".git").exists()


def test_a_folder_named_from_where_one_stands(
    output: OutputFolder, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output.root.parent)
    assert publish(OutputFolder(Path(output.root.name)), remote.name, "--yes") == 0
    assert "index.html" in git("ls-tree", "--name-only", "gh-pages", folder=remote).split()


def test_a_second_time_replaces_the_first(
    output: OutputFolder, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(output, remote, "--yes") == 0
    labels = output.root / "mine.csv"
    labels.write_text("feature,label\n5,whales\n")
    labels.rename(output.root.parent / "mine.csv")
    assert main(["render", str(output.root), "--labels", str(output.root.parent / "mine.csv")]) == 0
    assert publish(output, remote, "--yes") == 0
    assert "in the place of the site that stands there" in capsys.readouterr().err
    assert git("rev-list", "--count", "gh-pages", folder=remote).strip() == "1"
    assert "whales" in git("show", "gh-pages:features/5.html", folder=remote)


def test_a_branch_of_something_else_is_left_alone(
    output: OutputFolder, remote: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    git("clone", "--quiet", str(remote), str(work))
    (work / "thesis.tex").write_text("years of work")
    git("add", ".", folder=work)
    git("commit", "--quiet", "--message", "Thesis", folder=work)
    git("push", "--quiet", "origin", "HEAD:main", folder=work)
    assert publish(output, remote, "--branch", "main", "--yes") == 2
    assert "branch main of" in (said := capsys.readouterr().err)
    assert "holds something else than a site" in said
    assert git("show", "main:thesis.tex", folder=remote) == "years of work"


def test_what_check_refuses_is_not_sent(
    output: OutputFolder, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (output.site / "features/3.html").unlink()
    assert publish(output, remote, "--yes") == 1
    assert "nothing was sent" in capsys.readouterr().err
    assert git("branch", "--list", folder=remote) == ""


def test_it_asks_first(
    output: OutputFolder,
    remote: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert publish(output, remote) == 2  # a test has no terminal
    assert "give --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, n_branches in (("n\n", 0), ("\n", 0), ("y\n", 1)):
        monkeypatch.setattr("sys.stdin.readline", lambda answer=answer: answer)
        assert publish(output, remote) == 0
        assert len(git("branch", "--list", folder=remote).split()) == n_branches


@pytest.mark.parametrize(
    ("remote_name", "told"),
    [
        (
            "/nowhere/at/all.git",
            "git ls-remote: fatal: '/nowhere/at/all.git' does not appear to be",
        ),
        ("upstream", "git remote: fatal: not a git repository"),
    ],
)
def test_an_unreachable_remote_is_one_line(
    output: OutputFolder,
    remote_name: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert publish(output, remote_name, "--yes") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"build.py: {told}")
    assert said.count("\n") == 1
    assert ("give a URL or a folder with --remote" in said) == (remote_name == "upstream")


def test_a_name_that_git_does_not_take_is_refused(
    output: OutputFolder, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(output, remote, "--branch", "a b", "--yes") == 2
    assert (
        capsys.readouterr().err
        == "build.py: --branch 'a b': git takes no such name, give another\n"
    )


def test_the_workflow_deploys_what_the_demo_builds() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/pages.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    assert {"run": "make demo"} in steps
    uploads = [step for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert [step["with"]["path"] for step in uploads] == ["out/demo/site"]
    assert workflow["jobs"]["deploy"]["needs"] == "build"
    assert workflow["permissions"]["pages"] == "write"
    assert "out/demo/site/index.html" in (REPOSITORY / "Makefile").read_text()
