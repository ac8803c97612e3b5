"""The site's folder while it is filled: files that are already right are kept, all others are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sitegen.render.digests import digest

SIGNATURE = "<!-- made from {key}, as {digest} -->\n"


class SiteFolder:
    """A new site beside the former one, from which it takes over every file that would come out the same.

    Files are taken over as hard links, so that they are not written or stored again and keep their modification time.
    """

    def __init__(self, folder: Path, former: Path) -> None:
        self._folder, self._former = folder, former
        # Folders that are known to exist
        self._made: set[Path] = set()
        self.n_written = 0

    def keep(self, name: str, is_right: Callable[[bytes], bool]) -> bool:
        """Whether a right file is at `name` now: it was before, or the former site had one, which is linked here."""
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
        # File systems without hard links
        except OSError:
            target.write_bytes(content)
        return True

    def write(self, name: str, content: bytes) -> None:
        """Give the file at `name` this content; a file that has it already is not touched."""
        if self.keep(name, content.__eq__):
            return
        target = self._folder / name
        self._clear(target)
        target.write_bytes(content)
        self.n_written += 1

    def _clear(self, target: Path) -> None:
        """Make room for a file.

        An existing file is removed first, not overwritten: it may be a hard link to the former site's file.
        """
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.unlink(missing_ok=True)

    def remove_all_but(self, names: Iterable[str]) -> None:
        """Remove all other files, which an interrupted render of other data left."""
        wanted = {os.path.join(self._folder, name) for name in names}
        for folder, _, files in os.walk(self._folder):
            for path in (os.path.join(folder, file) for file in files):
                if path not in wanted:
                    os.unlink(path)


def signed(text: str, key: str) -> bytes:
    """A page with a last line that holds the key of its inputs and a hash of its own content."""
    content = text.encode()
    return content + SIGNATURE.format(key=key, digest=digest(content)).encode()


def is_signed(content: bytes, key: str) -> bool:
    """Whether a page was made from the inputs with this key and is complete and unchanged since."""
    at = content.rfind(b"<!-- made from ")
    return at >= 0 and content == signed(content[:at].decode(errors="replace"), key)


def _content(path: Path) -> bytes | None:
    """A file's content; None if it cannot be read or is a symbolic link."""
    try:
        return None if path.is_symlink() else path.read_bytes()
    except OSError:
        return None
