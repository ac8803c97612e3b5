"""Errors that a user can meet. Each message names the thing, the reason and the remedy."""


class SitegenError(Exception):
    """Base of all errors that a user, a file or a download can cause; printed as one line, with exit code 2."""


class UsageError(SitegenError):
    """An option, a preset or a configuration value is invalid."""


class SourceError(SitegenError):
    """A model, autoencoder, tokenizer or corpus cannot be read, or does not fit the other inputs."""


class OutputError(SitegenError):
    """An output folder cannot be written, or holds something else."""


class SpaceError(SitegenError):
    """A disk has too little free space, or the machine too little memory, for what a run needs."""


class StoreError(SitegenError):
    """Data on disk is missing, damaged or of another schema."""


class PrecisionError(SitegenError):
    """The machine's arithmetic is less exact than a result requires."""
