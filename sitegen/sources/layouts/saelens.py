"""SAELens' folders: of version 6, and of the versions before it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sitegen.config import NORMALISATIONS, PROCESSING
from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import (
    Layout,
    Reading,
    as_jump_relu,
    context_size,
    require_k,
    transpose,
)
from sitegen.sources.layouts.source import Source

SETTINGS, WEIGHTS = "cfg.json", "sae_weights.safetensors"
# Architectures, as the weights are used outside training
RELU = ("standard", "transcoder", "skip_transcoder")
JUMP_RELU = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder")
SUPPORTED = (*RELU, *JUMP_RELU, "topk", "gated")
# A scale that training gives to inputs, which SAELens can fold into the weights before it saves them
SCALED_BY_AVERAGE = "expected_average_only_in"


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read the layout of SAELens 6 or of an earlier version.

    source  SAELens 6.54, `SAEConfig` and `handle_pre_6_0_config`
    """
    settings, name = source.settings(SETTINGS) or {}, source.folder
    # Version 6 keeps what concerns training (hook point, text) under `metadata`, earlier ones at the top
    metadata = settings.get("metadata")
    training = metadata if isinstance(metadata, dict) else settings
    kind = settings.get("architecture", "standard")
    function = settings.get("activation_fn_str", settings.get("activation_fn", "relu"))
    # Earlier versions named TopK as an activation function, with its k among the function's arguments
    if function == "topk":
        kind, function = "topk", "relu"
        arguments = settings.get("activation_fn_kwargs")
        settings = settings | arguments if isinstance(arguments, dict) else settings
    k = 0
    if kind not in SUPPORTED or function != "relu":
        what = (
            f"architecture {kind!r}" if function == "relu" else f"activation function {function!r}"
        )
        raise SourceError(
            f"{name}: SAELens' {what} is not supported ({', '.join(SUPPORTED)} are); give another autoencoder"
        )
    _require_unchanged(settings, training, name)
    _require_widths(settings, weights, name)
    _require_threshold(kind, weights, name)
    weights = _without_unit_scale(weights)
    if kind == "topk":
        k = require_k(settings.get("k"), name)
        if settings.get("rescale_acts_by_decoder_norm"):
            weights = _rescale_by_decoder_norm(weights)
    if kind == "gated":
        weights = as_jump_relu(weights, name)
    weights = transpose(weights, "W_skip")
    is_transcoder = "transcoder" in kind
    normalisation = settings.get("normalize_activations")
    # Earlier versions of SAELens wrote true or false
    if normalisation is None or isinstance(normalisation, bool):
        normalisation = SCALED_BY_AVERAGE if normalisation else "none"
    is_scaled = normalisation == SCALED_BY_AVERAGE
    return weights, Architecture(
        subtracts_b_dec=not is_transcoder and _read_subtracts_b_dec(settings, name),
        k=k,
        normalisation="none" if is_scaled else _read_normalisation(normalisation, name),
        lacks_input_scale=is_scaled,
        is_transcoder=is_transcoder,
        model=str(training.get("model_name") or ""),
        hook_point=str(training.get("hook_name") or training.get("hook_point") or ""),
        output_hook_point=str(training.get("hook_name_out") or ""),
        processing=_read_processing(training.get("model_from_pretrained_kwargs"), name),
        text=_read_text_settings(training),
    )


def _require_unchanged(settings: dict[str, Any], training: dict[str, Any], name: str) -> None:
    """Raise for settings that would change the activations in a way that is not supported."""
    for key, value in (
        ("finetuning_scaling_factor", settings.get("finetuning_scaling_factor") or None),
        ("hook_head_index", training.get("hook_head_index")),
    ):
        if value is not None:
            raise SourceError(
                f"{name}: {key} is {value!r}, a setting that is not supported; give an autoencoder without it"
            )


def _require_threshold(kind: str, weights: dict[str, Tensor], name: str) -> None:
    """Raise unless the weights have a threshold exactly if the declared architecture needs one."""
    is_jump = kind in JUMP_RELU
    if is_jump != ("threshold" in weights):
        what = "lacks a" if is_jump else "has a"
        raise SourceError(
            f"{name}: {WEIGHTS} {what} threshold, but {SETTINGS} declares the architecture "
            f"{kind}; give the two files that were saved together"
        )


def _read_subtracts_b_dec(settings: dict[str, Any], name: str) -> bool:
    subtracts_b_dec = settings.get("apply_b_dec_to_input", True)
    if not isinstance(subtracts_b_dec, bool):
        raise SourceError(
            f"{name}: apply_b_dec_to_input is {subtracts_b_dec!r}; true or false is expected"
        )
    return subtracts_b_dec


def _without_unit_scale(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out a scaling factor that is 1 for every feature, which some versions saved; headers do not tell it."""
    scale = weights.get("scaling_factor")
    if scale is None or not (scale.is_meta or bool((scale == 1).all())):
        return weights
    return {key: weight for key, weight in weights.items() if key != "scaling_factor"}


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
        context_size=context_size(size),
        separator=str(separator) or None,
        dataset=str(training.get("dataset_path") or ""),
    )


def _require_widths(settings: dict[str, Any], weights: dict[str, Tensor], name: str) -> None:
    """Raise unless the widths that the settings declare are those of the weights."""
    # Only a transcoder declares d_out
    output = "d_out" if "d_out" in settings else "d_in"
    shapes = {output: weights.get("b_dec"), "d_sae": weights.get("b_enc")}
    for key, weight in shapes.items():
        if key in settings and weight is not None and settings[key] != weight.numel():
            raise SourceError(
                f"{name}: {key} is {settings[key]!r} in {SETTINGS}, "
                f"but {WEIGHTS} has {weight.numel()}; give the two files that were saved together"
            )


def _read_normalisation(kind: object, name: str) -> str:
    if kind not in NORMALISATIONS:
        raise SourceError(
            f"{name}: normalize_activations {kind!r} is not supported ({', '.join(NORMALISATIONS)} and "
            f"{SCALED_BY_AVERAGE} are); give another autoencoder"
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


LAYOUT = Layout(
    name="SAELens 6 and earlier versions",
    files=(SETTINGS, WEIGHTS),
    is_folder=True,
    content="architectures `standard` (ReLU), `jumprelu` (as which BatchTopK and Matryoshka are saved), `topk`, "
    "`gated`, and transcoders, with a skip connection or without; `apply_b_dec_to_input`; `normalize_activations` of "
    "`none`, `layer_norm`, `constant_norm_rescale`, and `expected_average_only_in` with `autoencoder.input_scale`; "
    "`rescale_acts_by_decoder_norm`",
    n_registered={"autoencoders": 292},
    read=_read,
)
