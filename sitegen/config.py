"""What a run computes, as frozen dataclasses: one a stage, checked when made, read from a TOML preset."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sitegen.errors import UsageError
from sitegen.files import require_content

PRESETS_FOLDER = Path(__file__).parent / "presets"
REPOSITORY_ROOT = Path(__file__).parent.parent
# What TransformerLens can do to a model's weights as it loads them
PROCESSING = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
NO_PROCESSING = "none"
ACTIVATION_NAMES = ("relu", "jumprelu", "topk", "batchtopk")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
MOST = 10**9  # of a count that nothing else bounds
FILE_FIELDS = (
    "model.name",
    "model.tokenizer",
    "autoencoder.source",
    "other.source",
    "corpus.files",
)


def _between(least: float, most: float, default: float) -> Any:
    """A number field with its bounds, which are checked when the section is made."""
    return field(default=default, metadata={"least": least, "most": most})


class _Section:
    """What all sections share: numbers within the bounds of their fields."""

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):  # type: ignore[arg-type]  # all sections are dataclasses
            if one.metadata:
                self._require_between(one.name, one.metadata["least"], one.metadata["most"])

    def _require_between(self, field_name: str, least: float, most: float) -> None:
        value = getattr(self, field_name)
        _require(
            least <= value <= most,
            f"{self.section}.{field_name} is {value}: give {least:,} to {most:,}",
        )

    def _require_known(self, field_name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, field_name)
        _require(
            value in known,
            f"{self.section}.{field_name} is {value!r}: give {', '.join(filter(None, known))}",
        )


@dataclass(frozen=True)
class ModelConfig:
    """The language model, and the place in it that the autoencoder reads."""

    name: str = ""  # TransformerLens name or Hub repository; or a folder with config.json and model.safetensors
    hook_point: str = "blocks.0.mlp.hook_post"
    tokenizer: str = ""  # Hub repository or folder; empty: the one that the model names
    # Of the weights that activations come from: names of PROCESSING, or none; empty: as the autoencoder's own settings
    # say, and none where they say nothing
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
    # run1, run2, a version number or a folder of `repository`; or a file or folder here
    source: str = ""
    repository: str = "NeelNanda/sparse_autoencoder"
    # What a plain file of tensors leaves open; where files say something else, what is said here holds. Also of
    # other.source
    activation: str = ""  # relu, jumprelu, topk or batchtopk
    k: int = _between(0, MOST, 0)  # features active on a token at most, of topk; 0: as files say
    subtracts_b_dec: bool | None = None  # from its input
    normalisation: str = ""  # of its input: none, layer_norm or constant_norm_rescale
    # What its makers report of it, which the run is held against; 0: not known
    l0: float = _between(0, MOST, 0.0)  # features active on a token
    explained_variance: float = _between(0, 1, 0.0)
    accept_poor_fit: bool = False  # goes on although it does not fit, and says so on every page
    # Of the loss it was trained with; 0: not known, and no l1 is shown
    l1_coeff: float = _between(0, MOST, 0.0)
    # That training summed the activations over; 1: it took their mean
    l1_positions: int = _between(1, MOST, 1)

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
    """A second autoencoder on the same hook point, to find each feature's best match in."""

    section = "other"
    source: str = ""  # as autoencoder.source; empty: there is none
    repository: str = "NeelNanda/sparse_autoencoder"
    title: str = "the other run"  # what pages call it
    n_contexts: int = _between(1, 100, 3)  # strongest contexts shown of a match


@dataclass(frozen=True)
class CorpusConfig(_Section):
    """The text, and how it is cut into rows. The defaults of some fields are what the autoencoder was trained on."""

    section = "corpus"
    dataset: str = ""  # Hub dataset, unless files are given
    revision: str = "main"  # branch, tag or commit of the dataset
    configuration: str = ""  # of a dataset that has several
    split: str = "train"
    files: tuple[str, ...] = ()  # local .txt, .jsonl or .parquet
    column: str = "text"
    # Tokens a row, BOS included; 0: as the autoencoder says, or else 128
    seq_len: int = _between(0, 32768, 0)
    bos: str = ""  # what rows begin with: a token's text, or none; empty: else the tokenizer's BOS
    separator: str = ""  # behind each document: likewise, or bos; empty: else the tokenizer's EOS
    seed: int = _between(0, 2**32 - 1, 42)  # of the rows' shuffle; NumPy and scikit-learn take it
    n_rows: int = _between(0, MOST, 0)  # the first so many rows; 0: all
    n_documents: int = _between(0, MOST, 0)  # the text ends after so many; 0: all are read

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            not (self.dataset and self.files),
            "give corpus.dataset or corpus.files, one of the two",
        )
        _require(self.seq_len != 1, "corpus.seq_len is 1: a row needs two tokens at least")


@dataclass(frozen=True)
class SweepConfig(_Section):
    """The pass over the rows. Batches and shards are a matter of the configuration, never of the number of workers."""

    section = "sweep"
    features: str = ""  # ranges such as 0-99,512; empty: all
    # Rows a pass of the model and a product; the model's bits may depend on it
    batch_rows: int = _between(1, 65536, 8)
    shard_rows: int = _between(1, MOST, 1024)  # rows of one saved state, a multiple of batch_rows
    precision: str = "fp32"  # in which firings are searched for: fp32, bf16, or tf32 on CUDA
    device: str = "auto"  # auto, cpu or cuda

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.shard_rows % self.batch_rows == 0,
            f"sweep.shard_rows is {self.shard_rows}: give a multiple of sweep.batch_rows, {self.batch_rows}",
        )
        self._require_known("precision", ("fp32", "bf16", "tf32"))
        self._require_known("device", ("auto", "cpu", "cuda"))
        parse_features(self.features)


@dataclass(frozen=True)
class ContextConfig(_Section):
    """How many contexts a feature keeps, and how long they are."""

    section = "contexts"
    n_top: int = _between(1, 1000, 20)  # largest activations, one for each distinct text
    n_intervals: int = _between(0, 16, 10)  # equal slices of (0, maximum]
    # Samples of each, at most, beside what the top contexts show of it
    n_per_interval: int = _between(1, 100, 2)
    n_before: int = _between(0, 1000, 12)  # tokens shown before the peak
    n_after: int = _between(0, 1000, 7)  # tokens shown after it


@dataclass(frozen=True)
class LogitConfig(_Section):
    """How much of each logit effect is kept."""

    section = "logits"
    n_top: int = _between(1, 1000, 16)  # largest effects, and as many smallest
    n_bins: int = _between(1, 1000, 40)  # of the histogram over the vocabulary


@dataclass(frozen=True)
class AnalysisConfig(_Section):
    """What is measured beside the sweep, and on how many rows."""

    section = "analysis"
    # First rows, on which features are held against each other and neurons
    n_rows: int = _between(1, MOST, 512)
    n_quality_rows: int = _between(1, MOST, 320)  # first rows, on which losses are measured
    batch_rows: int = _between(
        1, MOST, 64
    )  # of those, over whose batches standard errors are taken
    n_neighbours: int = _between(1, 100, 4)  # of each kind
    n_neurons: int = _between(1, 100, 3)  # strongest, and as many most correlated
    n_near_misses: int = _between(0, 100, 3)  # contexts in which a feature might fire and does not
    # Tokens most promoted at a firing, and as many most suppressed; 0: none
    n_ablated: int = _between(0, 100, 5)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.n_quality_rows <= self.n_rows,
            f"analysis.n_quality_rows is {self.n_quality_rows}: give at most analysis.n_rows, {self.n_rows}",
        )


@dataclass(frozen=True)
class LiveConfig(_Section):
    """The model that readers' pages run on text of their own."""

    section = "live"
    # Of its weights: int16 with a scale a row, fp32 of twice the size, or none
    precision: str = "int16"
    # That it may take in the site; a larger one is left out
    max_megabytes: int = _between(0, MOST, 220)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_known("precision", ("int16", "fp32", "none"))


@dataclass(frozen=True)
class SiteConfig:
    """What the pages say about the whole."""

    title: str = "Sparse autoencoder features"
    description: str = ""


@dataclass(frozen=True)
class Config:
    """Everything that determines `data/` and `site/`."""

    preset: str  # the preset's name, or a TOML file's stem
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

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values; files and folders by their own names, since no machine's paths are published."""
        values = dataclasses.asdict(self)
        for key in FILE_FIELDS:
            section, _, name = key.partition(".")
            value = values[section][name]
            values[section][name] = (
                _published(value) if isinstance(value, str) else list(map(_published, value))
            )
        return values


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
    """The ranges of `A-B,C` as they stand; None for all.

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
    """That a text is a whole number in plain digits, short enough to be meant."""
    return text.isascii() and text.isdigit() and len(text) <= 12


def _build_section(section: type, name: str, values: Any) -> Any:
    if not isinstance(values, dict):
        raise UsageError(f"[{name}] is {values!r}: give a table of fields")
    hints = typing.get_type_hints(section)
    for key in values:
        if key not in hints:
            raise UsageError(
                f"no field {name}.{key}; there are {', '.join(f'{name}.{field}' for field in hints)}"
            )
    return section(
        **{key: _convert(f"{name}.{key}", value, hints[key]) for key, value in values.items()}
    )


def _convert(key: str, value: Any, wanted: Any) -> Any:
    """`value` as the field's type; text from the command line is read as that type."""
    if isinstance(wanted, types.GenericAlias):  # tuple[str, ...]
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return tuple(parts)
        raise UsageError(f"{key} is {value!r}: give a list of texts")
    if wanted in (bool, bool | None):
        if value in ("true", "false"):
            return value == "true"
        _require(isinstance(value, bool), f"{key} is {value!r}: give true or false")
        return value
    if wanted is int and isinstance(value, str) and is_number(value.removeprefix("-")):
        return int(value)
    if wanted is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # autoencoder.source = 25
    if wanted is float:
        return _number(key, value)
    if type(value) is not wanted:
        raise UsageError(
            f"{key} is {value!r}: give {'a whole number' if wanted is int else 'a text'}"
        )
    return value


def _number(key: str, value: Any) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    _require(math.isfinite(number), f"{key} is {value!r}: give a number")
    return number


def _resolve_files(config: Config, base: Path) -> Config:
    """Names that stand as files or folders beside the preset, made absolute."""

    def resolve(name: str) -> str:
        return str((base / name).resolve()) if name and (base / name).exists() else name

    model = dataclasses.replace(
        config.model, name=resolve(config.model.name), tokenizer=resolve(config.model.tokenizer)
    )
    autoencoder = dataclasses.replace(config.autoencoder, source=resolve(config.autoencoder.source))
    other = dataclasses.replace(config.other, source=resolve(config.other.source))
    files = tuple(str((base / file).resolve()) for file in config.corpus.files)
    corpus = dataclasses.replace(config.corpus, files=files)
    return dataclasses.replace(
        config, model=model, autoencoder=autoencoder, other=other, corpus=corpus
    )


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
