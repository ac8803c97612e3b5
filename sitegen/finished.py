"""Notes beside the results from which a run recognises that it has nothing to do.

One note says from which inputs `data/` was computed, the other one which files were checked without findings.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sitegen.errors import StoreError
from sitegen.file_names import CHECKSUMS
from sitegen.files import sha256, whole_file
from sitegen.output import OutputFolder
from sitegen.store import read_checksums

PACKAGE = Path(__file__).parent


def inputs_key(facts: dict[str, Any]) -> str:
    """Hash everything from which a run computes: these facts (JSON values), and this package's code and schemas."""
    facts_hash = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return facts_hash[:32] + _code_hash()[:32]


def _code_hash() -> str:
    paths = [path for kind in ("*.py", "*.json", "*.toml") for path in PACKAGE.rglob(kind)]
    return _files_hash(PACKAGE, paths)


def _files_hash(root: Path, paths: list[Path]) -> str:
    """Hash the names of files below `root` and their contents."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


def note_finished(output: OutputFolder, key: str, remarks: list[str]) -> None:
    """Note that `data/` was computed completely from the inputs of a key, with the remarks of the run."""
    noted = {"inputs": key, "checksums": sha256(output.data / CHECKSUMS), "remarks": remarks}
    with whole_file(output.computed) as partial:
        partial.write_text(json.dumps(noted, indent=2) + "\n")


def remarks_if_finished(output: OutputFolder, key: str) -> list[str] | None:
    """Get the remarks of the run that computed `data/` from the same inputs.

    None if there is no such run, or a file of `data/` is missing, added or changed since.
    """
    try:
        noted = json.loads(output.computed.read_text())
        is_same = noted["inputs"] == key and noted["checksums"] == sha256(output.data / CHECKSUMS)
        if is_same and _is_whole(output.data):
            return list(map(str, noted["remarks"]))
    # An absent or damaged note is no error: the run computes again
    except (StoreError, OSError, ValueError, KeyError, TypeError):
        pass
    return None


def note_checked(output: OutputFolder, summary: str) -> None:
    """Note that data and site, as they are now, were checked without findings, with the summary of the check."""
    noted = {"files": _checked_files_hash(output), "summary": summary}
    with whole_file(output.checked) as partial:
        partial.write_text(json.dumps(noted, indent=2) + "\n")


def summary_if_checked(output: OutputFolder) -> str | None:
    """Get the summary of a check of exactly these files that had no findings; None if there is none."""
    try:
        noted = json.loads(output.checked.read_text())
        is_same = noted["files"] == _checked_files_hash(output)
        return str(noted["summary"]) if is_same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checked_files_hash(output: OutputFolder) -> str:
    """Hash all files that a check reads, and the code of the check."""
    paths = [*output.site_files(), *(path for path in output.data.rglob("*") if path.is_file())]
    beside = [output.labels, output.archive, output.archive_checksum]
    paths += [path for path in beside if path.is_file()]
    return _files_hash(output.root, paths) + _code_hash()


def _is_whole(folder: Path) -> bool:
    """Check whether every file of a data folder has its checksum, and no file is there that has none."""
    expected = read_checksums(folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return names == {*expected, CHECKSUMS} and all(
        sha256(folder / name) == digest for name, digest in expected.items()
    )
