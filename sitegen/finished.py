"""Whether `data/` is already what a run would compute: a note beside it says what it was computed from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sitegen.files import sha256, whole_file
from sitegen.output import OutputFolder
from sitegen.store import CHECKSUMS

PACKAGE = Path(__file__).parent


def inputs_key(facts: dict[str, Any]) -> str:
    """Hash of what a run computes from: these facts (JSON values), and the code of this package and its schemas."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in sorted(
        [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.json"), *PACKAGE.rglob("*.toml")]
    ):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def note_finished(output: OutputFolder, key: str, remarks: list[str]) -> None:
    """Notes that `data/` was computed whole from the inputs of a key, and what the run said of it."""
    noted = {"inputs": key, "checksums": sha256(output.data / CHECKSUMS), "remarks": remarks}
    with whole_file(output.computed) as partial:
        partial.write_text(json.dumps(noted, indent=2) + "\n")


def remarks_if_finished(output: OutputFolder, key: str) -> list[str] | None:
    """What the run said that computed `data/` from the same inputs; None if none did, or a file has changed since."""
    try:
        noted = json.loads(output.computed.read_text())
        sums = output.data / CHECKSUMS
        is_same = noted["inputs"] == key and noted["checksums"] == sha256(sums)
        if is_same and _are_whole(output.data, sums.read_text("ascii")):
            return list(map(str, noted["remarks"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _are_whole(folder: Path, sums: str) -> bool:
    """Whether every file of a folder has its checksum, and no file is there that has none."""
    expected = {
        name: digest for digest, name in (line.split("  ", 1) for line in sums.splitlines())
    }
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return names == {*expected, CHECKSUMS} and all(
        sha256(folder / name) == digest for name, digest in expected.items()
    )
