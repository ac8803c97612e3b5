"""The architecture of an autoencoder: how its weights are used, and what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextSettings:
    """The rows that an autoencoder was trained on, as its own settings declare them; None or empty if they do not."""

    prepend_bos: bool | None = None
    context_size: int | None = None  # tokens per row
    separator: str | None = None  # between documents: bos, eos, none, or another token
    dataset: str = ""


@dataclass(frozen=True)
class Architecture:
    """How an autoencoder's weights are used, and what it was trained on.

    Everything about its training is empty if the files do not declare it.

    subtracts_b_dec    whether b_dec is subtracted from the input
    lacks_input_scale  whether training scaled the input by a factor that the files do not hold
    k                  largest number of features active on a token; 0: no limit
    normalisation      of the input, undone in the output
    is_transcoder      whether it reconstructs activations at another hook point than the one that it reads
    model              name of the model that it was trained on
    hook_point         where its input is read
    output_hook_point  what a transcoder reconstructs
    processing         steps applied to the weights of that model
    text               the rows that it was trained on
    declared_l0        active features per token that its files declare, such as a BatchTopK's k; 0 if they do not
    """

    subtracts_b_dec: bool = True
    k: int = 0
    normalisation: str = "none"
    lacks_input_scale: bool = False
    is_transcoder: bool = False
    model: str = ""
    hook_point: str = ""
    output_hook_point: str = ""
    processing: tuple[str, ...] = ()
    text: TextSettings = field(default_factory=TextSettings)
    declared_l0: float = 0.0


@dataclass(frozen=True)
class DeclaredSettings:
    """Settings that the configuration declares, where the files do not state them or state something else.

    Empty, 0 or None: not declared.
    """

    activation: str = ""
    k: int = 0
    subtracts_b_dec: bool | None = None
    normalisation: str = ""
    input_scale: float = 0.0

    @property
    def is_sufficient(self) -> bool:
        """Whether a file without settings of its own can be read with these."""
        return bool(self.activation) and self.subtracts_b_dec is not None
