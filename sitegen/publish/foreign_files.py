"""What a place holds that a site was published to before: files of a site, and files that others put there."""

from __future__ import annotations

from collections.abc import Iterable

from sitegen.output import SITE_FILES

OWN_FILE = "data/manifest.json"  # that a place holds if a site was published there before
MESSAGE = "Publish the site"  # of a commit that does so
NAMED = 5  # of the files that are kept; the rest is counted


def files_of_others(names: Iterable[str]) -> list[str]:
    """Those of a place's files that no site has: a publication leaves them as they are."""
    return sorted(name for name in names if not SITE_FILES.fullmatch(name))


def kept_clause(names: list[str]) -> str:
    """What is said of the files that stay; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"; kept as they are: {', '.join(names[:NAMED])}{more}"
