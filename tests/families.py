"""Tiny models of every family, and the activations that plain `transformers` computes in them at each hook point.

These numbers use no code of this package or of TransformerLens. They are captured by forward hooks on
the modules of the original model, and logit effects are computed from the weights of those modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from sitegen.errors import SourceError
from sitegen.sources.model import HookedModel, hook_model
from sitegen.sources.model_files import boot_model

CPU = torch.device("cpu")
LAYER = 1  # of three
D_VOCAB = 97

PRE, MID, POST = "hook_resid_pre", "hook_resid_mid", "hook_resid_post"
ATTN_OUT, MLP_OUT = "hook_attn_out", "hook_mlp_out"
HEADS, NEURONS = "attn.hook_z", "mlp.hook_post"
POINTS = (PRE, ATTN_OUT, MID, NEURONS, MLP_OUT, POST, HEADS)
STREAM = frozenset({PRE, POST})
EVERY = frozenset(POINTS)
NO_MID = EVERY - {MID}  # attention and MLP read the same stream
NO_NEURONS = EVERY - {NEURONS}  # each token has its own experts' neurons
NONE: frozenset[str] = frozenset()
# TransformerLens treats the one dense layer among layers of experts as one of them
SOME_NEURONS: dict[str, Any] = {"offered": NO_NEURONS, "optional": frozenset({NEURONS})}


@dataclass(frozen=True)
class Family:
    """A configuration, where in the model of `transformers` the hook points are, and which of them must be offered.

    Paths are those of modules; they are relative to a layer except for `layers`, `final_norm` and `head`.

    config      differences from GENERIC; a value of None removes a field
    offered     hook points that must be available
    optional    hook points that may be available if their activations are right; all others must be refused
    attn_out    module whose output attention adds to the stream
    heads       module whose input is the concatenated output of the heads
    mid         module whose input is the stream between attention and MLP
    mlp_out     module whose output the MLP adds to the stream; "": the difference of the stream after `mid`
    neurons     module whose input is the activations of the MLP's neurons
    attn_norm   norm between `heads` and the stream
    mlp_norm    norm between `neurons` and the stream
    attn_times  factor of the output of `attn_out` as it is added to the stream
    mlp_times   factor of the output of `mlp_out`
    neurons_times  further factor between `neurons` and `mlp_out`
    scalar      parameter of each layer that is a factor of its output
    times       factor of the logits
    soft_cap    bound of the logits after soft-capping, which makes them depend on a common shift
    is_parallel whether attention and MLP read the same stream
    has_eyes    whether the model also reads images; the language model is then a part of it
    """

    config: dict[str, Any] = field(default_factory=dict)
    offered: frozenset[str] = EVERY
    optional: frozenset[str] = NONE
    layers: str = "model.layers"
    attn_out: str = "self_attn"
    heads: str = "self_attn.o_proj"
    mid: str = "post_attention_layernorm"
    mlp_out: str = "mlp"
    neurons: str = "mlp.down_proj"
    attn_norm: str = ""
    mlp_norm: str = ""
    final_norm: str = "model.norm"
    head: str = "lm_head"
    attn_times: float = 1.0
    mlp_times: float = 1.0
    neurons_times: float = 1.0
    scalar: str = ""
    times: float = 1.0
    soft_cap: float = 0.0
    is_parallel: bool = False
    has_eyes: bool = False

    @property
    def auto_class(self) -> Any:
        return AutoModelForImageTextToText if self.has_eyes else AutoModelForCausalLM


GENERIC: dict[str, Any] = {
    "vocab_size": D_VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 2,
}
SQUARE = {
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
}  # the heads divide the width among them
LONG_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
NO_GROUPS: dict[str, Any] = {"head_dim": None, "num_key_value_heads": None}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 2,
    "topk_group": 1,
}
LATENT = {  # attention with keys and values from a low-rank latent
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 10,
    "num_key_value_heads": 4,
}
WINDOWS = {
    "sliding_window": 8,
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
}
HYBRID = ["linear_attention", "full_attention", "linear_attention"]
DELTA = {  # sizes of the layers of linear attention
    "layer_types": HYBRID,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 12,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
    "mamba_expand": 2,
}
EYES = {  # sizes of the vision part, by the names of several families
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "depth": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_heads": 2,
    "head_dim": 8,
    "image_size": 16,
    "patch_size": 8,
    "out_hidden_size": 24,
    "vision_output_dim": 24,
    "projector_input_dim": 16,
    "projector_output_dim": 24,
}
GPT2 = {
    **dict.fromkeys(GENERIC),
    "vocab_size": D_VOCAB,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 0,
}
SCALES = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.3,
    "residual_multiplier": 0.4,
    "logits_scaling": 5.0,
}
GRANITE: dict[str, Any] = {"attn_times": 0.4, "mlp_times": 0.4, "times": 1 / 5}


def gpt2(**changes: Any) -> Family:
    settings: dict[str, Any] = {
        "config": GPT2,
        "layers": "transformer.h",
        "attn_out": "attn",
        "heads": "attn.c_proj",
        "mid": "ln_2",
        "neurons": "mlp.c_proj",
        "final_norm": "transformer.ln_f",
    }
    return Family(**{**settings, **changes})


def gptj(**changes: Any) -> Family:
    parts = {"heads": "attn.out_proj", "neurons": "mlp.fc_out"}
    return gpt2(**{**parts, "is_parallel": True, "offered": NO_MID, **changes})


def neox(**changes: Any) -> Family:
    settings: dict[str, Any] = {
        "layers": "gpt_neox.layers",
        "attn_out": "attention",
        "heads": "attention.dense",
        "neurons": "mlp.dense_4h_to_h",
        "final_norm": "gpt_neox.final_layer_norm",
        "head": "lm_head",
    }
    return Family(**{**settings, **changes})


def falcon(**changes: Any) -> Family:
    settings: dict[str, Any] = {
        "layers": "transformer.h",
        "attn_out": "self_attention",
        "heads": "self_attention.dense",
        "neurons": "mlp.dense_4h_to_h",
        "final_norm": "transformer.ln_f",
    }
    return Family(**{**settings, **changes})


def bloom(apply_residual_connection_post_layernorm: bool = False) -> Family:
    config = {**dict.fromkeys(GENERIC), "vocab_size": D_VOCAB, "hidden_size": 24, "n_layer": 3}
    is_normed = apply_residual_connection_post_layernorm
    return falcon(
        config={**config, "n_head": 4, "apply_residual_connection_post_layernorm": is_normed},
        attn_out="self_attention.dense",  # the modules around add the stream itself
        mlp_out="mlp.dense_4h_to_h",
        offered=NONE if is_normed else EVERY,
    )


def fairseq(final_norm: str, **changes: Any) -> Family:
    """A family like OPT, whose MLP is not a module."""
    settings: dict[str, Any] = {
        "heads": "self_attn.out_proj",
        "mid": "final_layer_norm",
        "mlp_out": "fc2",
        "neurons": "fc2",
        "final_norm": final_norm,
    }
    return Family(**{**settings, **changes})


def sandwiched(**changes: Any) -> Family:
    """A family like Gemma 2, with norms before and after each sub-block."""
    settings: dict[str, Any] = {
        "attn_out": "post_attention_layernorm",
        "attn_norm": "post_attention_layernorm",
        "mid": "pre_feedforward_layernorm",
        "mlp_out": "post_feedforward_layernorm",
        "mlp_norm": "post_feedforward_layernorm",
    }
    return Family(**{**settings, **changes})


def post_normed(**changes: Any) -> Family:
    """A family like OLMo 2, with norms only after each sub-block."""
    return sandwiched(**{"mid": "mlp", **changes})


def parallel(**changes: Any) -> Family:
    return Family(**{"is_parallel": True, "offered": NO_MID, **changes})


def experts(**changes: Any) -> Family:
    return Family(**{"offered": NO_NEURONS, "neurons": "", **changes})


def stream_only(layers: str, final_norm: str, **changes: Any) -> Family:
    """A family whose layers are one mixer, or parts in an order of their own."""
    settings: dict[str, Any] = {
        "layers": layers,
        "final_norm": final_norm,
        "offered": STREAM,
        "attn_out": "",
        "heads": "",
        "mid": "",
        "mlp_out": "",
        "neurons": "",
    }
    return Family(**{**settings, **changes})


def nemotron_h(layer_types: list[str]) -> Family:
    config: dict[str, Any] = {
        "layers_block_type": layer_types,
        "num_hidden_layers": None,
        "mamba_num_heads": 4,
        "mamba_head_dim": 12,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 8,
        "n_routed_experts": 4,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    }
    return stream_only("model.layers", "model.norm_f", config=config)


def refused(**changes: Any) -> Family:
    """A family where no hook point gives the stream correctly, or whose output projection is not linear."""
    return Family(**{"offered": NONE, **changes})


def with_eyes(part: Family, prefix: str = "model.language_model", **changes: Any) -> Family:
    """A multimodal model whose language model is another family of the table."""
    text = {name: value for name, value in {**GENERIC, **part.config}.items() if value is not None}
    ids = {"image_token_id": 95, "boi_token_id": 94, "eoi_token_id": 93}
    config = {**dict.fromkeys(GENERIC), **ids, "text_config": text, "vision_config": EYES}
    return replace(
        part,
        config=config,
        has_eyes=True,
        layers=f"{prefix}.layers",
        final_norm=f"{prefix}.norm",
        **changes,
    )


LFM2: dict[str, Any] = {
    "heads": "self_attn.out_proj",
    "mlp_out": "feed_forward",
    "mid": "ffn_norm",
    "neurons": "feed_forward.w2",
    "final_norm": "model.embedding_norm",
}
PRE_FF: dict[str, Any] = {
    "mlp_out": "feed_forward",
    "mid": "pre_ff_layernorm",
    "neurons": "feed_forward.down_proj",
    "final_norm": "model.final_layernorm",
}

FAMILIES: dict[str, Family] = {
    "afmoe": sandwiched(
        config={**EXPERTS, **WINDOWS, "num_dense_layers": 1, "mup_enabled": True},
        mid="pre_mlp_layernorm",
        mlp_out="post_mlp_layernorm",
        mlp_norm="post_mlp_layernorm",
        neurons="",
        offered=NO_NEURONS,
    ),
    "apertus": Family(mid="feedforward_layernorm"),
    "arcee": Family(config={"attention_bias": True, "mlp_bias": True}),
    "bamba": Family(config={**MAMBA, **SQUARE, "attn_layer_indices": [1]}, **PRE_FF),
    "bamba/mamba": Family(
        config={**MAMBA, **SQUARE, "attn_layer_indices": [0]},
        **{**PRE_FF, "attn_out": "mamba", "heads": ""},
        offered=EVERY - {HEADS, ATTN_OUT, MID},
        optional=frozenset({ATTN_OUT}),
    ),
    "bitnet": Family(config=SQUARE),
    "bloom": bloom(),
    "bloom/normed": bloom(  # each layer replaces the stream by its normed value
        apply_residual_connection_post_layernorm=True
    ),
    "codegen": gptj(config={**GPT2, "n_embd": 32, "rotary_dim": 4, "n_ctx": 64}),
    "cohere": parallel(config={**SQUARE, "logit_scale": 0.25, "use_qk_norm": True}, times=0.25),
    "cohere2": parallel(config={**WINDOWS, "logit_scale": 0.25}, times=0.25),
    "deepseek_v2": experts(config={**LATENT, **ROUTED, "first_k_dense_replace": 1}),
    "deepseek_v2/dense": Family(
        config={**LATENT, **ROUTED, "first_k_dense_replace": 2}, **SOME_NEURONS
    ),
    "deepseek_v3": experts(config={**LATENT, **ROUTED, "first_k_dense_replace": 1}),
    "deepseek_v4": refused(
        config={"num_key_value_heads": 1, "q_lora_rank": 16, "o_lora_rank": 8, "o_groups": 2}
        | {"moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2}
        | {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 4, "sliding_window": 8}
    ),
    "ernie4_5": Family(config={"use_bias": True}),
    "ernie4_5_moe": experts(
        config={**SQUARE, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 16}
        | {"moe_layer_start_index": 1, "moe_num_shared_experts": 1}
    ),
    "exaone4": post_normed(config=WINDOWS),
    "falcon": falcon(config={**SQUARE, "head_dim": None}, is_parallel=True, offered=NO_MID),
    "falcon/new": falcon(
        config={
            **SQUARE,
            "head_dim": None,
            "new_decoder_architecture": True,
            "num_kv_heads": 1,
            "bias": True,
        },
        is_parallel=True,
        offered=NO_MID,
    ),
    "falcon/sequential": falcon(
        config={**SQUARE, **NO_GROUPS, "parallel_attn": False, "bias": True, "multi_query": False}
    ),
    "falcon/alibi": falcon(  # eager attention of transformers adds these biases twice
        config={**SQUARE, **NO_GROUPS, "parallel_attn": False, "alibi": True, "bias": True}
        | {"multi_query": False},
        offered=NONE,
        optional=EVERY,
    ),
    "falcon_h1": Family(
        config={**MAMBA, "mamba_d_ssm": 48, "attention_out_multiplier": 0.7}
        | {"mlp_multipliers": [1.5, 0.6], "lm_head_multiplier": 0.5, "embedding_multiplier": 2.0}
        | {"ssm_out_multiplier": 0.8, "key_multiplier": 0.9},
        **PRE_FF,
        attn_times=0.7,
        neurons_times=0.6,
        times=0.5,
        offered=STREAM | {MLP_OUT},
        optional=frozenset(
            {ATTN_OUT, HEADS, MID, NEURONS}
        ),  # the layer adds the output of its Mamba too
    ),
    "falcon_mamba": stream_only(
        "backbone.layers", "backbone.norm_f", config={"state_size": 8, "head_dim": None}
    ),
    "flex_olmo": post_normed(config={**EXPERTS, **SQUARE}, neurons="", offered=NO_NEURONS),
    "gemma": Family(),
    "gemma2": sandwiched(
        config={**WINDOWS, "query_pre_attn_scalar": 10, "attn_logit_softcapping": 2.0}
        | {"final_logit_softcapping": 3.0},
        soft_cap=3.0,
    ),
    "gemma3_text": sandwiched(config={**WINDOWS, "query_pre_attn_scalar": 10}),
    "gemma4_text": sandwiched(
        config={**WINDOWS, "vocab_size_per_layer_input": D_VOCAB, "hidden_size_per_layer_input": 6}
        | {"final_logit_softcapping": 3.0, "global_head_dim": 16},
        soft_cap=3.0,
        scalar="layer_scalar",
        offered=EVERY - {MLP_OUT},
        optional=frozenset({MLP_OUT}),  # a third part adds to the stream after it
    ),
    "glm": Family(config={"attention_bias": True}),
    "glm4": sandwiched(
        attn_out="post_self_attn_layernorm",
        attn_norm="post_self_attn_layernorm",
        mid="post_attention_layernorm",
        mlp_out="post_mlp_layernorm",
        mlp_norm="post_mlp_layernorm",
        config={"attention_bias": True},
    ),
    "glm4_moe": experts(config={**ROUTED, "first_k_dense_replace": 1, "use_qk_norm": True}),
    "glm4_moe/dense": Family(config={**ROUTED, "first_k_dense_replace": 2}, **SOME_NEURONS),
    "glm4_moe_lite": experts(
        config={**LATENT, **ROUTED, "mlp_layer_types": ["dense"] + ["sparse"] * 2}
    ),
    "glm_moe_dsa": experts(
        config={**LATENT, **ROUTED, "mlp_layer_types": ["dense", "sparse", "sparse"]}
        | {"index_topk": 4, "index_head_dim": 16, "index_n_heads": 2}
    ),
    "gpt-sw3": gpt2(),
    "gpt2": gpt2(),
    "gpt2/scaled": gpt2(
        config={**GPT2, "scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True}
    ),
    "gpt_bigcode": gpt2(),
    "gpt_bigcode/ungrouped": gpt2(  # TransformerLens does not support this layout
        config={**GPT2, "multi_query": False}, offered=NONE, optional=EVERY
    ),
    "gpt_neo": gpt2(
        config={**dict.fromkeys(GENERIC), "vocab_size": D_VOCAB, "hidden_size": 24, "num_heads": 4}
        | {"num_layers": 3, "attention_types": [[["global"], 1], [["local"], 1], [["global"], 1]]}
        | {"window_size": 8, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 0},
        heads="attn.attention.out_proj",
    ),
    "gpt_neox": neox(config=NO_GROUPS, is_parallel=True, offered=NO_MID),
    "gpt_neox/sequential": neox(config={**NO_GROUPS, "use_parallel_residual": False}),
    "gpt_oss": experts(config={**WINDOWS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss/ungrouped": experts(
        config={**WINDOWS, "num_key_value_heads": 4, "num_local_experts": 4}
        | {"num_experts_per_tok": 2}
    ),
    "gptj": gptj(config={**GPT2, "rotary_dim": 4}),
    "granite": Family(config=SCALES, **GRANITE),
    "granitemoe": experts(
        config={**SCALES, **SQUARE, "num_local_experts": 4, "num_experts_per_tok": 2},
        mlp_out="block_sparse_moe",
        **GRANITE,
    ),
    "granitemoehybrid": experts(
        config={**SCALES, **SQUARE, **MAMBA, "num_local_experts": 4, "num_experts_per_tok": 2}
        | {"layer_types": ["mamba", "attention", "mamba"], "shared_intermediate_size": 40}
        | {"position_embedding_type": "nope"},
        mlp_out="",
        offered=NO_NEURONS - {MLP_OUT},
        optional=frozenset({MLP_OUT}),
        **GRANITE,
    ),
    "granitemoehybrid/dense": Family(
        config={**SCALES, **SQUARE, **MAMBA, "num_local_experts": 0, "num_experts_per_tok": 0}
        | {"layer_types": ["mamba", "attention", "mamba"], "shared_intermediate_size": 40}
        | {"position_embedding_type": "rope"},
        mlp_out="shared_mlp",
        neurons="shared_mlp.output_linear",
        offered=EVERY - {NEURONS, MLP_OUT},
        optional=frozenset({NEURONS, MLP_OUT}),
        **GRANITE,
    ),
    "granitemoehybrid/unsaid": refused(  # TransformerLens looks for a rotary embedding
        config={**SCALES, **SQUARE, **MAMBA, "num_local_experts": 0, "num_experts_per_tok": 0}
        | {"layer_types": ["mamba", "attention", "mamba"], "shared_intermediate_size": 40}
    ),
    "hrm_text": refused(),
    "hunyuan_v1_dense": Family(),
    "internlm3": Family(),
    "iquestcoder": Family(),
    "jais2": Family(config={"attention_bias": True, "mlp_bias": True}),
    "jamba": Family(
        config={"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2}
        | {"expert_layer_offset": 0, "num_experts": 4, "mamba_d_state": 8, "head_dim": None}
        | {**SQUARE, "use_mamba_kernels": False},
        **PRE_FF,
        **SOME_NEURONS,
    ),
    "jetmoe": experts(
        config={"num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 8}
        | {"num_attention_heads": None, "head_dim": None},
        attn_out="self_attention",
        heads="",
        offered=NO_NEURONS - {HEADS},
    ),
    "laguna": experts(
        config={**EXPERTS, **WINDOWS, "shared_expert_intermediate_size": 16}
        | {"num_attention_heads_per_layer": [4, 4, 4]}
        | {"mlp_layer_types": ["dense", "sparse", "sparse"]}
    ),
    "lfm2": Family(config={**SQUARE, "layer_types": ["conv", "full_attention", "conv"]}, **LFM2),
    "lfm2/conv": Family(
        config={**SQUARE, "layer_types": ["full_attention", "conv", "conv"]},
        **{**LFM2, "attn_out": "conv", "heads": ""},
        offered=EVERY - {HEADS, ATTN_OUT, MID},
        optional=frozenset({ATTN_OUT}),
    ),
    "lfm2_moe": experts(
        config={**SQUARE, **EXPERTS, "layer_types": ["conv", "full_attention", "conv"]}
        | {"num_dense_layers": 1},
        **{**LFM2, "neurons": ""},
    ),
    "llama": Family(config={"attention_bias": True, "mlp_bias": True}),
    "llama/scaled": Family(
        config={"rope_parameters": LONG_ROPE, "tie_word_embeddings": True, "rms_norm_eps": 1e-2}
    ),
    "llama4_text": experts(
        config={"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 40}
        | {"no_rope_layers": [1, 0, 1], "interleave_moe_layer_step": 2, "floor_scale": 4},
        mlp_out="feed_forward",
    ),
    "mamba": stream_only("backbone.layers", "backbone.norm_f", config={"state_size": 8}),
    "mamba2": stream_only(
        "backbone.layers",
        "backbone.norm_f",
        config={"num_heads": 4, "head_dim": 12, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    ),
    "minimax_m2": experts(config={"num_local_experts": 4, "num_experts_per_tok": 2}),
    "ministral3": Family(),
    "mistral": Family(config={"sliding_window": 8}),
    "mixtral": experts(config={"num_local_experts": 4, "num_experts_per_tok": 2}),
    "modernbert-decoder": refused(
        config={**SQUARE, "local_attention": 8, "cls_token_id": 1, "sep_token_id": 0}
    ),
    "mpt": Family(
        config={**dict.fromkeys(GENERIC), "vocab_size": D_VOCAB, "d_model": 24, "n_layers": 3}
        | {"n_heads": 4, "max_seq_len": 64, "expansion_ratio": 2},
        layers="transformer.blocks",
        attn_out="attn",
        heads="attn.out_proj",
        mid="norm_2",
        mlp_out="ffn.down_proj",  # the whole MLP adds the stream itself
        neurons="ffn.down_proj",
        final_norm="transformer.norm_f",
    ),
    "nanochat": Family(config={"final_logit_softcapping": 3.0}, neurons="mlp.fc2", soft_cap=3.0),
    "nemotron": Family(),
    "nemotron_h": nemotron_h(["mamba", "attention", "mlp"]),
    "nemotron_h/mlp": nemotron_h(["mamba", "mlp", "attention"]),
    "nemotron_h/experts": nemotron_h(["mamba", "moe", "attention"]),
    "olmo": Family(config={"clip_qkv": 0.5}),
    "olmo2": post_normed(),
    "olmo3": post_normed(config=WINDOWS),
    "olmo_hybrid": post_normed(config=DELTA),
    "olmoe": experts(config={**EXPERTS, **SQUARE, "clip_qkv": 0.5, "intermediate_size": 16}),
    "openai-gpt": refused(config=GPT2),
    "opt": fairseq(
        "model.decoder.final_layer_norm",
        config={"ffn_dim": 40, "word_embed_proj_dim": 24},
        layers="model.decoder.layers",
    ),
    "opt/post-norm": refused(
        config={"ffn_dim": 40, "word_embed_proj_dim": 16, "do_layer_norm_before": False}
    ),
    "phi": parallel(
        config=SQUARE,
        heads="self_attn.dense",
        neurons="mlp.fc2",
        final_norm="model.final_layernorm",
    ),
    "phi/normed": parallel(  # has norms that TransformerLens does not support
        config={**SQUARE, "qk_layernorm": True},
        heads="self_attn.dense",
        neurons="mlp.fc2",
        final_norm="model.final_layernorm",
        offered=NONE,
        optional=NO_MID,
    ),
    "phi3": Family(config={"head_dim": None, **SQUARE}),
    "qwen2": Family(config=SQUARE),
    "qwen2/window": Family(config={**SQUARE, **WINDOWS, "use_sliding_window": True}),
    "qwen2_moe": experts(config={**EXPERTS, **SQUARE, "shared_expert_intermediate_size": 24}),
    "qwen3": Family(),
    "qwen3_5_moe_text": experts(config={**DELTA, **EXPERTS, "shared_expert_intermediate_size": 8}),
    "qwen3_5_text": Family(config=DELTA),
    "qwen3_moe": experts(config=EXPERTS),
    "qwen3_next": experts(config={**DELTA, **EXPERTS, "shared_expert_intermediate_size": 8}),
    "recurrent_gemma": stream_only(
        "model.layers",
        "model.final_norm",
        config={"block_types": ["recurrent", "attention", "recurrent"], "head_dim": None}
        | {"attention_window_size": 8, "logits_soft_cap": 3.0, "lru_width": 24},
        soft_cap=3.0,
    ),
    "rwkv": stream_only(
        "rwkv.blocks",
        "rwkv.ln_out",
        config={"context_length": 64, "attention_hidden_size": 24},
        head="head",
        optional=frozenset({MID}),
        mid="ln2",
    ),
    "rwkv/rescaled": refused(  # halves its stream after every second layer
        config={"context_length": 64, "attention_hidden_size": 24, "rescale_every": 2}
    ),
    "seed_oss": Family(config={"attention_bias": True, "attention_out_bias": True}),
    "smollm3": Family(config={"no_rope_layers": [1, 0, 1]}),
    "stablelm": Family(
        config={"head_dim": None, "partial_rotary_factor": 0.5, **SQUARE, "use_qkv_bias": True}
    ),
    "stablelm/parallel": parallel(
        config={"head_dim": None, "partial_rotary_factor": 0.5, "use_parallel_residual": True}
        | {**SQUARE, "qk_layernorm": True},
    ),
    "starcoder2": Family(config=SQUARE, neurons="mlp.c_proj"),
    "vaultgemma": Family(
        config={**WINDOWS, "query_pre_attn_scalar": 10, "final_logit_softcapping": 3.0}
        | {"attn_logit_softcapping": 2.0},
        mid="pre_feedforward_layernorm",
        soft_cap=3.0,
    ),
    "xglm": fairseq(
        "model.layer_norm",
        config={"d_model": 24, "num_layers": 3, "ffn_dim": 40, "attention_heads": 4},
    ),
    "youtu": Family(config=LATENT),
    "zamba2": stream_only(
        "model.layers",
        "model.final_layernorm",
        config={"layers_block_type": ["mamba", "hybrid", "mamba"], "n_mamba_heads": 4}
        | {"mamba_d_state": 8, "chunk_size": 8, "adapter_rank": 4},
    ),
}

FAMILIES |= {
    "gemma3": with_eyes(FAMILIES["gemma3_text"]),
    "gemma4": with_eyes(FAMILIES["gemma4_text"]),
    "llama4": with_eyes(
        FAMILIES["llama4_text"], "language_model.model", head="language_model.lm_head"
    ),
    "qwen3_5": with_eyes(FAMILIES["qwen3_5_text"]),
    "qwen3_5_moe": with_eyes(FAMILIES["qwen3_5_moe_text"]),
}

NOT_BUILT = {
    "bert": "is bidirectional unless configured otherwise",
    "gemma3n": "needs timm for its vision part; its stream is four parallel streams",
    "gemma4_unified": "also reads images and sound; its language model is that of gemma4",
}
STAYING = ("layer_scalar", "e_score_correction_bias", "expert_bias")  # buffers that are weights


def build(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model in which no norm, bias or scale has its neutral value.

    changes  to the family's configuration
    """
    model_type = name.split("/")[0]
    settings = {**GENERIC, **FAMILIES[name].config, **changes}
    config = CONFIG_MAPPING[model_type](**{k: v for k, v in settings.items() if v is not None})
    torch.manual_seed(seed)
    model = FAMILIES[name].auto_class.from_config(config, dtype=torch.float32)
    buffers = [pair for pair in model.named_buffers() if pair[0].endswith(STAYING)]
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _, weight in [*model.named_parameters(), *buffers]:
            std = 0.15 if weight.ndim > 1 else 0.2
            weight.add_(std * torch.randn(weight.shape, generator=generator))
    return model.eval()


class Plain:
    """A model run by `transformers`, with its activations at the hook points of one layer."""

    def __init__(self, name: str, folder: Path) -> None:
        self.family = FAMILIES[name]
        loaded = self.family.auto_class.from_pretrained(folder, dtype=torch.float32)
        self.model = loaded.eval()
        self.model.requires_grad_(False)
        self.layers = self.model.get_submodule(self.family.layers)

    def part(self, path: str) -> nn.Module:
        module: nn.Module = self.layers[LAYER].get_submodule(path)
        return module

    def capture(self, tokens: Tensor) -> dict[str, Tensor]:
        """Activations [n_rows, seq_len, width] by hook point, and "logits"."""
        family, found, handles = self.family, {}, []

        def keep(name: str, given: Any) -> None:
            value = given[0] if isinstance(given, (tuple, list)) else given
            found[name] = value.detach().clone().reshape(*tokens.shape, -1)

        def keep_input(name: str, module: nn.Module) -> None:
            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                keep(name, args if args else next(iter(kwargs.values())))

            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

        def keep_output(name: str, module: nn.Module) -> None:
            handles.append(module.register_forward_hook(lambda _, args, out: keep(name, out)))

        layer = self.layers[LAYER]
        keep_input(PRE, layer)
        keep_output(POST, layer)
        inputs = {HEADS: family.heads, NEURONS: family.neurons}
        inputs |= {} if family.is_parallel else {MID: family.mid}
        for name, path in inputs.items():
            if path:
                keep_input(name, self.part(path))
        for name, path in {ATTN_OUT: family.attn_out, MLP_OUT: family.mlp_out}.items():
            if path:
                keep_output(name, self.part(path))
        found["logits"] = self.model(tokens, use_cache=False).logits.detach()
        for handle in handles:
            handle.remove()
        for name, times in {ATTN_OUT: family.attn_times, MLP_OUT: family.mlp_times}.items():
            if name in found:
                found[name] *= times
        if MID in found and MLP_OUT not in found:
            found[MLP_OUT] = found[POST] - found[MID]
        return found

    def logits_with(self, tokens: Tensor, point: str, activations: Tensor) -> Tensor:
        """The logits when the activations at a hook point are replaced by others [n_rows, seq_len, width]."""
        family, layer = self.family, self.layers[LAYER]
        if point == MID:  # the output of attention leads the stream there
            found = self.capture(tokens)
            activations = activations - found[MID] + found[ATTN_OUT]
        inputs = {PRE: layer}
        inputs |= {HEADS: self.part(family.heads)} if family.heads else {}
        inputs |= {NEURONS: self.part(family.neurons)} if family.neurons else {}
        times = {ATTN_OUT: family.attn_times, MID: family.attn_times, MLP_OUT: family.mlp_times}
        activations = activations / times.get(point, 1.0)

        def in_place_of(found: Any) -> Any:
            parts = found if isinstance(found, (tuple, list)) else (found,)
            new = (activations.clone().reshape(parts[0].shape), *parts[1:])
            return new if isinstance(found, (tuple, list)) else new[0]

        def give(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return in_place_of(args), kwargs
            name = next(iter(kwargs))
            return args, {**kwargs, name: in_place_of(kwargs[name])}

        if point in inputs:
            handle = inputs[point].register_forward_pre_hook(give, with_kwargs=True)
        else:
            outputs = {POST: "", ATTN_OUT: family.attn_out, MID: family.attn_out}
            module = self.part(outputs.get(point, family.mlp_out))
            handle = module.register_forward_hook(lambda _, args, out: in_place_of(out))
        logits: Tensor = self.model(tokens, use_cache=False).logits.detach()
        handle.remove()
        return logits

    def logits_again(self, tokens: Tensor) -> Tensor:
        """The model's logits, computed from the last layer's output and the parts that logit effects are made from."""
        streams: list[Tensor] = []
        handle = self.layers[-1].register_forward_hook(
            lambda _, args, out: streams.append(out[0] if isinstance(out, (tuple, list)) else out)
        )
        self.model(tokens, use_cache=False)
        handle.remove()
        family = self.family
        normal = self.model.get_submodule(family.final_norm)(streams[-1])
        logits = self.model.get_submodule(family.head)(normal) * family.times
        cap = family.soft_cap
        return cap * torch.tanh(logits / cap) if cap else logits

    def logit_effects(self, point: str, rows: Tensor) -> Tensor:
        """Logit effects [n, d_vocab] of rows [n, width] at a hook point, without the division of any norm."""
        family = self.family
        if point == HEADS:
            rows = self._written(family.heads, family.attn_norm, rows) * family.attn_times
        if point == NEURONS:
            rows = self._written(family.neurons, family.mlp_norm, rows)
            rows = rows * family.mlp_times * family.neurons_times
        if family.scalar:
            for layer in self.layers[LAYER + 1 if point == POST else LAYER :]:
                rows = rows * getattr(layer, family.scalar)
        rows = gained(self.model.get_submodule(family.final_norm), rows)
        effects = linear(self.model.get_submodule(family.head), rows) * family.times
        return effects if family.soft_cap else effects - effects.mean(1, keepdim=True)

    def _written(self, projection: str, norm: str, rows: Tensor) -> Tensor:
        """Rows after a projection of the layer, and after the norm that follows it, if there is one."""
        rows = linear(self.part(projection), rows)
        return gained(self.part(norm), rows) if norm else rows


def linear(module: nn.Module, rows: Tensor) -> Tensor:
    """The product of rows with a linear layer's weight, without its bias."""
    product: Tensor = module(rows) - module(torch.zeros_like(rows))
    return product


def gained(norm: nn.Module, rows: Tensor) -> Tensor:
    """Rows after a norm's gain and centring, without its division; probe rows show the gain."""
    probe = torch.ones(rows.shape[1])
    probe[::2] = -1
    large = 1e4 * probe  # so large that the epsilon does not matter
    gain: Tensor = probe * (norm(large[None])[0] - norm(-large[None])[0]) / 2
    is_centring = bool((norm(large[None] + 1e4) - norm(large[None])).abs().max() < 1e-3)
    return gain * (rows - rows.mean(1, keepdim=True) if is_centring else rows)


def opened(folder: Path, tokenizer: Any) -> dict[str, HookedModel | str]:
    """The model as this package reads it at each hook point of the layer, or the message that refuses it.

    It is loaded once for all of them.
    """
    made: dict[str, HookedModel | str] = {}
    try:
        booted = boot_model(str(folder), tokenizer, CPU)
    except SourceError as error:
        return dict.fromkeys(POINTS, str(error))
    for point in POINTS:
        try:
            made[point] = hook_model(booted, f"blocks.{LAYER}.{point}")
        except SourceError as error:
            made[point] = str(error)
    return made


def effects(model: HookedModel, rows: Tensor) -> Tensor:
    """Logit effects [n, d_vocab] of decoder rows as this package computes them."""
    return (rows if model.W_out is None else rows @ model.W_out) @ model.W_U
