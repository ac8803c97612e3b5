"""The output folder: its files, and checks that nothing in it is overwritten that a run did not write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from sitegen.errors import OutputError
from sitegen.exports import EXPORTS
from sitegen.file_names import DATA, DATA_FILES, INDEX_PAGE, LABELS_FILE, MANIFEST, SITE_FILES
from sitegen.files import former_waits, require_content, restore_former
from sitegen.lock import LOCK_FILE, locked

COMPUTED_FILE, CHECKED_FILE = "computed.json", "checked.json"
ARCHIVE, ARCHIVE_CHECKSUM = "site.zip", "site.zip.sha256"
OWN_NAMES = {"sweep", DATA, "site", "export"}
OWN_FILES = {LABELS_FILE, COMPUTED_FILE, CHECKED_FILE, ARCHIVE, ARCHIVE_CHECKSUM, LOCK_FILE}
UNFINISHED = (".partial", ".former")
SWEEP_FILES = re.compile(r"(rows-\d+-\d+|part-[a-z]+)\.npz(\.partial-\d+)?")
# Of a folder that is complete, being filled, or moved aside
_SUFFIX = f"({'|'.join(map(re.escape, UNFINISHED))})?"
EXPORT_FILES = re.compile(
    "|".join(rf"{re.escape(tool)}{_SUFFIX}/({made.files})" for tool, made in EXPORTS.items())
)


@dataclass(frozen=True)
class OutputFolder:
    """The files and folders of a run."""

    root: Path

    @property
    def sweep(self) -> Path:
        """Saved states of shards, and parts of the analysis, until the run has finished."""
        return self.root / "sweep"

    @property
    def data(self) -> Path:
        """The records, as JSON files."""
        return self.root / DATA

    @property
    def site(self) -> Path:
        """The site that is published."""
        return self.root / "site"

    @property
    def export(self) -> Path:
        """The data as other tools read it, one folder per tool."""
        return self.root / "export"

    @property
    def labels(self) -> Path:
        """The labels that pages show, kept from the last time they were given."""
        return self.root / LABELS_FILE

    @property
    def computed(self) -> Path:
        """The note from which inputs the data was computed."""
        return self.root / COMPUTED_FILE

    @property
    def checked(self) -> Path:
        """The note which files were checked without findings."""
        return self.root / CHECKED_FILE

    def site_files(self) -> list[Path]:
        """List every file of the site, in order."""
        return sorted(path for path in self.site.rglob("*") if path.is_file())

    @property
    def archive(self) -> Path:
        """The site as one zip file."""
        return self.root / ARCHIVE

    @property
    def archive_checksum(self) -> Path:
        """The checksum of the zip file."""
        return self.root / ARCHIVE_CHECKSUM

    def require_site(self) -> None:
        """Raise OutputError unless pages have been rendered."""
        if not (self.site / INDEX_PAGE).is_file():
            raise OutputError(
                f"{self.site} contains no {INDEX_PAGE}: run build.py render {self.root} first"
            )


@contextmanager
def writing_to(root: Path, shared: bool = False) -> Iterator[OutputFolder]:
    """Open the folder for writing and lock it against other processes for the duration of the block.

    shared  whether to share the lock with processes that sweep other job slices
    raises  as `open_output` does, and OutputError if another process is writing there
    """
    _require_own_names(root)
    with locked(root, shared):
        yield open_output(root)


def open_output(root: Path) -> OutputFolder:
    """Open the folder for writing; it must be missing, empty, or contain nothing but an earlier run.

    raises  OutputError if it is a file or contains anything that a run did not write
    """
    _require_own_names(root)
    folder = OutputFolder(root)
    exports = (path.with_suffix("") for path in folder.export.glob("*.former"))
    for path in (folder.data, folder.site, *exports):
        restore_former(path)
    _require_own_files(folder.sweep, SWEEP_FILES)
    _require_own_files(folder.data, DATA_FILES)
    _require_own_files(folder.export, EXPORT_FILES)
    for path in (folder.site, folder.site.with_name(f"{folder.site.name}.partial")):
        _require_own_files(path, SITE_FILES)
    if folder.data.is_dir() and any(folder.data.iterdir()):
        _require_own_manifest(folder.data / MANIFEST)
    return folder


def finished_output(root: Path) -> OutputFolder:
    """Open the folder of a run whose sweep is finished, for reading; use `writing_to` to write to it.

    raises  OutputError if it contains no finished sweep
    """
    if root.is_file() or (root / INDEX_PAGE).is_file():
        kind = "a file" if root.is_file() else "only a site"
        raise OutputError(f"{root} is {kind}: give the output folder that contains data/ and site/")
    folder = OutputFolder(root)
    if former_waits(folder.data):
        # Under the lock, because another run may just be about to move the new folder in
        with locked(root):
            restore_former(folder.data)
    if not (folder.data / MANIFEST).is_file():
        raise OutputError(
            f"{root} contains no {DATA}/{MANIFEST}: run build.py sweep PRESET --out {root} first"
        )
    return folder


def _require_own_names(root: Path) -> None:
    """Raise OutputError if the folder is a file, or contains a name that no run writes."""
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root} is a file: give a folder with --out")
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if not _is_own(path):
            raise OutputError(
                f"{root} contains something that no run writes ({path.name}): give an empty or new folder with --out"
            )


def _is_own(path: Path) -> bool:
    name = path.name
    if path.is_file() and re.sub(r"\.partial-\d+$", "", name) in OWN_FILES:
        return True
    for suffix in UNFINISHED:
        name = name.removesuffix(suffix)
    return path.is_dir() and not path.is_symlink() and name in OWN_NAMES


def _require_own_files(folder: Path, own: re.Pattern[str]) -> None:
    """Raise OutputError if a folder that is about to be replaced contains a file with a name that no run writes."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not own.fullmatch(name):
            raise OutputError(
                f"{folder} contains something that no run writes ({name}): move it away, or give another folder"
            )


def _require_own_manifest(path: Path) -> None:
    try:
        manifest = orjson.loads(require_content(path).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        manifest = None
    if not isinstance(manifest, dict) or not {"schema_version", "preset"} <= manifest.keys():
        raise OutputError(
            f"{path} is not the manifest of a run, so {path.parent} is not overwritten: give another folder"
        )
