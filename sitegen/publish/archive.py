"""The site as one zip file with a checksum beside it; the same site always gives the same bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from sitegen.files import CHUNK_BYTES, sha256, whole_file
from sitegen.output import OutputFolder

# The earliest date of the zip format, for all entries: with dates of files, the bytes would differ
NO_DATE = (1980, 1, 1, 0, 0, 0)
# Permissions of a regular file, in the place where the zip format has them for Unix
READABLE = 0o100644 << 16
UNIX = 3
TOP_FOLDER = "site/"


@dataclass(frozen=True)
class Archive:
    """Size and checksum of a written archive."""

    n_files: int
    n_bytes: int
    sha256: str


def write_archive(output: OutputFolder) -> Archive:
    """Write `DIR/site.zip` and, in the form that `sha256sum -c` reads, `DIR/site.zip.sha256`.

    raises  OutputError if there is no site
    """
    output.require_site()
    paths = output.site_files()
    with whole_file(output.archive) as path, ZipFile(path, "w") as archive:
        for file in paths:
            entry = ZipInfo(_name(output, file), NO_DATE)
            entry.compress_type, entry.create_system, entry.external_attr = (
                ZIP_DEFLATED,
                UNIX,
                READABLE,
            )
            archive.writestr(entry, file.read_bytes())
    digest = sha256(output.archive)
    with whole_file(output.archive_checksum) as path:
        path.write_text(f"{digest}  {output.archive.name}\n", "ascii")
    return Archive(len(paths), output.archive.stat().st_size, digest)


def archive_findings(output: OutputFolder) -> list[str]:
    """Find where an existing archive is damaged or differs from the site beside it, one line each."""
    path, listed = output.archive, output.archive_checksum
    if not path.exists():
        return []
    if not listed.is_file() or listed.read_text("ascii", errors="replace").split() != [
        sha256(path),
        path.name,
    ]:
        return [
            f"{path.name} has another SHA-256 than {listed.name} says: run build.py archive again"
        ]
    try:
        with ZipFile(path) as archive:
            archived = {
                entry.filename: (entry.file_size, entry.CRC) for entry in archive.infolist()
            }
    except BadZipFile as error:
        return [f"{path.name} is damaged ({error}): run build.py archive again"]
    expected = {
        _name(output, file): (file.stat().st_size, _crc(file)) for file in output.site_files()
    }
    if archived != expected:
        return [f"{path.name} is not an archive of the site beside it: run build.py archive again"]
    return []


def _name(output: OutputFolder, file: Path) -> str:
    return TOP_FOLDER + file.relative_to(output.site).as_posix()


def _crc(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found = zlib.crc32(chunk, found)
    return found
