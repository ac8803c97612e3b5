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
from typing import Any

from sitegen.errors import UsageError
from sitegen.files import require_content

PRESETS_FOLDER = Path(__file__).parent / "presets"
REPOSITORY_ROOT = Path(__file__).parent.parent
# What TransformerLens can do to a model's weights as it loads them
PROCESSING = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
NO_PROCESSING = "none"
ACTIVATION_NAMES = ("relu", "jumprelu", "topk", "batchtopk")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
FILE_FIELDS = (
    "model.name",
    "model.tokenizer",
    "autoencoder.source",
    "other.source",
    "corpus.files",
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
class AutoencoderConfig:
    """The sparse autoencoder's weights."""

    source: str = (
        ""  # run1, run2, a version number or a folder of `repository`; or a file or folder here
    )
    repository: str = "NeelNanda/sparse_autoencoder"
    # What a plain file of tensors leaves open; where files say something else, what is said here holds. Also of
    # other.source
    activation: str = ""  # relu, jumprelu, topk or batchtopk
    k: int = 0  # features active on a token at most, of topk; 0: as the files say
    subtracts_b_dec: bool | None = None  # from its input
    normalisation: str = ""  # of its input: none, layer_norm or constant_norm_rescale
    # What its makers report of it, which the run is held against; 0: not known
    l0: float = 0.0  # features active on a token
    explained_variance: float = 0.0  # 0 to 1
    accept_poor_fit: bool = (
        False  # goes on although another reading fits better, and says so on every page
    )
    l1_coeff: float = 0.0  # of the loss it was trained with; 0: not known, and no l1 is shown
    l1_positions: int = 1  # that training summed the activations over; 1: it took their mean

    def __post_init__(self) -> None:
        _require(
            bool(self.source),
            "autoencoder.source is empty: give run1, run2, a version number, a file or a folder",
        )
        for name, known in (("activation", ACTIVATION_NAMES), ("normalisation", NORMALISATIONS)):
            _require(
                getattr(self, name) in ("", *known),
                f"autoencoder.{name} is {getattr(self, name)!r}: give {', '.join(known)}",
            )
        _require(
            self.k >= 0, f"autoencoder.k is {self.k}: give 1 or more, or 0 for what the files say"
        )
        _require(self.l0 >= 0, f"autoencoder.l0 is {self.l0}: give 0 (not known) or more")
        _require(
            0 <= self.explained_variance <= 1,
            f"autoencoder.explained_variance is {self.explained_variance}: give 0 (not known) to 1",
        )
        _require(
            self.l1_coeff >= 0 and self.l1_positions >= 1,
            "autoencoder.l1_coeff and l1_positions: give 0 or more, and 1 or more",
        )


@dataclass(frozen=True)
class OtherConfig:
    """A second autoencoder on the same hook point, to find each feature's best match in."""

    source: str = ""  # as autoencoder.source; empty: there is none
    repository: str = "NeelNanda/sparse_autoencoder"
    title: str = "the other run"  # what pages call it
    n_contexts: int = 3  # strongest contexts shown of a match

    def __post_init__(self) -> None:
        _require(
            1 <= self.n_contexts <= 100,
            f"other.n_contexts is {self.n_contexts}: give 1 to 100",
        )


@dataclass(frozen=True)
class CorpusConfig:
    """The text, and how it is cut into rows. The defaults of some fields are what the autoencoder was trained on."""

    dataset: str = ""  # Hub dataset, unless files are given
    revision: str = "main"  # branch, tag or commit of the dataset
    configuration: str = ""  # of a dataset that has several
    split: str = "train"
    files: tuple[str, ...] = ()  # local .txt, .jsonl or .parquet
    column: str = "text"
    seq_len: int = 0  # tokens a row, BOS included; 0: as the autoencoder says, or else 128
    bos: str = ""  # what rows begin with: a token's text, or none; empty: else the tokenizer's BOS
    separator: str = ""  # behind each document: likewise, or bos; empty: else the tokenizer's EOS
    seed: int = 42  # of the rows' shuffle
    n_rows: int = 0  # the first so many rows; 0: all

    def __post_init__(self) -> None:
        _require(
            not (self.dataset and self.files),
            "give corpus.dataset or corpus.files, one of the two",
        )
        _require(
            self.seq_len >= 2 or self.seq_len == 0,
            f"corpus.seq_len is {self.seq_len}: a row needs two tokens at least",
        )
        _require(self.seq_len <= 32768, f"corpus.seq_len is {self.seq_len}: at most 32768")
        _require(self.n_rows >= 0, f"corpus.n_rows is {self.n_rows}: give 0 (all) or more")
        _require(self.seed >= 0, f"corpus.seed is {self.seed}: give 0 or more")


@dataclass(frozen=True)
class SweepConfig:
    """The pass over the rows. Batches and shards are a matter of the configuration, never of the number of workers."""

    features: str = ""  # ranges such as 0-99,512; empty: all
    batch_rows: int = 8  # rows a pass of the model and a product; the model's bits may depend on it
    shard_rows: int = 1024  # rows of one saved state, a multiple of batch_rows
    precision: str = "fp32"  # in which firings are searched for: fp32, bf16, or tf32 on CUDA
    device: str = "auto"  # auto, cpu or cuda

    def __post_init__(self) -> None:
        _require(self.batch_rows > 0, f"sweep.batch_rows is {self.batch_rows}: give 1 or more")
        _require(
            self.shard_rows > 0 and self.shard_rows % self.batch_rows == 0,
            f"sweep.shard_rows is {self.shard_rows}: give a multiple of sweep.batch_rows, {self.batch_rows}",
        )
        _require(
            self.precision in ("fp32", "bf16", "tf32"),
            f"sweep.precision is {self.precision!r}: give fp32, bf16, or tf32 on a CUDA device",
        )
        _require(
            self.device in ("auto", "cpu", "cuda"),
            f"sweep.device is {self.device!r}: give auto, cpu or cuda",
        )
        parse_features(self.features)


@dataclass(frozen=True)
class ContextConfig:
    """How many contexts a feature keeps, and how long they are."""

    n_top: int = 20  # largest activations, one for each distinct text
    n_intervals: int = 10  # equal slices of (0, maximum]
    n_per_interval: int = 2  # samples of each, at most, beside what the top contexts show of it
    n_before: int = 12  # tokens shown before the peak
    n_after: int = 7  # tokens shown after it

    def __post_init__(self) -> None:
        _require(1 <= self.n_top <= 1000, f"contexts.n_top is {self.n_top}: give 1 to 1000")
        _require(
            0 <= self.n_intervals <= 16, f"contexts.n_intervals is {self.n_intervals}: give 0 to 16"
        )
        _require(
            1 <= self.n_per_interval <= 100,
            f"contexts.n_per_interval is {self.n_per_interval}: give 1 to 100",
        )
        _require(
            self.n_before >= 0 and self.n_after >= 0,
            "contexts.n_before and n_after: give 0 or more",
        )


@dataclass(frozen=True)
class LogitConfig:
    """How much of each logit effect is kept."""

    n_top: int = 16  # largest effects, and as many smallest
    n_bins: int = 40  # of the histogram over the vocabulary

    def __post_init__(self) -> None:
        _require(self.n_top >= 1, f"logits.n_top is {self.n_top}: give 1 or more")
        _require(self.n_bins >= 1, f"logits.n_bins is {self.n_bins}: give 1 or more")


@dataclass(frozen=True)
class AnalysisConfig:
    """What is measured beside the sweep, and on how many rows."""

    n_rows: int = 512  # first rows, on which features are held against each other and neurons
    n_quality_rows: int = 320  # first rows, on which losses are measured
    batch_rows: int = 64  # of those, over whose batches standard errors are taken
    n_neighbours: int = 4  # of each kind
    n_neurons: int = 3  # strongest, and as many most correlated
    n_near_misses: int = 3  # contexts in which a feature might fire and does not
    n_ablated: int = 5  # tokens most promoted at a firing, and as many most suppressed; 0: none

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_quality_rows", "batch_rows", "n_neighbours", "n_neurons"):
            _require(
                getattr(self, name) >= 1,
                f"analysis.{name} is {getattr(self, name)}: give 1 or more",
            )
        _require(
            self.n_quality_rows <= self.n_rows,
            f"analysis.n_quality_rows is {self.n_quality_rows}: give at most analysis.n_rows, {self.n_rows}",
        )
        for name in ("n_near_misses", "n_ablated"):
            _require(
                getattr(self, name) >= 0,
                f"analysis.{name} is {getattr(self, name)}: give 0 or more",
            )


@dataclass(frozen=True)
class LiveConfig:
    """The model that readers' pages run on text of their own."""

    precision: str = (
        "int16"  # of its weights: int16 with a scale a row, fp32 of twice the size, or none
    )
    max_megabytes: int = 220  # that it may take in the site; a larger one is left out

    def __post_init__(self) -> None:
        _require(
            self.precision in ("int16", "fp32", "none"),
            f"live.precision is {self.precision!r}: give int16, fp32 or none",
        )
        _require(
            self.max_megabytes >= 0,
            f"live.max_megabytes is {self.max_megabytes}: give 0 or more",
        )


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
