"""Files at a destination to which a site was published before: those of a site, and those that others put there.

A destination is a branch or a Space. Files that no site has (a licence, a domain name, a workflow) are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from sitegen.file_names import DATA, MANIFEST, SITE_FILES

# The file by which a destination is recognised as one to which a site was published before
OWN_FILE = f"{DATA}/{MANIFEST}"
# Commit message of a publication
MESSAGE = "Publish the site"
# How many kept files are listed by name; the rest is counted
NAMED = 5


def files_of_others(names: Iterable[str]) -> list[str]:
    """Find the names that no site has; a publication does not change these files."""
    return sorted(name for name in names if not SITE_FILES.fullmatch(name))


def kept_clause(names: list[str]) -> str:
    """Describe the files that are not changed, as a clause of a sentence; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"; kept unchanged: {', '.join(names[:NAMED])}{more}"
