"""The site's folder while it is filled: what is right already is kept, what is not is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

SIGNATURE = "<!-- made from {key}, as {digest} -->\n"
DIGITS = 32  # of a SHA-256 in hexadecimal: enough that no two are ever alike by chance


class SiteFolder:
    """A new site beside the former one, from which it takes over whatever would come out the same.

    Files taken over are hard links, so that they are neither written nor stored twice, and keep their time of change.
    """

    def __init__(self, folder: Path, former: Path) -> None:
        self._folder, self._former = folder, former
        self._made: set[Path] = set()  # folders that are there
        self.n_written = 0

    def keep(self, name: str, is_right: Callable[[bytes], bool]) -> bool:
        """Whether a right file stands at `name` now: it did before, or the former site had it."""
        target = self._folder / name
        present = _content(target)
        if present is not None and is_right(present):
            return True
        content = _content(self._former / name)
        if content is None or not is_right(content):
            return False
        self._clear(target)
        try:
            os.link(self._former / name, target)
        except OSError:  # a file system without links
            target.write_bytes(content)
        return True

    def write(self, name: str, content: bytes) -> None:
        """Makes a file's content what is given."""
        if self.keep(name, content.__eq__):
            return
        target = self._folder / name
        self._clear(target)
        target.write_bytes(content)
        self.n_written += 1

    def _clear(self, target: Path) -> None:
        """Makes room for a file; what stands there may be a link to the former site's."""
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.unlink(missing_ok=True)

    def remove_all_but(self, names: Iterable[str]) -> None:
        """Removes files that an interrupted render of something else left."""
        wanted = {os.path.join(self._folder, name) for name in names}
        for folder, _, files in os.walk(self._folder):
            for path in (os.path.join(folder, file) for file in files):
                if path not in wanted:
                    os.unlink(path)


def signed(text: str, key: str) -> bytes:
    """A page with a last line that says what it was made from and what it is."""
    content = text.encode()
    return content + SIGNATURE.format(key=key, digest=digest(content)).encode()


def is_signed(content: bytes, key: str) -> bool:
    """That a page was made from what `key` stands for, and is whole and unchanged since."""
    at = content.rfind(b"<!-- made from ")
    return at >= 0 and content == signed(content[:at].decode(errors="replace"), key)


def digest(*contents: bytes) -> str:
    """A hash of some contents, each told from the next."""
    found = hashlib.sha256()
    for content in contents:
        found.update(len(content).to_bytes(8, "big") + content)
    return found.hexdigest()[:DIGITS]


def _content(path: Path) -> bytes | None:
    """A file's content; None where there is none to be had, or it stands elsewhere."""
    try:
        return None if path.is_symlink() else path.read_bytes()
    except OSError:
        return None
