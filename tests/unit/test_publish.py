"""Publishing a site as a branch of a bare repository on disk: what is shown, what is sent, what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sitegen.cli import main
from sitegen.errors import UsageError
from sitegen.output import OutputFolder
from sitegen.publish.branch import publication
from tests.conftest import REPOSITORY, folder_bytes


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Configure git with a name, and without the settings of the user who runs the tests."""
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


def raw(repository: Path, name: str) -> bytes:
    """The bytes of a file as stored in a repository."""
    return subprocess.check_output(["git", "cat-file", "blob", name], cwd=repository)


def as_another(remote: Path, work: Path, files: dict[str, bytes]) -> str:
    """Commit files to the branch as another user; returns the commit."""
    git("clone", "--quiet", "--branch", "gh-pages", str(remote), str(work))
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    git("add", "--all", folder=work)
    git("commit", "--quiet", "--message", "By another hand", folder=work)
    git("push", "--quiet", "origin", "gh-pages", folder=work)
    return git("rev-parse", "HEAD", folder=work).strip()


def push(output: OutputFolder, remote: Path) -> str:
    """Publish without the preceding check; returns the summary."""
    with publication(output, str(remote), "gh-pages") as prepared:
        prepared.push()
        return str(prepared)


def bytes_of_branch(remote: Path, work: Path) -> dict[str, bytes]:
    """The stored bytes of every file of the branch, without the conversions of a checkout."""
    plain = ["-c", "core.autocrlf=false", "-c", f"core.attributesFile={os.devnull}"]
    git(*plain, "clone", "--quiet", "--branch", "gh-pages", str(remote), str(work))
    shutil.rmtree(work / ".git")
    return folder_bytes(work)


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


def test_a_relative_output_folder_can_be_published(
    output: OutputFolder, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output.root.parent)
    assert publish(OutputFolder(Path(output.root.name)), remote.name, "--yes") == 0
    assert "index.html" in git("ls-tree", "--name-only", "gh-pages", folder=remote).split()


def test_publishing_again_replaces_the_first_site(
    output: OutputFolder, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(output, remote, "--yes") == 0
    labels = output.root / "mine.csv"
    labels.write_text("feature,label\n5,whales\n")
    labels.rename(output.root.parent / "mine.csv")
    assert main(["render", str(output.root), "--labels", str(output.root.parent / "mine.csv")]) == 0
    assert publish(output, remote, "--yes") == 0
    assert "replacing the site that is there now" in capsys.readouterr().err
    assert git("rev-list", "--count", "gh-pages", folder=remote).strip() == "1"
    assert "whales" in git("show", "gh-pages:features/5.html", folder=remote)


OF_OTHERS = {
    "CNAME": b"features.example.org\n",
    "LICENSE": b"MIT\n",
    ".gitattributes": b"* text eol=crlf\n*.html filter=broken\n",
    ".github/workflows/pages.yml": b"on: push\n",
    "docs/caf\u00e9 notes.md": b"mine",
    "features/notes.txt": b"beside the pages",
}


def test_files_of_others_on_the_branch_are_kept(
    output: OutputFolder, remote: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(output, remote)
    theirs = as_another(remote, tmp_path / "work", {**OF_OTHERS, "features/9999.html": b"old"})
    assert publish(output, remote, "--yes") == 0
    message = "; kept unchanged: .gitattributes, .github/workflows/pages.yml, CNAME, LICENSE, docs/"
    assert message in (said := capsys.readouterr().err)
    assert " and 1 more\n" in said
    assert "fatal" not in said
    commits = git("rev-list", "gh-pages", folder=remote).split()
    assert len(commits) == 3
    assert commits[1] == theirs
    push(output, remote)  # replaces the previous commit, so that the branch does not grow
    assert git("rev-list", "gh-pages", folder=remote).split()[1:] == commits[1:]
    held = git("ls-tree", "-r", "-z", "--name-only", "gh-pages", folder=remote).split("\0")
    assert {*held} - {""} == {*folder_bytes(output.site), *OF_OTHERS}
    for name in ("CNAME", "LICENSE", ".gitattributes"):
        assert raw(remote, f"gh-pages:{name}") == OF_OTHERS[name]
    assert raw(remote, "gh-pages:index.html") == (output.site / "index.html").read_bytes()


def test_a_concurrent_push_is_not_lost(output: OutputFolder, remote: Path, tmp_path: Path) -> None:
    with publication(output, str(remote), "gh-pages") as prepared:
        push(output, remote)
        (output.site / "404.html").write_text("of another run")
        with pytest.raises(
            UsageError, match="somebody has pushed to it in the meantime, so nothing was"
        ):
            prepared.push()
    with publication(output, str(remote), "gh-pages") as prepared:
        theirs = as_another(remote, tmp_path / "work", {"CNAME": b"example.org"})
        with pytest.raises(UsageError, match="run the same command again"):
            prepared.push()
    assert git("rev-parse", "gh-pages", folder=remote).strip() == theirs


def test_a_branch_that_forbids_rewriting_is_extended(output: OutputFolder, remote: Path) -> None:
    git("config", "receive.denyNonFastForwards", "true", folder=remote)
    push(output, remote)
    first = git("rev-parse", "gh-pages", folder=remote).strip()
    (output.site / "404.html").write_text("of another run")
    push(output, remote)
    assert git("rev-list", "gh-pages", folder=remote).split()[1:] == [first]
    assert raw(remote, "gh-pages:404.html") == b"of another run"


def test_a_refused_push_says_why(output: OutputFolder, remote: Path) -> None:
    hook = remote / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not on a Friday >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(UsageError, match=r"git push: ! \[remote rejected\] .*hook declined"):
        push(output, remote)


def _no_identity(home: Path) -> str:
    return "[user]\nuseConfigOnly = true\n"


def _signing_without_a_key(home: Path) -> str:
    return (
        "[commit]\ngpgSign = true\n[push]\ngpgSign = true\n"
        "[gpg]\nprogram = /nowhere\n[user]\nsigningKey = none\n"
    )


def _hooks_that_refuse(home: Path) -> str:
    for name in ("pre-commit", "commit-msg", "pre-push"):
        (home / "hooks").mkdir(exist_ok=True)
        (home / "hooks" / name).write_text("#!/bin/sh\nexit 1\n")
        (home / "hooks" / name).chmod(0o755)
    return f"[core]\nhooksPath = {home / 'hooks'}\n"


def _other_line_ends(home: Path) -> str:
    (home / "attributes").write_text("* text=auto eol=crlf\n*.json filter=broken ident\n")
    return (
        f"[core]\nautocrlf = true\nsafecrlf = true\nattributesFile = {home / 'attributes'}\n"
        '[filter "broken"]\nclean = false\nrequired = true\n'
    )


def _ignoring_all(home: Path) -> str:
    (home / "ignore").write_text("*\n")
    return f"[core]\nexcludesFile = {home / 'ignore'}\n"


def _other_defaults(home: Path) -> str:
    (home / "template/hooks").mkdir(parents=True)
    return (
        f"[init]\ndefaultBranch = a..b\ntemplateDir = {home / 'template'}\n"
        "defaultObjectFormat = sha256\n[i18n]\ncommitEncoding = UTF-16\n"
    )


@pytest.mark.parametrize(
    "settings",
    [
        _no_identity,
        _signing_without_a_key,
        _hooks_that_refuse,
        _other_line_ends,
        _ignoring_all,
        _other_defaults,
    ],
)
def test_publishing_works_with_unusual_git_settings(
    settings: Callable[[Path], str],
    output: OutputFolder,
    remote: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "home").mkdir()
    (output.site / "404.html").write_bytes(b"a\nb\r\nc\n")
    (tmp_path / "hostile").write_text(settings(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as hostile:
        hostile.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "hostile"))
        push(output, remote)
        push(output, remote)
    assert bytes_of_branch(remote, tmp_path / "clone") == folder_bytes(output.site)
    author = git("log", "-1", "--format=%an <%ae>", "gh-pages", folder=remote).strip()
    assert author == "sae-sitegen <sae-sitegen@localhost>"


def test_the_commit_author_is_the_surrounding_repository_s_user(
    output: OutputFolder, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "--quiet", str(tmp_path / "mine"))
    git("config", "user.name", "Somebody", folder=tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "ci@example.org")
    push(output, remote)
    message = git("log", "-1", "--format=%an %ae %cn %ce", "gh-pages", folder=remote).strip()
    assert message == "Somebody test@example.org Somebody ci@example.org"


def test_publishing_works_within_a_hook_of_another_repository(
    output: OutputFolder, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git passes the hook's repository in environment variables, which must not apply to the published branch."""
    git("init", "--quiet", str(tmp_path / "another"))
    git("init", "--quiet", str(tmp_path / "mine"))
    git("remote", "add", "origin", str(remote), folder=tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(tmp_path / "another/.git"))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "another/.git/index"))
        hook.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "another/.git/objects"))
        push(output, Path("origin"))
    assert bytes_of_branch(remote, tmp_path / "clone") == folder_bytes(output.site)
    assert not (tmp_path / "another/.git/index").exists()


def test_a_branch_with_other_content_is_left_alone(
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
    assert "contains something other than a site" in said
    assert git("show", "main:thesis.tex", folder=remote) == "years of work"


def test_a_site_with_findings_is_not_published(
    output: OutputFolder, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (output.site / "features/3.html").unlink()
    assert publish(output, remote, "--yes") == 1
    assert "nothing was sent" in capsys.readouterr().err
    assert git("branch", "--list", folder=remote) == ""


def test_publishing_asks_first(
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
    ("remote_name", "message"),
    [
        (
            "/nowhere/at/all.git",
            "git ls-remote: fatal: '/nowhere/at/all.git' does not appear to be",
        ),
        ("upstream", "git remote: fatal: not a git repository"),
    ],
)
def test_an_unreachable_remote_gives_a_one_line_error(
    output: OutputFolder,
    remote_name: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert publish(output, remote_name, "--yes") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"build.py: {message}")
    assert said.count("\n") == 1
    assert ("give a URL or a folder with --remote" in said) == (remote_name == "upstream")


def test_a_name_that_git_does_not_take_is_refused(
    output: OutputFolder, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(output, remote, "--branch", "a b", "--yes") == 2
    assert (
        capsys.readouterr().err
        == "build.py: --branch 'a b' is not a name that git allows for a branch: give another\n"
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
