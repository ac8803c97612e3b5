"""The output folder: what stands in it, and that it is ours to write to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sitegen.errors import OutputError

OWN_NAMES = {"sweep", "data", "site"}
UNFINISHED = (".partial", ".former")


@dataclass(frozen=True)
class OutputFolder:
    """The three folders of a run."""

    root: Path

    @property
    def sweep(self) -> Path:
        """Shard states while the job runs."""
        return self.root / "sweep"

    @property
    def data(self) -> Path:
        """The store."""
        return self.root / "data"

    @property
    def site(self) -> Path:
        """What gets published."""
        return self.root / "site"


def open_output(root: Path) -> OutputFolder:
    """The folder, to be written to: absent, empty, or holding an earlier run and nothing else.

    raises  OutputError if it is a file or holds anything that a run did not write
    """
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root} is a file: give a folder with --out")
    if root.is_dir():
        strange = sorted(path.name for path in root.iterdir() if not _is_own(path))
        if strange:
            raise OutputError(
                f"{root} holds something else ({strange[0]}): give an empty or new folder with --out"
            )
    folder = OutputFolder(root)
    if (
        folder.data.is_dir()
        and any(folder.data.iterdir())
        and not (folder.data / "manifest.json").is_file()
    ):
        raise OutputError(
            f"{folder.data} holds no manifest.json, so no run wrote it: give another folder with --out"
        )
    if (
        folder.site.is_dir()
        and any(folder.site.iterdir())
        and not (folder.site / "index.html").is_file()
    ):
        raise OutputError(
            f"{folder.site} holds no index.html, so no run wrote it: give another folder with --out"
        )
    return folder


def finished_output(root: Path) -> OutputFolder:
    """The folder of a run whose sweep has been done.

    raises  OutputError if there is none
    """
    folder = OutputFolder(root)
    if not (folder.data / "manifest.json").is_file():
        raise OutputError(
            f"{root} holds no data/manifest.json: run the sweep into it first (build.py sweep PRESET --out {root})"
        )
    return folder


def _is_own(path: Path) -> bool:
    name = path.name
    for suffix in UNFINISHED:
        name = name.removesuffix(suffix)
    return path.is_dir() and name in OWN_NAMES
