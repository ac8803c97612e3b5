"""Errors a user can meet: each message names the thing that is wrong and what to do about it."""


class SitegenError(Exception):
    """Anything that a user, a file or a download can cause; the command line prints it as one line, exit code 2."""


class UsageError(SitegenError):
    """An option, a preset or a configuration value that makes no sense."""


class SourceError(SitegenError):
    """A model, autoencoder, tokenizer or corpus that cannot be read or does not fit."""


class OutputError(SitegenError):
    """An output folder that cannot be written, or that holds something else."""


class SpaceError(SitegenError):
    """A disk without room for what is to be written to it."""


class StoreError(SitegenError):
    """Data on disk that is missing, damaged or of another schema."""


class PrecisionError(SitegenError):
    """The machine's arithmetic is not as exact as a result relies on."""
