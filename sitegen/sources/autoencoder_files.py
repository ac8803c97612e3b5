"""The layouts that autoencoders are kept in, each brought to one set of weights and what is done with them."""

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
NOT_IN_USE = ("group_sizes",)  # of training alone
# How torch.nn.Linear keeps them, [out, in]
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
    """What an autoencoder's own settings say of the rows it was trained on; None or empty where they say nothing."""

    prepend_bos: bool | None = None
    context_size: int | None = None  # tokens a row
    separator: str | None = None  # between documents: bos, eos, none, or another token
    dataset: str = ""


@dataclass(frozen=True)
class Architecture:
    """What is done with an autoencoder's weights, and what it was trained on."""

    subtracts_b_dec: bool = True  # from its input
    k: int = 0  # features that fire on a token, at most; 0: any number
    normalisation: str = "none"  # of its input, undone in its output
    hook_point: str = ""  # it was trained on; empty: it does not say
    processing: tuple[str, ...] = ()  # of the model's weights that it was trained on
    text: TextSettings = field(default_factory=TextSettings)
    declared_l0: float = 0.0  # by its files, a BatchTopK's k for example; 0: they do not say


@dataclass(frozen=True)
class DeclaredSettings:
    """What the configuration says of an autoencoder, where its files leave it open or are to be read otherwise."""

    activation: str = ""
    k: int = 0
    subtracts_b_dec: bool | None = None
    normalisation: str = ""

    @property
    def is_enough(self) -> bool:
        """Whether a file that says nothing of itself can be read."""
        return bool(self.activation) and self.subtracts_b_dec is not None


@dataclass(frozen=True)
class FolderLayout:
    """The files of a folder."""

    settings: str
    weights: str

    @property
    def names(self) -> tuple[str, str]:
        """Both."""
        return self.settings, self.weights

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds both."""
        return all((folder / name).is_file() for name in self.names)


SAELENS = FolderLayout("cfg.json", "sae_weights.safetensors")
DICTIONARY_LEARNING = FolderLayout("config.json", "ae.pt")
FOLDER_LAYOUTS = (SAELENS, DICTIONARY_LEARNING)


def read_folder(files: dict[str, Path], name: str) -> tuple[dict[str, Tensor], Architecture]:
    """Weights and make of a folder's files by name.

    raises  SourceError if they are of no known layout or make
    """
    for layout, read in ((SAELENS, _saelens), (DICTIONARY_LEARNING, _dictionary_learning)):
        if all(file in files for file in layout.names):
            settings = read_settings(files[layout.settings], name)
            return read(settings, read_tensors(files[layout.weights]), name)
    wanted = " or ".join(" and ".join(layout.names) for layout in FOLDER_LAYOUTS)
    raise SourceError(f"{name} is no autoencoder's folder: that holds {wanted}")


def read_state_dict(
    path: Path, declared: DeclaredSettings
) -> tuple[dict[str, Tensor], Architecture]:
    """Weights and make of one file, which says no more than the names of its tensors do.

    The format of the reference analysis (W_enc, W_dec, b_enc and b_dec, a ReLU that subtracts b_dec) is the only one
    that is known without being told.

    raises  SourceError if it is no file of tensors, or it is left open what is done with them
    """
    weights = read_tensors(path)
    if path.name == SAELENS.weights:
        raise SourceError(
            f"{path.name} does not say what is done with its weights: give the folder with its {SAELENS.settings}"
        )
    beside = _settings_beside(path)
    is_open = beside is not None or not {"threshold", "k", "encoder.weight"}.isdisjoint(weights)
    if is_open and not declared.is_enough:
        reason = (
            f"its settings stand in {beside}, a layout that is not known here"
            if beside
            else (
                "a plain file does not say its activation function, nor whether b_dec is subtracted from the input"
            )
        )
        raise SourceError(
            f"{path.name}: {reason}: set autoencoder.activation ({', '.join(ACTIVATION_NAMES)}) and "
            "autoencoder.subtracts_b_dec, and autoencoder.k and .normalisation where they apply"
        )
    named = _named(weights, path.name)
    k = named.pop("k", None)
    return named, Architecture(k=0 if k is None else _checked_k(k.tolist(), path.name))


def as_declared(
    weights: dict[str, Tensor], architecture: Architecture, declared: DeclaredSettings, name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """Weights and make with what the configuration says of them, which comes before what the files say.

    raises  SourceError if the weights lack what the activation function needs
    """
    if declared.subtracts_b_dec is not None:
        architecture = replace(architecture, subtracts_b_dec=declared.subtracts_b_dec)
    if declared.normalisation:
        architecture = replace(architecture, normalisation=declared.normalisation)
    k = declared.k or architecture.k
    if declared.activation == "topk":
        if not k:
            raise SourceError(f"{name}: a TopK needs its k: set autoencoder.k")
        return _without_threshold(weights), replace(architecture, k=k)
    if declared.activation in ("jumprelu", "batchtopk"):
        if "threshold" not in weights:
            raise SourceError(
                f"{name} holds no threshold, which {declared.activation} needs outside training: "
                "save it with its thresholds, or set autoencoder.activation = topk and autoencoder.k"
            )
        return _one_threshold_each(weights), replace(
            architecture, k=0, declared_l0=float(declared.k)
        )
    if declared.activation == "relu":
        return _without_threshold(weights), replace(architecture, k=0)
    return weights, replace(architecture, k=k)


def _without_threshold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name != "threshold"}


def _one_threshold_each(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """With a threshold for each feature, where there is one for all."""
    threshold, b_enc = weights["threshold"], weights.get("b_enc")
    if threshold.numel() == 1 and b_enc is not None and b_enc.ndim == 1:
        return weights | {"threshold": threshold.reshape(()).expand_as(b_enc)}
    return weights


def _settings_beside(path: Path) -> str | None:
    """The name of a settings file that stands with a file of weights, or above its folder of checkpoints."""
    folders = [path.parent]
    if path.parent.name == "checkpoints":
        folders.append(path.parent.parent)
    there = (folder / name for folder in folders for name in SETTINGS_NAMES)
    return next((found.name for found in there if found.is_file()), None)


def _saelens(
    settings: dict[str, Any], weights: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """As SAELens 6 writes it, or as earlier versions did.

    source  SAELens 6.54, `SAEConfig` and `handle_pre_6_0_config`
    """
    metadata = settings.get("metadata")
    about = metadata if isinstance(metadata, dict) else settings
    architecture = settings.get("architecture", "standard")
    function = settings.get("activation_fn_str", settings.get("activation_fn", "relu"))
    k = 0
    if function == "topk":
        architecture, function = "topk", "relu"
        more = settings.get("activation_fn_kwargs")
        settings = settings | more if isinstance(more, dict) else settings
    if architecture not in ("standard", "jumprelu", "topk") or function != "relu":
        what = f"architecture {architecture!r}" if function == "relu" else f"{function!r}"
        raise SourceError(
            f"{name}: SAELens' {what} is not known here; standard, jumprelu and topk are"
        )
    if architecture == "topk":
        k = _checked_k(settings.get("k"), name)
        if settings.get("rescale_acts_by_decoder_norm"):
            weights = _rescaled(weights)
    for key, value in (
        ("finetuning_scaling_factor", settings.get("finetuning_scaling_factor") or None),
        ("hook_head_index", about.get("hook_head_index")),
    ):
        if value is not None:
            raise SourceError(f"{name}: {key} is {value!r}, and what it does is not known here")
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
            f"{name}: {SAELENS.weights} {what} threshold, but the architecture is {architecture}"
        )
    architecture = Architecture(
        subtracts_b_dec=subtracts_b_dec,
        k=k,
        normalisation=_normalisation(settings.get("normalize_activations"), name),
        hook_point=str(about.get("hook_name") or about.get("hook_point") or ""),
        processing=_processing(about.get("model_from_pretrained_kwargs"), name),
        text=_text_settings(about),
    )
    return weights, architecture


def _processing(options: object, name: str) -> tuple[str, ...]:
    """What SAELens asked TransformerLens to do to the model's weights: nothing, unless its options turn it on.

    source  SAELens 6.54, `load_model`: from_pretrained_no_processing, with these options on top
    """
    if options is None:
        return ()
    if not isinstance(options, dict):
        raise SourceError(
            f"{name}: model_from_pretrained_kwargs is {options!r}; a table is expected"
        )
    found = [part for part in PROCESSING if options.get(part)]
    for part in found:
        if options[part] is not True:
            raise SourceError(
                f"{name}: model_from_pretrained_kwargs.{part} is {options[part]!r}; true or false is expected"
            )
    return tuple(found)


def _text_settings(about: dict[str, Any]) -> TextSettings:
    """What SAELens' settings say of the rows; what is no such value is left open."""
    prepend_bos, size = about.get("prepend_bos"), about.get("context_size")
    names = ("sequence_separator_token", "seqpos_separator")
    separator = next((about[name] for name in names if name in about), "")
    if separator is None:
        separator = "none"  # documents follow each other at once
    return TextSettings(
        prepend_bos=prepend_bos if isinstance(prepend_bos, bool) else None,
        context_size=size if type(size) is int and size >= 2 else None,
        separator=str(separator) or None,
        dataset=str(about.get("dataset_path") or ""),
    )


def _require_widths(settings: dict[str, Any], weights: dict[str, Tensor], name: str) -> None:
    """That the settings are of these weights, and not of others that stood beside them."""
    shapes = {"d_in": weights.get("b_dec"), "d_sae": weights.get("b_enc")}
    for key, weight in shapes.items():
        if key in settings and weight is not None and settings[key] != weight.numel():
            raise SourceError(
                f"{name}: {key} is {settings[key]!r} in {SAELENS.settings}, "
                f"but {SAELENS.weights} has {weight.numel()}"
            )


def _checked_k(k: object, name: str) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise SourceError(f"{name}: k is {k!r}; a whole number of 1 or more is expected")
    return k


def _normalisation(kind: object, name: str) -> str:
    if kind is None or isinstance(kind, bool):  # as earlier versions wrote it
        kind = "expected_average_only_in" if kind else "none"
    if kind == "expected_average_only_in":
        raise SourceError(
            f"{name}: its input is to be scaled by an average that the folder does not hold: save it again after "
            "SAELens' fold_activation_norm_scaling_factor"
        )
    if kind not in NORMALISATIONS:
        raise SourceError(
            f"{name}: normalize_activations {kind!r} is not known here; {', '.join(NORMALISATIONS)} are"
        )
    return str(kind)


def _rescaled(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """With activations in units of decoder rows of length 1, which is where the k largest are looked for."""
    try:
        norm = weights["W_dec"].float().norm(dim=1)
        return weights | {
            "W_enc": weights["W_enc"].float() * norm,
            "b_enc": weights["b_enc"].float() * norm,
            "W_dec": weights["W_dec"].float() / norm[:, None],
        }
    except (KeyError, RuntimeError, IndexError):
        return weights  # what is missing or misshapen is told by whoever checks them


def _dictionary_learning(
    settings: dict[str, Any], weights: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """As dictionary_learning 0.1 writes it, which names the class in `trainer.dict_class`."""
    trainer = settings.get("trainer")
    kind = trainer.get("dict_class") if isinstance(trainer, dict) else None
    in_use = {key: weight for key, weight in weights.items() if key not in NOT_IN_USE}
    named = _named(in_use, name)
    k, threshold = named.pop("k", None), named.pop("threshold", None)
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return named, Architecture(subtracts_b_dec=kind == "AutoEncoder")
    if kind == "AutoEncoderTopK" and k is not None:
        return named, Architecture(k=_checked_k(k.tolist(), name))
    if kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE") and threshold is not None:
        declared = 0.0 if k is None or k.numel() != 1 else float(k)
        return _one_threshold_each(named | {"threshold": threshold}), Architecture(
            declared_l0=declared
        )
    if kind == "JumpReluAutoEncoder" and threshold is not None:
        return named | {"threshold": threshold}, Architecture(subtracts_b_dec=False)
    raise SourceError(
        f"{name}: dictionary_learning's class {kind!r} is not known here, or its k or threshold is not there; "
        "AutoEncoder, AutoEncoderNew, AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE and "
        "JumpReluAutoEncoder are"
    )


def _named(weights: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """Weights of linear layers, [out, in], under the usual names, [in, out]; others as they are.

    Which axis is which follows from a weight's name, never from its shape: matrices may be square.

    raises  SourceError if two weights would have one name
    """
    if "encoder.weight" not in weights:
        return dict(weights)
    origin: dict[str, str] = {}
    for key in weights:
        usual = LINEAR_NAMES.get(key, key)
        if usual in origin:
            raise SourceError(
                f"{file}: {origin[usual]} and {key} both stand for {usual}: leave out the one that is not in use"
            )
        origin[usual] = key
    return {
        usual: weights[key].T.contiguous()
        if key.endswith(".weight") and weights[key].ndim == 2
        else weights[key]
        for usual, key in origin.items()
    }
