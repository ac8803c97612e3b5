"""A site as one file: reproducible to the byte, verified by `check`, refused if `check` has findings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from sitegen.check import check_output
from sitegen.cli import main
from sitegen.files import sha256
from sitegen.output import OutputFolder, open_output
from sitegen.publish.archive import write_archive
from tests.conftest import folder_bytes


@pytest.fixture
def output(tiny_output: Path, tmp_path: Path) -> OutputFolder:
    shutil.copytree(tiny_output, tmp_path / "out")
    return OutputFolder(tmp_path / "out")


def test_the_archive_holds_the_site(output: OutputFolder, tmp_path: Path) -> None:
    assert main(["archive", str(output.root)]) == 0
    with ZipFile(output.archive) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert folder_bytes(tmp_path / "unpacked/site") == folder_bytes(output.site)
    subprocess.run(["sha256sum", "-c", output.archive_checksum.name], cwd=output.root, check=True)
    assert check_output(output).findings == []
    open_output(output.root)  # still a folder that a run may write to


def test_the_same_site_gives_the_same_bytes(output: OutputFolder) -> None:
    first = write_archive(output)
    for path in output.site.rglob("*"):
        os.utime(path, (1e9, 1e9))
    output.archive.unlink()
    assert write_archive(output) == first


def test_check_finds_a_damaged_archive_and_one_of_another_site(output: OutputFolder) -> None:
    write_archive(output)
    content = output.archive.read_bytes()
    output.archive.write_bytes(content[:-1] + b"x")
    assert check_output(output).findings == [
        "site.zip has another SHA-256 than site.zip.sha256 says: run build.py archive again"
    ]
    output.archive.write_bytes(content)
    output.archive_checksum.unlink()
    assert "another SHA-256" in check_output(output).findings[0]
    write_archive(output)
    assert main(["render", str(output.root), "--labels", "none"]) == 0
    (output.site / "about.html").write_text("changed")
    assert check_output(output).findings[-1] == (
        "site.zip is not an archive of the site beside it: run build.py archive again"
    )


def test_a_site_with_findings_is_not_archived(
    output: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    former = write_archive(output)
    (output.site / "about.html").unlink()
    assert main(["archive", str(output.root)]) == 1
    assert "no archive was written" in capsys.readouterr().err
    assert sha256(output.archive) == former.sha256


def test_archiving_without_a_site_is_refused(
    output: OutputFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(output.site)
    assert main(["archive", str(output.root)]) == 2
    assert "run build.py render" in capsys.readouterr().err
