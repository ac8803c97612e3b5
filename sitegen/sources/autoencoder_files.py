"""The file layouts of autoencoders, each read into one set of weights and an architecture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sitegen.config import ACTIVATION_NAMES, NORMALISATIONS, PROCESSING
from sitegen.errors import SourceError
from sitegen.sources.settings import read_settings
from sitegen.sources.tensors import read_tensors

WEIGHT_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec")
SETTINGS_NAMES = ("cfg.json", "config.json", "hyperparams.json")
NOT_IN_USE = ("group_sizes",)  # used in training alone
# Names of the weights of torch.nn.Linear layers, whose matrices are [out, in]
LINEAR_NAMES = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
    "bias": "b_dec",
    "b_dec": "b_dec",
}


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

    subtracts_b_dec  whether b_dec is subtracted from the input
    k                largest number of features active on a token; 0: no limit
    normalisation    of the input, undone in the output
    hook_point       that it was trained on; empty if not declared
    processing       of the weights of the model that it was trained on
    text             the rows that it was trained on
    declared_l0      active features per token that its files declare, such as a BatchTopK's k; 0 if they do not
    """

    subtracts_b_dec: bool = True
    k: int = 0
    normalisation: str = "none"
    hook_point: str = ""
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

    @property
    def is_sufficient(self) -> bool:
        """Whether a file without settings of its own can be read with these."""
        return bool(self.activation) and self.subtracts_b_dec is not None


@dataclass(frozen=True)
class FolderLayout:
    """Names of the two files in an autoencoder's folder."""

    settings: str
    weights: str

    @property
    def names(self) -> tuple[str, str]:
        """Names of both files."""
        return self.settings, self.weights

    def is_complete_in(self, folder: Path) -> bool:
        """Whether a folder holds both files."""
        return all((folder / name).is_file() for name in self.names)


SAELENS = FolderLayout("cfg.json", "sae_weights.safetensors")
DICTIONARY_LEARNING = FolderLayout("config.json", "ae.pt")
FOLDER_LAYOUTS = (SAELENS, DICTIONARY_LEARNING)


def read_folder(files: dict[str, Path], name: str) -> tuple[dict[str, Tensor], Architecture]:
    """Read the weights and the architecture from a folder's files.

    files   paths by file name
    name    of the folder, for messages
    raises  SourceError if the layout or the architecture is not supported
    """
    readers = ((SAELENS, _read_saelens), (DICTIONARY_LEARNING, _read_dictionary_learning))
    for layout, read in readers:
        if all(file in files for file in layout.names):
            settings = read_settings(files[layout.settings], name)
            return read(settings, read_tensors(files[layout.weights]), name)
    wanted = " or ".join(" and ".join(layout.names) for layout in FOLDER_LAYOUTS)
    raise SourceError(f"{name} is not an autoencoder's folder: such a folder holds {wanted}")


def read_state_dict(
    path: Path, declared: DeclaredSettings
) -> tuple[dict[str, Tensor], Architecture]:
    """Read the weights and the architecture from a single file, which has names of tensors but no settings.

    Only the format of the reference analysis (W_enc, W_dec, b_enc and b_dec, a ReLU that subtracts b_dec) is accepted
    without declared settings.

    raises  SourceError if it is not a file of tensors, or its architecture is neither known nor declared
    """
    weights = read_tensors(path)
    if path.name == SAELENS.weights:
        raise SourceError(
            f"{path.name} does not state its architecture: give the folder that holds it and its {SAELENS.settings}"
        )
    # These names, or an unread settings file, mean that the reference format must not be assumed
    settings_file = _find_settings_file(path)
    names_of_others = {"threshold", "k", "encoder.weight"}
    is_ambiguous = settings_file is not None or not names_of_others.isdisjoint(weights)
    if is_ambiguous and not declared.is_sufficient:
        reason = (
            f"its settings are in {settings_file}, whose layout is not supported"
            if settings_file
            else (
                "a plain file does not state its activation function, nor whether b_dec is subtracted from the input"
            )
        )
        raise SourceError(
            f"{path.name}: {reason}: set autoencoder.activation ({', '.join(ACTIVATION_NAMES)}) and "
            "autoencoder.subtracts_b_dec, and autoencoder.k and autoencoder.normalisation where they apply"
        )
    renamed = _rename_linear(weights, path.name)
    k = renamed.pop("k", None)
    return renamed, Architecture(k=0 if k is None else _require_k(k.tolist(), path.name))


def apply_declared(
    weights: dict[str, Tensor], architecture: Architecture, declared: DeclaredSettings, name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """Apply the configuration's declared settings, which take precedence over those of the files.

    raises  SourceError if the declared activation function needs a k or thresholds that are not there
    """
    if declared.subtracts_b_dec is not None:
        architecture = replace(architecture, subtracts_b_dec=declared.subtracts_b_dec)
    if declared.normalisation:
        architecture = replace(architecture, normalisation=declared.normalisation)
    k = declared.k or architecture.k
    if declared.activation == "topk":
        if not k:
            raise SourceError(f"{name}: a TopK autoencoder needs its k: set autoencoder.k")
        return _without_threshold(weights), replace(architecture, k=k)
    if declared.activation in ("jumprelu", "batchtopk"):
        if "threshold" not in weights:
            raise SourceError(
                f"{name} holds no threshold, which {declared.activation} needs outside training: "
                'save it with its thresholds, or set autoencoder.activation = "topk" and autoencoder.k'
            )
        # Outside training a BatchTopK is a JumpReLU: its k is only the expected number of active features
        return _expand_threshold(weights), replace(architecture, k=0, declared_l0=float(declared.k))
    if declared.activation == "relu":
        return _without_threshold(weights), replace(architecture, k=0)
    return weights, replace(architecture, k=k)


def _without_threshold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name != "threshold"}


def _expand_threshold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Repeat a single threshold for every feature."""
    threshold, b_enc = weights["threshold"], weights.get("b_enc")
    if threshold.numel() == 1 and b_enc is not None and b_enc.ndim == 1:
        return weights | {"threshold": threshold.reshape(()).expand_as(b_enc)}
    return weights


def _find_settings_file(path: Path) -> str | None:
    """Name of a settings file in the folder of a weights file, or in the folder above `checkpoints`; None without."""
    folders = [path.parent]
    if path.parent.name == "checkpoints":
        folders.append(path.parent.parent)
    candidates = (folder / name for folder in folders for name in SETTINGS_NAMES)
    return next((file.name for file in candidates if file.is_file()), None)


def _read_saelens(
    settings: dict[str, Any], weights: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """Read the layout of SAELens 6 or of an earlier version.

    source  SAELens 6.54, `SAEConfig` and `handle_pre_6_0_config`
    """
    # Version 6 keeps what concerns training (hook point, text) under `metadata`, earlier ones at the top
    metadata = settings.get("metadata")
    training = metadata if isinstance(metadata, dict) else settings
    architecture = settings.get("architecture", "standard")
    function = settings.get("activation_fn_str", settings.get("activation_fn", "relu"))
    k = 0
    # Earlier versions named TopK as an activation function, with its k among the function's arguments
    if function == "topk":
        architecture, function = "topk", "relu"
        arguments = settings.get("activation_fn_kwargs")
        settings = settings | arguments if isinstance(arguments, dict) else settings
    if architecture not in ("standard", "jumprelu", "topk") or function != "relu":
        what = (
            f"architecture {architecture!r}"
            if function == "relu"
            else f"activation function {function!r}"
        )
        raise SourceError(
            f"{name}: SAELens' {what} is not supported (standard, jumprelu and topk are); give another autoencoder"
        )
    if architecture == "topk":
        k = _require_k(settings.get("k"), name)
        if settings.get("rescale_acts_by_decoder_norm"):
            weights = _rescale_by_decoder_norm(weights)
    # Settings that would change the activations in a way that is not implemented
    for key, value in (
        ("finetuning_scaling_factor", settings.get("finetuning_scaling_factor") or None),
        ("hook_head_index", training.get("hook_head_index")),
    ):
        if value is not None:
            raise SourceError(
                f"{name}: {key} is {value!r}, a setting that is not supported; give an autoencoder without it"
            )
    _require_widths(settings, weights, name)
    subtracts_b_dec = settings.get("apply_b_dec_to_input", True)
    if not isinstance(subtracts_b_dec, bool):
        raise SourceError(
            f"{name}: apply_b_dec_to_input is {subtracts_b_dec!r}; true or false is expected"
        )
    is_jump = architecture == "jumprelu"
    if is_jump != ("threshold" in weights):
        what = "lacks a" if is_jump else "has a"
        raise SourceError(
            f"{name}: {SAELENS.weights} {what} threshold, but {SAELENS.settings} declares the architecture "
            f"{architecture}; give the two files that were saved together"
        )
    architecture = Architecture(
        subtracts_b_dec=subtracts_b_dec,
        k=k,
        normalisation=_read_normalisation(settings.get("normalize_activations"), name),
        hook_point=str(training.get("hook_name") or training.get("hook_point") or ""),
        processing=_read_processing(training.get("model_from_pretrained_kwargs"), name),
        text=_read_text_settings(training),
    )
    return weights, architecture


def _read_processing(options: object, name: str) -> tuple[str, ...]:
    """Steps of weight processing that SAELens had TransformerLens apply to the model: those its options turn on.

    source  SAELens 6.54, `load_model`: from_pretrained_no_processing, with these options on top
    """
    if options is None:
        return ()
    if not isinstance(options, dict):
        raise SourceError(
            f"{name}: model_from_pretrained_kwargs is {options!r}; a JSON object is expected"
        )
    steps = [step for step in PROCESSING if options.get(step)]
    for step in steps:
        if options[step] is not True:
            raise SourceError(
                f"{name}: model_from_pretrained_kwargs.{step} is {options[step]!r}; true or false is expected"
            )
    return tuple(steps)


def _read_text_settings(training: dict[str, Any]) -> TextSettings:
    """Settings of the rows in SAELens' settings; values of another type count as not declared."""
    prepend_bos, size = training.get("prepend_bos"), training.get("context_size")
    names = ("sequence_separator_token", "seqpos_separator")
    separator = next((training[name] for name in names if name in training), "")
    if separator is None:
        # A declared null means that nothing separates documents; an absent key declares nothing
        separator = "none"
    return TextSettings(
        prepend_bos=prepend_bos if isinstance(prepend_bos, bool) else None,
        context_size=size if type(size) is int and size >= 2 else None,
        separator=str(separator) or None,
        dataset=str(training.get("dataset_path") or ""),
    )


def _require_widths(settings: dict[str, Any], weights: dict[str, Tensor], name: str) -> None:
    """Raise unless the widths that the settings declare are those of the weights."""
    shapes = {"d_in": weights.get("b_dec"), "d_sae": weights.get("b_enc")}
    for key, weight in shapes.items():
        if key in settings and weight is not None and settings[key] != weight.numel():
            raise SourceError(
                f"{name}: {key} is {settings[key]!r} in {SAELENS.settings}, "
                f"but {SAELENS.weights} has {weight.numel()}; give the two files that were saved together"
            )


def _require_k(k: object, name: str) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise SourceError(f"{name}: k is {k!r}; a whole number of 1 or more is expected")
    return k


def _read_normalisation(kind: object, name: str) -> str:
    # Earlier versions of SAELens wrote true or false
    if kind is None or isinstance(kind, bool):
        kind = "expected_average_only_in" if kind else "none"
    if kind == "expected_average_only_in":
        raise SourceError(
            f"{name}: its input has to be scaled by an average that the folder does not hold: save it again after "
            "calling SAELens' fold_activation_norm_scaling_factor"
        )
    if kind not in NORMALISATIONS:
        raise SourceError(
            f"{name}: normalize_activations {kind!r} is not supported ({', '.join(NORMALISATIONS)} are); "
            "give another autoencoder"
        )
    return str(kind)


def _rescale_by_decoder_norm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale every feature so that its decoder row has length 1.

    SAELens selects a TopK's k largest activations in these units. What a feature adds to the reconstruction stays the
    same.
    """
    try:
        norm = weights["W_dec"].float().norm(dim=1)
        return weights | {
            "W_enc": weights["W_enc"].float() * norm,
            "b_enc": weights["b_enc"].float() * norm,
            "W_dec": weights["W_dec"].float() / norm[:, None],
        }
    except (KeyError, RuntimeError, IndexError):
        # A weight is missing or misshapen; check_weights names it in its error
        return weights


def _read_dictionary_learning(
    settings: dict[str, Any], weights: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """Read the layout of dictionary_learning 0.1, which names the architecture in `trainer.dict_class`."""
    trainer = settings.get("trainer")
    kind = trainer.get("dict_class") if isinstance(trainer, dict) else None
    in_use = {key: weight for key, weight in weights.items() if key not in NOT_IN_USE}
    renamed = _rename_linear(in_use, name)
    k, threshold = renamed.pop("k", None), renamed.pop("threshold", None)
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return renamed, Architecture(subtracts_b_dec=kind == "AutoEncoder")
    if kind == "AutoEncoderTopK" and k is not None:
        return renamed, Architecture(k=_require_k(k.tolist(), name))
    # Outside training a BatchTopK is a JumpReLU: its k is only the expected number of active features
    if kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE") and threshold is not None:
        declared_l0 = 0.0 if k is None or k.numel() != 1 else float(k)
        return _expand_threshold(renamed | {"threshold": threshold}), Architecture(
            declared_l0=declared_l0
        )
    if kind == "JumpReluAutoEncoder" and threshold is not None:
        return renamed | {"threshold": threshold}, Architecture(subtracts_b_dec=False)
    raise SourceError(
        f"{name}: dictionary_learning's class {kind!r} is not supported, or its k or threshold is missing; give one of "
        "AutoEncoder, AutoEncoderNew, AutoEncoderTopK (with k), BatchTopKSAE, MatryoshkaBatchTopKSAE and "
        "JumpReluAutoEncoder (with threshold)"
    )


def _rename_linear(weights: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """Rename the weights of linear layers to W_enc etc. and transpose their matrices from [out, in] to [in, out].

    Weights under other names stay as they are. Which axis is which follows from a weight's name, never from its
    shape: matrices may be square.

    raises  SourceError if two weights would have one name
    """
    if "encoder.weight" not in weights:
        return dict(weights)
    origin: dict[str, str] = {}
    for key in weights:
        usual = LINEAR_NAMES.get(key, key)
        if usual in origin:
            raise SourceError(
                f"{file}: {origin[usual]} and {key} both hold {usual}: remove the one that is not in use"
            )
        origin[usual] = key
    return {
        usual: weights[key].T.contiguous()
        if key.endswith(".weight") and weights[key].ndim == 2
        else weights[key]
        for usual, key in origin.items()
    }
