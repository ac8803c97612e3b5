"""Files of tensors without settings: the last resort, for files that no layout recognises."""

from __future__ import annotations

from torch import Tensor

from sitegen.config import ACTIVATION_NAMES
from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, DeclaredSettings
from sitegen.sources.layouts import saelens
from sitegen.sources.layouts.layout import Reading, rename_linear, require_k
from sitegen.sources.layouts.source import Source

SETTINGS_NAMES = ("cfg.json", "config.json", "hyperparams.json")
# Names that files of Neel Nanda's notebook do not have
FOREIGN_NAMES = {"threshold", "k", "encoder.weight"}


def read_plain(source: Source, weights: dict[str, Tensor], declared: DeclaredSettings) -> Reading:
    """Read a file that has names of tensors but no settings, as Neel Nanda's notebook writes it.

    Only the format of that notebook (W_enc, W_dec, b_enc and b_dec, a ReLU that subtracts b_dec) is accepted
    without declared settings.

    raises  SourceError if its architecture is neither known nor declared
    """
    if source.file == saelens.WEIGHTS:
        raise SourceError(
            f"{source.file} does not state its architecture, and its {saelens.SETTINGS} is missing: put it "
            "beside the file"
        )
    # These names, or an unread settings file, mean that this format must not be assumed
    settings_file = _find_settings_file(source)
    is_ambiguous = settings_file is not None or not FOREIGN_NAMES.isdisjoint(weights)
    if is_ambiguous and not declared.is_sufficient:
        reason = (
            f"its settings are in {settings_file}, whose layout is not supported"
            if settings_file
            else (
                "a plain file does not state its activation function, nor whether b_dec is subtracted from the input"
            )
        )
        raise SourceError(
            f"{source.file}: {reason}: set autoencoder.activation ({', '.join(ACTIVATION_NAMES)}) and "
            "autoencoder.subtracts_b_dec, and autoencoder.k and autoencoder.normalisation where they apply"
        )
    renamed = rename_linear(weights, source.file)
    k = renamed.pop("k", None)
    return renamed, Architecture(k=0 if k is None else require_k(k.tolist(), source.file))


def _find_settings_file(source: Source) -> str | None:
    """Name of a settings file in the folder of a weights file, or in the folder above `checkpoints`; None without."""
    names = list(SETTINGS_NAMES)
    if source.folder.rpartition("/")[2] == "checkpoints":
        names += [f"../{name}" for name in SETTINGS_NAMES]
    found = next((name for name in names if source.holds(name)), None)
    return found.removeprefix("../") if found else None
