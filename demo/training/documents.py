"""Documents (whole texts with their licence) read from the unpacked packages, with one reader for each source."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inscriptis import get_text

EMAIL = re.compile(r"[\w.+-]+@(?!example\.)[\w-]+\.[a-z]{2,}", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """A whole text with its path in the package, its authors and its licence."""

    name: str
    source: str
    licence: str
    text: str


def state_of_the_union(folder: Path) -> Iterator[Document]:
    """Speeches from 1790 to 2021; each file is one speech in one line."""
    for path in sorted((folder / "package/data").glob("*.txt")):
        yield Document(path.name, "sotu", "CC0-1.0", _read(path))


def moby_dick(folder: Path) -> Iterator[Document]:
    """The chapters of the novel; `data.txt` beside them is the same book again."""
    for path in sorted((folder / "package/data").glob("chapter_*.txt")):
        yield Document(path.name, "moby-dick", "public domain", _unwrap(_read(path)))


def austen(folder: Path) -> Iterator[Document]:
    """The six novels, from the R package's lazy-load file: records of a length and a zlib stream."""
    data = (folder / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    while data:
        stream = zlib.decompressobj()
        lines = _r_strings(stream.decompress(data[4:]))
        data = stream.unused_data
        text = _unwrap("\n".join(lines))
        if len(text) > 100_000:
            title = next(line for line in lines if line.strip()).strip().title()
            yield Document(title, "austen", "public domain", text)


def _r_strings(record: bytes) -> list[str]:
    """The strings of one serialized R character vector: each a CHARSXP (type 9), its length, its bytes."""
    strings, at = [], record.find(b"\x00\x00\x00\x10")  # STRSXP
    at += 8
    while 0 <= at < len(record) - 8 and record[at + 3] == 9:
        length = int.from_bytes(record[at + 4 : at + 8], "big")
        strings.append(record[at + 8 : at + 8 + length].decode("utf-8", "replace"))
        at += 8 + length
    return strings


def wordnet(folder: Path) -> Iterator[Document]:
    """Glosses of WordNet, a hundred neighbouring ones in each document."""
    for part in ("noun", "verb", "adj", "adv"):
        lines = _read(folder / f"usr/share/wordnet/data.{part}").splitlines()
        glosses = [_gloss(line) for line in lines if line[:1].isdigit()]
        for start in range(0, len(glosses), 100):
            text = "\n".join(glosses[start : start + 100])
            yield Document(f"{part}/{start}", "wordnet", "WordNet", text)


def _gloss(line: str) -> str:
    data, gloss = line.split(" | ", 1)
    return f"{data.split()[4].replace('_', ' ')}: {gloss.strip()}"


def html_pages(folder: Path, source: str, licence: str) -> Iterator[Document]:
    """Pages of a manual as text."""
    for path in sorted(folder.rglob("*.html")):
        text = get_text(_read(path)).strip()
        yield Document(path.name, source, licence, re.sub(r"\n\s*\n+", "\n\n", text))


def python_manual(folder: Path) -> Iterator[Document]:
    """Python's manual, from its reStructuredText sources."""
    sources = folder / "usr/share/doc/python3.11/html/_sources"
    for path in sorted(sources.rglob("*.rst.txt")):
        if not path.is_symlink():
            name = str(path.relative_to(sources))
            yield Document(name, "python-manual", "PSF-2.0", _without_markup(_read(path)))


def _without_markup(text: str) -> str:
    text = re.sub(r":[\w:+-]+:`[~!]?([^`<]*?)\s*(<[^`>]*>)?`", r"\1", text)  # roles
    text = re.sub(
        r"^\.\. (index|sectionauthor|moduleauthor|_|highlight|testsetup).*\n(?:[ ]+\S.*\n)*",
        "",
        text,
        flags=re.M,
    )
    text = re.sub(r"^(\s*)\.\. ([\w-]+)::", r"\1", text, flags=re.M)
    text = re.sub(r"^\s*:(module|noindex|synopsis|platform|name|class):.*\n", "", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text.replace("``", ""))


def jargon_file(folder: Path) -> Iterator[Document]:
    """Entries of the Jargon File, thirty neighbouring ones in each document."""
    text = gzip.decompress((folder / "usr/share/dictd/jargon.dict.dz").read_bytes()).decode(
        "utf-8", "replace"
    )
    entries = re.split(r"\n\n(?=\S)", text)[3:]
    for start in range(0, len(entries), 30):
        body = "\n\n".join(
            re.sub(r"(?<=\S)\n {4}(?=\S)", " ", entry) for entry in entries[start : start + 30]
        )
        yield Document(f"entries/{start}", "jargon", "public domain", re.sub(r"[{}]", "", body))


def python_files(folder: Path, source: str, licence: str) -> Iterator[Document]:
    """Python modules of medium size: very small ones have little content, very large ones are tables."""
    for path in sorted(folder.rglob("*.py")):
        if not path.is_symlink() and 800 <= path.stat().st_size <= 120_000:
            yield Document(str(path.relative_to(folder)), source, licence, _read(path))


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace").replace("\r\n", "\n")


def _unwrap(text: str) -> str:
    """Text with each paragraph on one line: the line ends of a printed book are not part of its prose."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())
