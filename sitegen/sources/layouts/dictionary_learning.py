"""dictionary_learning's folders, of all its versions."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture, TextSettings
from sitegen.sources.layouts.layout import (
    Layout,
    Reading,
    as_jump_relu,
    context_size,
    expand_threshold,
    rename_linear,
    require_k,
)
from sitegen.sources.layouts.source import Source
from sitegen.sources.tensors import read_tensors

SETTINGS, WEIGHTS = "config.json", "ae.pt"
NOT_IN_USE = ("group_sizes",)  # used in training alone
GATED_NAMES = {"mag_bias": "b_mag", "gate_bias": "b_gate", "decoder_bias": "b_dec"}
# Submodules of a layer, by the names that the library gives to what it reads
POINTS = {"resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out", "attn_out": "hook_attn_out"}
SUBMODULE = re.compile(rf"({'|'.join(POINTS)})_layer_(\d+)")
BATCH_TOP_K = ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read the layout of dictionary_learning, which names the architecture in `trainer.dict_class`.

    Until December 2024 a TopK's k stood in the settings alone; since then it is also among the weights.
    """
    settings, name = source.settings(SETTINGS) or {}, source.folder
    trainer = settings.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    kind = trainer.get("dict_class")
    in_use = {key: weight for key, weight in weights.items() if key not in NOT_IN_USE}
    renamed = rename_linear(in_use, name)
    saved_k, threshold = renamed.pop("k", None), renamed.pop("threshold", None)
    k = trainer.get("k")
    if saved_k is not None and k is None and saved_k.is_meta:
        # Only the file tells, so all of it is read
        saved_k = read_tensors(source.path(WEIGHTS))["k"]
    if saved_k is not None and not saved_k.is_meta:
        k = saved_k.tolist()
    common: dict[str, Any] = {
        "model": str(trainer.get("lm_name") or ""),
        "hook_point": _find_hook_point(trainer, source.full_name),
        "text": _read_text_settings(settings),
    }
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return renamed, Architecture(subtracts_b_dec=kind == "AutoEncoder", **common)
    if kind == "AutoEncoderTopK" and k is not None:
        return renamed, Architecture(k=require_k(k, name), **common)
    # Outside training a BatchTopK is a JumpReLU: its k is only the expected number of active features
    if kind in BATCH_TOP_K and threshold is not None:
        declared_l0 = float(k) if isinstance(k, int | float) else 0.0
        return expand_threshold(renamed | {"threshold": threshold}), Architecture(
            declared_l0=declared_l0, **common
        )
    if kind == "JumpReluAutoEncoder" and threshold is not None:
        return renamed | {"threshold": threshold}, Architecture(subtracts_b_dec=False, **common)
    if kind == "GatedAutoEncoder":
        gated = {GATED_NAMES.get(key, key): weight for key, weight in renamed.items()}
        return as_jump_relu(gated, name), Architecture(**common)
    raise SourceError(
        f"{name}: dictionary_learning's class {kind!r} is not supported, or its k or threshold is missing; give one of "
        "AutoEncoder, AutoEncoderNew, AutoEncoderTopK (with k), BatchTopKSAE, MatryoshkaBatchTopKSAE, GatedAutoEncoder "
        "and JumpReluAutoEncoder (with threshold)"
    )


def _find_hook_point(trainer: dict[str, Any], folder: str) -> str:
    """Find the hook point in the trainer's `submodule_name`, such as `resid_post_layer_3`, or in the folder's name.

    Settings of early versions have no submodule_name. Empty if neither tells.
    """
    name = str(trainer.get("submodule_name") or folder)
    match = SUBMODULE.search(name)
    return f"blocks.{match[2]}.{POINTS[match[1]]}" if match else ""


def _read_text_settings(settings: dict[str, Any]) -> TextSettings:
    buffer = settings.get("buffer")
    size = buffer.get("ctx_len") if isinstance(buffer, dict) else None
    return TextSettings(context_size=context_size(size))


LAYOUT = Layout(
    name="dictionary_learning",
    files=(SETTINGS, WEIGHTS),
    is_folder=True,
    content="`AutoEncoder`, `AutoEncoderNew`, `AutoEncoderTopK`, `BatchTopKSAE`, `MatryoshkaBatchTopKSAE`, "
    "`JumpReluAutoEncoder`, `GatedAutoEncoder`, also of early versions, which keep a TopK's k in the settings",
    n_registered={"autoencoders": 838},
    read=_read,
)
