"""The output folder: what stands in it, and that it is ours to write to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from sitegen.errors import OutputError
from sitegen.files import former_waits, require_content, restore_former
from sitegen.lock import LOCK_FILE, locked

LABELS_FILE = "labels.json"
COMPUTED_FILE, CHECKED_FILE = "computed.json", "checked.json"
ARCHIVE, ARCHIVE_CHECKSUM = "site.zip", "site.zip.sha256"
OWN_NAMES = {"sweep", "data", "site", "export"}
OWN_FILES = {LABELS_FILE, COMPUTED_FILE, CHECKED_FILE, ARCHIVE, ARCHIVE_CHECKSUM, LOCK_FILE}
UNFINISHED = (".partial", ".former")
SWEEP_FILES = re.compile(r"(rows-\d+-\d+|part-[a-z]+)\.npz(\.partial-\d+)?")
DATA_FILES = re.compile(
    r"(manifest|vocab|overview)\.json|SHA256SUMS|(features|evidence|other|rows)/\d{5,}\.json"
    r"|live/(settings\.json|weights\.safetensors|tokenizer\.json)"
)
SITE_FILES = re.compile(
    r"(index(-\d+)?|about|overview|token|active|404)\.html|\.nojekyll|features/\d+\.html|lists/[\w-]+\.html|"
    r"static/[\w.-]+|load/((evidence|rows|tokens|words|live/(embedding|layers|encoder))/\d+|vocabulary|features|lines|map|terms|live/\w+)\.js|labels\.json|data/"
    rf"({DATA_FILES.pattern})"
)
_WHOLE_OR_NOT = f"({'|'.join(map(re.escape, UNFINISHED))})?"
EXPORT_FILES = re.compile(
    rf"parquet{_WHOLE_OR_NOT}/(features|contexts)\.parquet|"
    rf"neuronpedia{_WHOLE_OR_NOT}/(features|activations|explanations)/batch-\d+\.jsonl\.gz|"
    rf"circuit-tracer{_WHOLE_OR_NOT}/features/\d+\.json"
)


@dataclass(frozen=True)
class OutputFolder:
    """The folders of a run."""

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

    @property
    def export(self) -> Path:
        """The data as other tools read it, a folder for each."""
        return self.root / "export"

    @property
    def labels(self) -> Path:
        """The labels that pages show, as they were last given."""
        return self.root / LABELS_FILE

    @property
    def computed(self) -> Path:
        """A note of what the data was computed from."""
        return self.root / COMPUTED_FILE

    @property
    def checked(self) -> Path:
        """A note of what was checked and found to hold."""
        return self.root / CHECKED_FILE

    def site_files(self) -> list[Path]:
        """Every file of what gets published, in order."""
        return sorted(path for path in self.site.rglob("*") if path.is_file())

    @property
    def archive(self) -> Path:
        """The site in one file."""
        return self.root / ARCHIVE

    @property
    def archive_checksum(self) -> Path:
        """The checksum of that file."""
        return self.root / ARCHIVE_CHECKSUM

    def require_site(self) -> None:
        """That pages have been rendered.

        raises  OutputError if not
        """
        if not (self.site / "index.html").is_file():
            raise OutputError(
                f"{self.site} holds no index.html: run build.py render {self.root} first"
            )


@contextmanager
def writing_to(root: Path, shared: bool = False) -> Iterator[OutputFolder]:
    """The folder, to be written to while the block lasts, by this process alone.

    shared  or by those that sweep other shards too
    raises  as `open_output` does, and OutputError if another process writes there
    """
    _require_own_names(root)
    with locked(root, shared):
        yield open_output(root)


def open_output(root: Path) -> OutputFolder:
    """The folder, to be written to: absent, empty, or holding an earlier run and nothing else.

    raises  OutputError if it is a file or holds anything that a run did not write
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
        _require_own_manifest(folder.data / "manifest.json")
    return folder


def finished_output(root: Path) -> OutputFolder:
    """The folder of a run whose sweep has been done, to be read; writing to it is `writing_to`'s matter.

    raises  OutputError if there is none
    """
    if root.is_file() or (root / "index.html").is_file():
        what = "a file" if root.is_file() else "a site alone"
        raise OutputError(f"{root} is {what}: give the output folder, with data/ and site/ in it")
    folder = OutputFolder(root)
    if former_waits(folder.data):
        with locked(root):  # unless a run is just about to move the new one in
            restore_former(folder.data)
    if not (folder.data / "manifest.json").is_file():
        raise OutputError(
            f"{root} holds no data/manifest.json: run build.py sweep PRESET --out {root} first"
        )
    return folder


def _require_own_names(root: Path) -> None:
    """That a folder is none yet, or holds nothing that a run does not write.

    raises  OutputError
    """
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root} is a file: give a folder with --out")
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if not _is_own(path):
            raise OutputError(
                f"{root} holds something else ({path.name}): give an empty or new folder with --out"
            )


def _is_own(path: Path) -> bool:
    name = path.name
    if path.is_file() and re.sub(r"\.partial-\d+$", "", name) in OWN_FILES:
        return True
    for suffix in UNFINISHED:
        name = name.removesuffix(suffix)
    return path.is_dir() and not path.is_symlink() and name in OWN_NAMES


def _require_own_files(folder: Path, own: re.Pattern[str]) -> None:
    """That every file below a folder that is about to be replaced has a name that a run gives."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not own.fullmatch(name):
            raise OutputError(
                f"{folder} holds something else ({name}): move it away, or give another folder"
            )


def _require_own_manifest(path: Path) -> None:
    try:
        manifest = orjson.loads(require_content(path).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        manifest = None
    if not isinstance(manifest, dict) or not {"schema_version", "preset"} <= manifest.keys():
        raise OutputError(
            f"{path} is no manifest of a run, so {path.parent} is left alone: give another folder"
        )
