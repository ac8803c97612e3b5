"""The layouts that autoencoders are kept in, each brought to one set of weights and what is done with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.maths.normalisation import KINDS
from sitegen.sources.tensors import read_tensors

WEIGHT_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec")
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
class AutoencoderMake:
    """What is done with an autoencoder's weights, and what it was trained on."""

    subtracts_b_dec: bool = True  # from its input
    k: int = 0  # features that fire on a token, at most; 0: any number
    normalisation: str = "none"  # of its input, undone in its output
    hook_point: str = ""  # it was trained on; empty: it does not say


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


def read_folder(files: dict[str, Path], name: str) -> tuple[dict[str, Tensor], AutoencoderMake]:
    """Weights and make of a folder's files by name.

    raises  SourceError if they are of no known layout or make
    """
    for layout, read in ((SAELENS, _saelens), (DICTIONARY_LEARNING, _dictionary_learning)):
        if all(file in files for file in layout.names):
            settings = _read_settings(files[layout.settings], name)
            return read(settings, read_tensors(files[layout.weights]), name)
    wanted = " or ".join(" and ".join(layout.names) for layout in FOLDER_LAYOUTS)
    raise SourceError(f"{name} is no autoencoder's folder: that holds {wanted}")


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], AutoencoderMake]:
    """Weights and make of one file, which says no more than the names of its tensors do.

    raises  SourceError if it is no file of tensors, or its names leave open what is done with them
    """
    weights = read_tensors(path)
    if path.name == SAELENS.weights:
        raise SourceError(
            f"{path.name} does not say what is done with its weights: give the folder with its {SAELENS.settings}"
        )
    if "k" in weights:
        raise SourceError(
            f"{path.name} has a k but does not say what it is used for: give the folder with its config.json"
        )
    if "encoder.weight" in weights:
        subtracts = "bias" in weights or "b_dec" in weights
        return _named(weights), AutoencoderMake(subtracts_b_dec=subtracts)
    return weights, AutoencoderMake()


def _read_settings(path: Path, name: str) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}/{path.name} is no JSON: {error}") from None
    if not isinstance(settings, dict):
        raise SourceError(f"{name}/{path.name} is no JSON object")
    return settings


def _saelens(
    settings: dict[str, Any], weights: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], AutoencoderMake]:
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
    for field, value in (
        ("finetuning_scaling_factor", settings.get("finetuning_scaling_factor") or None),
        ("hook_head_index", about.get("hook_head_index")),
    ):
        if value is not None:
            raise SourceError(f"{name}: {field} is {value!r}, and what it does is not known here")
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
    make = AutoencoderMake(
        subtracts_b_dec=subtracts_b_dec,
        k=k,
        normalisation=_normalisation(settings.get("normalize_activations"), name),
        hook_point=str(about.get("hook_name") or about.get("hook_point") or ""),
    )
    return weights, make


def _require_widths(settings: dict[str, Any], weights: dict[str, Tensor], name: str) -> None:
    """That the settings are of these weights, and not of others that stood beside them."""
    shapes = {"d_in": weights.get("b_dec"), "d_sae": weights.get("b_enc")}
    for field, weight in shapes.items():
        if field in settings and weight is not None and settings[field] != weight.numel():
            raise SourceError(
                f"{name}: {field} is {settings[field]!r} in {SAELENS.settings}, "
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
    if kind not in KINDS:
        raise SourceError(
            f"{name}: normalize_activations {kind!r} is not known here; {', '.join(KINDS)} are"
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
) -> tuple[dict[str, Tensor], AutoencoderMake]:
    """As dictionary_learning 0.1 writes it, which names the class in `trainer.dict_class`."""
    trainer = settings.get("trainer")
    kind = trainer.get("dict_class") if isinstance(trainer, dict) else None
    named = _named({key: weight for key, weight in weights.items() if key not in NOT_IN_USE})
    k, threshold = named.pop("k", None), named.pop("threshold", None)
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return named, AutoencoderMake(subtracts_b_dec=kind == "AutoEncoder")
    if kind == "AutoEncoderTopK" and k is not None:
        return named, AutoencoderMake(k=_checked_k(k.tolist(), name))
    if kind in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE") and threshold is not None:
        b_enc = named.get("b_enc", threshold)
        if threshold.ndim == 0 and b_enc.ndim == 1:
            threshold = threshold.expand_as(b_enc)  # one for all features
        return named | {"threshold": threshold}, AutoencoderMake()
    if kind == "JumpReluAutoEncoder" and threshold is not None:
        return named | {"threshold": threshold}, AutoencoderMake(subtracts_b_dec=False)
    raise SourceError(
        f"{name}: dictionary_learning's class {kind!r} is not known here, or its k or threshold is not there; "
        "AutoEncoder, AutoEncoderNew, AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE and "
        "JumpReluAutoEncoder are"
    )


def _named(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of linear layers, [out, in], under the usual names, [in, out]; others as they are."""
    if "encoder.weight" not in weights:
        return dict(weights)
    return {
        LINEAR_NAMES.get(key, key): weight.T.contiguous() if weight.ndim == 2 else weight
        for key, weight in weights.items()
    }
