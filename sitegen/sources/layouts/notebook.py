"""Files of Neel Nanda's notebook, and of code that was derived from it: `N.pt` beside `N_cfg.json`."""

from __future__ import annotations

from torch import Tensor

from sitegen.sources.architecture import Architecture
from sitegen.sources.hook_points import to_hook_point
from sitegen.sources.layouts.layout import Layout, Reading
from sitegen.sources.layouts.source import Source
from sitegen.sources.settings import read_settings


def _settings_name(source: Source) -> str:
    return source.file.removesuffix(".pt") + "_cfg.json"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a ReLU that subtracts b_dec.

    source  Neel Nanda's notebook; Connor Kissane's `hook_z` files, which name the hook point `act_name`
    """
    settings = read_settings(source.path(_settings_name(source)), source.name)
    return dict(weights), Architecture(
        hook_point=to_hook_point(str(settings.get("act_name") or "")),
    )


LAYOUT = Layout(
    name="Neel Nanda's notebook, Connor Kissane's `hook_z`",
    files=("NAME.pt",),
    is_folder=False,
    content="ReLU that subtracts `b_dec`",
    n_registered={"`hook_z`": 12},
    # A version without its settings is refused as incomplete, rather than read as a plain file
    recognised_by=lambda source: (
        source.is_version or (source.file.endswith(".pt") and source.holds(_settings_name(source)))
    ),
    read=_read,
    also="beside `NAME_cfg.json`; `run1`, `run2` or a version number in the default repository",
)
