"""Names of hook points: TransformerLens' own, and the names of modules in `transformers`, translated."""

from __future__ import annotations

import re

# A module of a decoder layer in `transformers`, such as `model.layers.3.mlp.output`, or the layer itself
MODULE_NAME = re.compile(
    r"(?:[a-z_]+\.)*(?:layers|h|layer|blocks)\.(\d+)(?:\.([a-z_.]+?))??(?:\.(input|output))?"
)
# The hook point within a layer at which a module's output (or its input, where that is named) is read
MODULE_POINTS = {
    (None, "output"): "hook_resid_post",
    (None, "input"): "hook_resid_pre",
    ("mlp", "output"): "hook_mlp_out",
    ("mlp", "input"): "mlp.hook_in",
    ("feed_forward", "output"): "hook_mlp_out",
    ("self_attn", "output"): "hook_attn_out",
    ("attn", "output"): "hook_attn_out",
    ("attention", "output"): "hook_attn_out",
    ("self_attn.o_proj", "input"): "attn.hook_z",
    ("pre_feedforward_layernorm", "output"): "mlp.hook_in",
    ("post_feedforward_layernorm", "output"): "hook_mlp_out",
}
# An MLP's input, after the norm. Versions of TransformerLens differ in whether `hook_normalized` has the norm's gain.
MLP_INPUT = re.compile(r"blocks\.(\d+)\.(?:ln2\.hook_normalized|ln2\.hook_out|mlp\.hook_in)")


def to_hook_point(name: str) -> str:
    """Translate the name of a hook point to TransformerLens' name for it.

    name     TransformerLens' own name, or the name in `transformers` of the module whose output (or `input`) it is
    returns  an empty text for a name of neither kind; a name that begins with `blocks.` is returned unchanged
    """
    if name.startswith("blocks."):
        return name
    match = MODULE_NAME.fullmatch(name)
    point = MODULE_POINTS.get((match[2], match[3] or "output")) if match else None
    return f"blocks.{match[1]}.{point}" if match and point else ""


def canonical_point(hook_point: str) -> str:
    """Name a hook point so that two points with the same activations have the same name.

    A layer's output is named as the input of the layer after it, and the output of the norm before an MLP as the MLP's
    input.
    """
    if match := re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", hook_point):
        return f"blocks.{int(match[1]) + 1}.hook_resid_pre"
    return re.sub(r"\.ln2\.hook_out$", ".mlp.hook_in", hook_point)


def is_declared_as(declared: str, hook_point: str) -> bool:
    """Tell whether a hook point may be the one that an autoencoder's files declare.

    The two names of an MLP's input count as one, because the files of a transcoder do not tell which of them is meant.
    """
    one, other = MLP_INPUT.fullmatch(declared), MLP_INPUT.fullmatch(hook_point)
    if one and other:
        return one[1] == other[1]
    return canonical_point(declared) == canonical_point(hook_point)
