"""OpenAI's autoencoders on GPT-2."""

from __future__ import annotations

from torch import Tensor

from sitegen.errors import SourceError
from sitegen.sources.architecture import Architecture
from sitegen.sources.layouts.layout import Layout, Reading, number_in, rename_linear, require_k
from sitegen.sources.layouts.source import Source
from sitegen.sources.tensors import read_tensors

NAMES = {"pre_bias": "b_dec", "latent_bias": "b_enc"}
NOT_IN_USE = (
    "stats_last_nonzero",
    "latents_activation_frequency",
    "latents_mean_square",
    "activation",
    "activation_state_dict.k",
    "activation_state_dict.postact_fn",
)
# Hook points, by the names of the folders above the files
POINTS = {
    "resid_post_mlp": "hook_resid_post",
    "resid_post_attn": "hook_resid_mid",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_delta_attn": "hook_attn_out",
    "mlp_post_act": "mlp.hook_post",
}


def _read(source: Source, weights: dict[str, Tensor]) -> Reading:
    """Read a TopK that normalises its input, or a ReLU that does not.

    source  openai/sparse_autoencoder, `model.py`
    """
    name = source.file
    function = _text_of(weights.get("activation"))
    for one in (function, _text_of(weights.get("activation_state_dict.postact_fn"))):
        if one not in ("ReLU", "TopK"):
            raise SourceError(
                f"{name}: the activation function {one} is not supported (ReLU and TopK are); give another autoencoder"
            )
    is_top_k = function == "TopK"
    k = weights.get("activation_state_dict.k")
    in_use = {NAMES.get(key, key): w for key, w in weights.items() if key not in NOT_IN_USE}
    layer = number_in(name, r"(\d+)\.pt$")
    point = next((point for part, point in POINTS.items() if part in source.full_name), None)
    return rename_linear(in_use, name), Architecture(
        k=require_k(_number_of(k, source), name) if is_top_k else 0,
        normalisation="layer_norm" if is_top_k else "none",
        model="gpt2",
        hook_point=f"blocks.{layer}.{point}" if point and layer is not None else "",
    )


def _number_of(k: Tensor | None, source: Source) -> object:
    """Get the k; from the whole file if only the file's header was read."""
    if k is not None and k.is_meta:
        k = read_tensors(source.path(source.file))["activation_state_dict.k"]
    return None if k is None else k.tolist()


def _text_of(value: Tensor | None) -> str:
    """Get the text that a tensor holds as bytes; ReLU, which is the default, if there is none."""
    return "ReLU" if value is None else bytes(value.tolist()).decode()


LAYOUT = Layout(
    name="OpenAI's (GPT-2)",
    files=("N.pt",),
    is_folder=False,
    content="TopK with normalised input, ReLU",
    n_registered={},
    recognised_by=lambda source: (
        source.file.endswith(".pt")
        and {"pre_bias", "latent_bias"} <= source.tensors(source.file).keys()
    ),
    read=_read,
    also="with `pre_bias` and `latent_bias`; N is the layer",
    needs_tensors=True,
)
