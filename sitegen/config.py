"""The configuration of a run: one frozen dataclass for each section of a TOML preset, checked when it is made."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

import msgspec
from msgspec import Meta

from sitegen.errors import UsageError
from sitegen.files import require_content

PRESETS_FOLDER = Path(__file__).parent / "presets"
REPOSITORY_ROOT = Path(__file__).parent.parent
# Processing that TransformerLens can apply to a model's weights as it loads them
PROCESSING = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
NO_PROCESSING = "none"
ACTIVATION_NAMES = ("relu", "jumprelu", "topk", "batchtopk")
PRECISIONS = ("fp32", "bf16", "tf32")
DEVICES = ("auto", "cpu", "cuda")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
# Repository of the autoencoders that the default presets show
DEFAULT_REPOSITORY = "NeelNanda/sparse_autoencoder"
# Bound of a count that nothing else bounds
MOST = 10**9
FILE_FIELDS = (
    "model.name",
    "model.tokenizer",
    "autoencoder.source",
    "other.source",
    "corpus.files",
)


class _Section:
    """What all sections share: each number is within the bounds of its type."""

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for name, (least, most) in bounds_of(cast(Any, type(self))).items():
            value = getattr(self, name)
            _require(
                least <= value <= most,
                f"{self.section}.{name} is {value}: give {least:,} to {most:,}",
            )

    def _require_known(self, field_name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, field_name)
        _require(
            value in known,
            f"{self.section}.{field_name} is {value!r}: give {', '.join(filter(None, known))}",
        )


@cache
def bounds_of(section: Any) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each number field of a section, from its type."""
    hints = typing.get_type_hints(section, include_extras=True)
    limits = {name: getattr(hint, "__metadata__", (None,))[0] for name, hint in hints.items()}
    return {name: (limit.ge, limit.le) for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class ModelConfig:
    """The language model, and the hook point in it that the autoencoder reads."""

    # TransformerLens name, Hub repository, or a folder with config.json and model.safetensors
    name: str = ""
    # Where the autoencoder reads; empty: as its own settings say
    hook_point: str = ""
    # What a transcoder reconstructs; empty: as its own settings say. Autoencoders have none: they reconstruct what they
    # read
    output_hook_point: str = ""
    # Hub repository or folder; empty: the tokenizer that the model names
    tokenizer: str = ""
    # Processing of the weights that activations come from: names of PROCESSING, or none. Empty: as the autoencoder's
    # own settings say, and none where they do not say
    processing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(
            bool(self.name),
            "model.name is empty: give a TransformerLens name, a Hub repository or a folder",
        )
        unknown = [name for name in self.processing if name not in (*PROCESSING, NO_PROCESSING)]
        _require(
            not unknown and (NO_PROCESSING not in self.processing or len(self.processing) == 1),
            f"model.processing is {', '.join(self.processing)}: "
            f"give {NO_PROCESSING}, or some of {', '.join(PROCESSING)}",
        )


@dataclass(frozen=True)
class AutoencoderConfig(_Section):
    """The sparse autoencoder's weights."""

    section = "autoencoder"
    # run1, run2, a version number or a folder of `repository`; or a file or folder on this machine
    source: str = ""
    repository: str = DEFAULT_REPOSITORY
    # The next five settings describe files that do not describe themselves, and win over files that do. They hold for
    # other.source too. The activation function: relu, jumprelu, topk or batchtopk
    activation: str = ""
    # Largest number of active features a token, of topk; 0: as the files say
    k: Annotated[int, Meta(ge=0, le=MOST)] = 0
    # Whether b_dec is subtracted from the input; None: as the files say
    subtracts_b_dec: bool | None = None
    # Normalisation of the input: none, layer_norm or constant_norm_rescale
    normalisation: str = ""
    # Factor by which its training multiplied the input, to an average length of sqrt(d_hook); 0: it did not, or the
    # files hold it
    input_scale: Annotated[float, Meta(ge=0, le=MOST)] = 0.0
    # Active features a token, as its authors report them; the run is compared with it. 0: not known
    l0: Annotated[float, Meta(ge=0, le=MOST)] = 0.0
    # Share of variance explained, likewise
    explained_variance: Annotated[float, Meta(ge=0, le=1)] = 0.0
    # Go on although the autoencoder does not fit, with a warning on every page
    accept_poor_fit: bool = False
    # Coefficient of the L1 loss in its training; 0: not known, and no l1 is shown
    l1_coeff: Annotated[float, Meta(ge=0, le=MOST)] = 0.0
    # Positions over which training summed the activations; 1: it took their mean
    l1_positions: Annotated[int, Meta(ge=1, le=MOST)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            bool(self.source),
            "autoencoder.source is empty: give run1, run2, a version number, a file or a folder",
        )
        self._require_known("activation", ("", *ACTIVATION_NAMES))
        self._require_known("normalisation", ("", *NORMALISATIONS))


@dataclass(frozen=True)
class OtherConfig(_Section):
    """A second autoencoder on the same hook point, in which each feature's best match is found."""

    section = "other"
    # Like autoencoder.source; empty: there is none
    source: str = ""
    repository: str = DEFAULT_REPOSITORY
    # The name that pages give it
    title: str = "the other run"
    # Number of strongest contexts shown of a match
    n_contexts: Annotated[int, Meta(ge=1, le=100)] = 3


@dataclass(frozen=True)
class CorpusConfig(_Section):
    """The text, and how it is cut into rows. Some fields take their default from the autoencoder's training."""

    section = "corpus"
    # Hub dataset, unless files are given
    dataset: str = ""
    # Branch, tag or commit of the dataset
    revision: str = "main"
    # Configuration of a dataset that has several
    configuration: str = ""
    split: str = "train"
    # Files of this machine: .txt, .jsonl or .parquet
    files: tuple[str, ...] = ()
    column: str = "text"
    # Tokens a row, BOS included; 0: as the autoencoder's settings say, else 128
    seq_len: Annotated[int, Meta(ge=0, le=32768)] = 0
    # The token that begins each row, by its text, or none; empty: as the autoencoder's settings say, else the
    # tokenizer's BOS
    bos: str = ""
    # The token behind each document, likewise, or bos; empty: as the autoencoder's settings say, else the tokenizer's
    # EOS
    separator: str = ""
    # Seed of the rows' shuffle, as NumPy and scikit-learn take it
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 42
    # Number of first rows to read; 0: all
    n_rows: Annotated[int, Meta(ge=0, le=MOST)] = 0
    # Number of first documents to read; 0: all
    n_documents: Annotated[int, Meta(ge=0, le=MOST)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            not (self.dataset and self.files),
            "give corpus.dataset or corpus.files, one of the two",
        )
        _require(self.seq_len != 1, "corpus.seq_len is 1: a row needs two tokens at least")


@dataclass(frozen=True)
class SweepConfig(_Section):
    """The pass over the rows. Batches and shards depend on the configuration, never on the number of workers."""

    section = "sweep"
    # Ranges such as 0-99,512; empty: all features
    features: str = ""
    # Rows in one product with the encoder; 0: as many as suit the device and its memory. No result depends on it
    batch_rows: Annotated[int, Meta(ge=0, le=65536)] = 0
    # Rows of one saved state
    shard_rows: Annotated[int, Meta(ge=1, le=MOST)] = 1024
    # Precision of the product that finds active tokens: fp32, bf16, or tf32 on CUDA
    precision: str = "fp32"
    # auto, cpu or cuda
    device: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_known("precision", PRECISIONS)
        self._require_known("device", DEVICES)
        parse_features(self.features)


@dataclass(frozen=True)
class ContextConfig(_Section):
    """How many contexts of a feature are kept, and how long they are."""

    section = "contexts"
    # Largest activations, one for each distinct text
    n_top: Annotated[int, Meta(ge=1, le=1000)] = 20
    # Equal slices of (0, maximum]
    n_intervals: Annotated[int, Meta(ge=0, le=16)] = 10
    # Largest number of samples of each slice, besides the top contexts that lie in it
    n_per_interval: Annotated[int, Meta(ge=1, le=100)] = 2
    # Tokens shown before the peak
    n_before: Annotated[int, Meta(ge=0, le=1000)] = 12
    # Tokens shown after it
    n_after: Annotated[int, Meta(ge=0, le=1000)] = 7


@dataclass(frozen=True)
class LogitConfig(_Section):
    """How many logit effects of a feature are kept."""

    section = "logits"
    # Number of largest effects, and of smallest
    n_top: Annotated[int, Meta(ge=1, le=1000)] = 16
    # Bins of the histogram over the vocabulary
    n_bins: Annotated[int, Meta(ge=1, le=1000)] = 40


@dataclass(frozen=True)
class AnalysisConfig(_Section):
    """What is measured besides the sweep, and on how many rows."""

    section = "analysis"
    # First rows, on which features are compared with each other and with neurons
    n_rows: Annotated[int, Meta(ge=1, le=MOST)] = 512
    # First rows, on which losses are measured; 0: 320, or fewer where the model is so large that they would take long
    n_quality_rows: Annotated[int, Meta(ge=0, le=MOST)] = 0
    # Rows of a batch of these at most; standard errors are over batches
    batch_rows: Annotated[int, Meta(ge=1, le=MOST)] = 64
    # Similar features listed of each kind
    n_neighbours: Annotated[int, Meta(ge=1, le=100)] = 4
    # Neurons of largest weight listed, and of largest correlation
    n_neurons: Annotated[int, Meta(ge=1, le=100)] = 3
    # Contexts listed in which a feature could be expected to be active and is not
    n_near_misses: Annotated[int, Meta(ge=0, le=100)] = 3
    # Tokens listed that an active feature promotes most at a position, and that it suppresses most; 0: no ablation
    n_ablated: Annotated[int, Meta(ge=0, le=100)] = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.n_quality_rows <= self.n_rows,
            f"analysis.n_quality_rows is {self.n_quality_rows}: give at most analysis.n_rows, {self.n_rows}",
        )


@dataclass(frozen=True)
class LiveConfig(_Section):
    """The model that pages run on a reader's own text."""

    section = "live"
    # Of its weights: int16 with a scale for each row, fp32 of twice the size, or none
    precision: str = "int16"
    # Largest size in the site, in MB; a larger model is left out
    max_megabytes: Annotated[int, Meta(ge=0, le=MOST)] = 220

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_known("precision", ("int16", "fp32", "none"))


@dataclass(frozen=True)
class SiteConfig:
    """Title and description of the site."""

    title: str = "Sparse autoencoder features"
    description: str = ""


@dataclass(frozen=True)
class Config:
    """Everything that determines `data/` and `site/`."""

    # The preset's name, or the stem of a TOML file's name
    preset: str
    model: ModelConfig
    autoencoder: AutoencoderConfig
    corpus: CorpusConfig
    sweep: SweepConfig = field(default_factory=SweepConfig)
    contexts: ContextConfig = field(default_factory=ContextConfig)
    logits: LogitConfig = field(default_factory=LogitConfig)
    other: OtherConfig = field(default_factory=OtherConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    site: SiteConfig = field(default_factory=SiteConfig)

    def published(self, device: str) -> Config:
        """The configuration as the manifest holds it.

        Files and folders stand there by their own names, since no paths of a machine are published.

        device  the one that `sweep.device` came to
        """
        return dataclasses.replace(
            self._with_files(_published), sweep=dataclasses.replace(self.sweep, device=device)
        )

    def _with_files(self, change: Callable[[str], str]) -> Config:
        """A copy in which the fields that may name files are changed."""
        changed: dict[str, Any] = {}
        for key in FILE_FIELDS:
            section, _, name = key.partition(".")
            part = changed.get(section, getattr(self, section))
            value = getattr(part, name)
            new = change(value) if isinstance(value, str) else tuple(map(change, value))
            changed[section] = dataclasses.replace(part, **{name: new})
        return dataclasses.replace(self, **changed)


def preset_names() -> list[str]:
    """Names of the built-in presets."""
    return sorted(path.stem for path in PRESETS_FOLDER.glob("*.toml"))


def load_config(preset: str, overrides: dict[str, Any] | None = None) -> Config:
    """The configuration of a preset's name or of a TOML file, with `section.field` overrides applied.

    raises  UsageError if there is no such preset, section or field, or a value does not fit
    """
    path = Path(preset)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UsageError(
                f"{preset}: no such file; give a preset ({', '.join(preset_names())}) or a TOML file"
            )
        base = path.resolve().parent
    else:
        path, base = PRESETS_FOLDER / f"{preset}.toml", REPOSITORY_ROOT
        if preset not in preset_names():
            hint = difflib.get_close_matches(preset, preset_names(), 1)
            meant = f" (did you mean {hint[0]}?)" if hint else ""
            raise UsageError(
                f"no preset named {preset!r}{meant}: give {', '.join(preset_names())}, or a TOML file of your own"
            )
    try:
        table = tomllib.loads(require_content(path).read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not valid TOML: {error}") from None
    return build_config(path.stem, table, base, overrides or {})


def build_config(
    preset: str, table: dict[str, Any], base: Path, overrides: dict[str, Any]
) -> Config:
    """A `Config` from nested tables; relative files are resolved against `base`.

    raises  UsageError naming the section, field or value that does not fit
    """
    table = {
        name: dict(section) if isinstance(section, dict) else section
        for name, section in table.items()
    }
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if not name:
            raise UsageError(f"--set {key}: give section.field=value, such as contexts.n_top=10")
        if not isinstance(table.setdefault(section, {}), dict):
            raise UsageError(f"[{section}] is {table[section]!r}: give a table of fields")
        table[section][name] = _from_here(value) if key in FILE_FIELDS else value
    sections = {f.name: f for f in dataclasses.fields(Config) if f.name != "preset"}
    types_of = typing.get_type_hints(Config)
    for name in table:
        if name not in sections:
            raise UsageError(
                f"{preset}: no section named {name!r}; there are {', '.join(sections)}"
            )
    built = {name: _build_section(types_of[name], name, table.get(name, {})) for name in sections}
    config = Config(preset=preset, **built)
    return _resolve_files(config, base)


def parse_features(text: str) -> list[range] | None:
    """Parse `A-B,C` into ranges; None stands for all features.

    raises  UsageError if a part is no number or range
    """
    if not text.strip():
        return None
    ranges = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        good = is_number(first) and (is_number(last) or not dash)
        if not good or int(last or first) < int(first):
            raise UsageError(f"features {part.strip()!r}: give numbers and ranges such as 0-99,512")
        ranges.append(range(int(first), int(last or first) + 1))
    return ranges


def is_number(text: str) -> bool:
    """Whether a text is a whole number of at most 12 plain digits."""
    return text.isascii() and text.isdigit() and len(text) <= 12


def _build_section(section: type, name: str, values: Any) -> Any:
    if not isinstance(values, dict):
        raise UsageError(f"[{name}] is {values!r}: give a table of fields")
    hints = typing.get_type_hints(section)  # without the bounds, which the section checks
    hints.pop("section", None)
    for key in values:
        if key not in hints:
            close = difflib.get_close_matches(key, hints, 1)
            meant = f" (did you mean {name}.{close[0]}?)" if close else ""
            raise UsageError(
                f"no field {name}.{key}{meant}; there are {', '.join(f'{name}.{field}' for field in hints)}"
            )
    return section(
        **{key: _convert(f"{name}.{key}", value, hints[key]) for key, value in values.items()}
    )


# How the message about a value of the wrong type names the right one
EXPECTED = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    bool | None: "true or false",
    tuple[str, ...]: "a list of texts",
}


def _convert(key: str, value: Any, wanted: Any) -> Any:
    """Convert a value to the field's type; text from the command line is read as that type."""
    given = value
    if wanted == tuple[str, ...] and isinstance(value, str):
        value = value.split(",")
    if wanted is str and type(value) is int:
        value = str(value)  # autoencoder.source = 25
    try:
        return msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError:
        raise UsageError(f"{key} is {given!r}: give {EXPECTED[wanted]}") from None


def _resolve_files(config: Config, base: Path) -> Config:
    """The configuration with names of files and folders beside the preset made absolute.

    A corpus file is always a file; any other name may be one of the Hub.
    """

    def resolve(name: str) -> str:
        is_file = name in config.corpus.files or (base / name).exists()
        return str((base / name).resolve()) if name and is_file else name

    return config._with_files(resolve)


def _from_here(value: Any) -> Any:
    """A file that is named on the command line is looked for where the command is given."""
    if not isinstance(value, str):
        return value
    parts = value.split(",")
    return ",".join(
        str(Path(part).resolve()) if part and Path(part).exists() else part for part in parts
    )


def _published(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UsageError(message)
