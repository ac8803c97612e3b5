"""Write miniatures of repositories of the Hub which SAELens reads, and the results of its loaders and classes.

Every folder in `published/` has the files of one autoencoder under the names that they have in the repository, beside
`expected.safetensors` and `about.json`. Run from the repository's root, in the environment that `write.py` describes:

    python -m tests.autoencoders.write_published
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders
from sae_lens.loading.pretrained_saes_directory import (
    PretrainedSAELookup,
    get_pretrained_saes_directory,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.autoencoders.common import (
    D_IN,
    D_OUT,
    D_SAE,
    PUBLISHED,
    About,
    K,
    make_input,
    random_weights,
    save_about,
    save_expected,
    write_json,
)

# Tensors in the order of the files; d_in and d_sae are those of SAELens
PLAIN = {
    "W_enc": (D_IN, D_SAE),
    "W_dec": (D_SAE, D_IN),
    "b_enc": (D_SAE,),
    "b_dec": (D_IN,),
}
THRESHOLD = {"threshold": (D_SAE,)}
N_HEADS = 4


@dataclass(frozen=True)
class Repository:
    """A miniature of a repository with one autoencoder.

    identifier   the repository's id on the Hub
    source       the autoencoder's path, as in SAELens' registry
    files        content by name in the repository: tensors or settings
    loader       name of SAELens' function for the layout
    settings     what replaces the widths that SAELens expects, which are not in the files
    input_scale  `norm_scaling_factor` in SAELens' registry, which for SAELens' own layout nothing else tells
    """

    identifier: str
    source: str
    files: Mapping[str, Mapping[str, Any]]
    loader: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    input_scale: float | None = None


def main() -> None:
    """Write a folder for each repository."""
    for name, repository in {
        **gemma_scope(),
        **gemma_scope_2(),
        **llama_scope(),
        **saelens_before_6(),
        **transcoders(),
        **single_files(),
    }.items():
        write_repository(PUBLISHED / name, repository)


def gemma_scope() -> dict[str, Repository]:
    """JumpReLU of Gemma 2; those of the attention read all heads at once."""
    settings = {"d_in": D_IN, "d_sae": D_SAE}
    # SAELens knows archives with `w_enc`, too
    lower = {"w_enc": PLAIN["W_enc"], "w_dec": PLAIN["W_dec"], "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    return {
        f"gemma-scope-{name}": Repository(
            identifier=f"google/gemma-scope-2b-pt-{kind}",
            source=source,
            files={f"{source}/params.npz": random_weights(shapes | THRESHOLD)},
            loader="gemma_2",
            settings=settings,
        )
        for name, kind, source, shapes in (
            ("res", "res", "layer_1/width_16k/average_l0_102", PLAIN),
            ("mlp", "mlp", "layer_1/width_16k/average_l0_105", PLAIN),
            ("att", "att", "layer_1/width_16k/average_l0_79", PLAIN),
            ("embedding", "res", "embedding/width_4k/average_l0_6", PLAIN),
            ("lower-case", "res", "layer_1/width_16k/average_l0_40", lower),
        )
    }


def gemma_scope_2() -> dict[str, Repository]:
    """JumpReLU of Gemma 3, all with the same settings; some repositories have folders without them."""
    layer = "model.layers.1"
    residual, heads = f"{layer}.output", f"{layer}.self_attn.o_proj.input"
    mlp_in = f"{layer}.pre_feedforward_layernorm.output"
    mlp_out = f"{layer}.post_feedforward_layernorm.output"
    affine = "transcoder_all/layer_1_width_16k_l0_big_affine"
    repositories = {}
    for name, model, source, point_in, point_out, has_settings in (
        ("res", "4b-pt", "resid_post_all/layer_1_width_16k_l0_small", residual, residual, True),
        ("att", "4b-pt", "attn_out_all/layer_1_width_16k_l0_small", heads, heads, True),
        ("mlp", "4b-it", "mlp_out_all/layer_1_width_16k_l0_big", mlp_out, mlp_out, True),
        ("270m", "270m-pt", "resid_post_all/layer_1_width_262k_l0_big", residual, residual, True),
        ("transcoder", "4b-pt", "transcoder_all/layer_1_width_16k_l0_big", mlp_in, mlp_out, True),
        ("affine-transcoder", "4b-pt", affine, mlp_in, mlp_out, True),
        (
            "res-without-settings",
            "12b-it",
            "resid_post_all/layer_1_width_16k_l0_big",
            "",
            "",
            False,
        ),
        ("affine-transcoder-without-settings", "1b-it", affine, mlp_in, mlp_out, False),
    ):
        is_transcoder, is_affine = "transcoder" in source, "affine" in source
        d_out = D_OUT if is_transcoder else D_IN
        shapes = {
            "b_dec": (d_out,),
            "b_enc": (D_SAE,),
            **THRESHOLD,
            "w_dec": (D_SAE, d_out),
            "w_enc": (D_IN, D_SAE),
            # Unlike SAELens' own W_skip it is [d_in, d_out]
            **({"affine_skip_connection": (D_IN, d_out)} if is_affine else {}),
        }
        settings = {
            "hf_hook_point_in": point_in,
            "hf_hook_point_out": point_out,
            "width": D_SAE,
            "model_name": f"google/gemma-3-{model}",
            "architecture": "jump_relu",
            "l0": 20,
            "affine_connection": is_affine,
            "type": "transcoder" if is_transcoder else "sae",
        }
        repositories[f"gemma-scope-2-{name}"] = Repository(
            identifier=f"google/gemma-scope-2-{model}",
            source=source,
            files={f"{source}/params.safetensors": random_weights(shapes)}
            | ({f"{source}/config.json": settings} if has_settings else {}),
            loader="gemma_3",
        )
    return repositories


def llama_scope() -> dict[str, Repository]:
    """JumpReLU of OpenMOSS, trained on activations that were scaled to an average length of sqrt(d_in)."""
    norm, point, source = 2.75, "blocks.1.hook_resid_post", "Llama3_1-8B-Base-L1R-8x"
    hyperparameters = {
        "device": "cuda:0",
        "seed": 42,
        "dtype": "torch.bfloat16",
        "hook_point_in": point,
        "hook_point_out": point,
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "expansion_factor": 8,
        "d_model": D_IN,
        "d_sae": D_SAE,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.2021484375,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": norm, "out": norm},
        "init_encoder_with_decoder_transpose": True,
        "decoder_exactly_fixed_norm": False,
        "init_decoder_norm": 0.5,
        "top_k": 50,
    }
    factor, distill = 2, "400M-Slimpajama-400M-OpenR1-Math-220k/L1R"
    distill_settings = {
        "sae_type": "sae",
        "hook_point_in": point,
        "hook_point_out": point,
        "d_model": D_IN,
        "expansion_factor": factor,
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
        "top_k": 50,
    }
    distilled = random_weights(_linear(factor * D_IN))
    thresholds = random_weights({"threshold": (factor * D_IN,)})["threshold"]
    distilled["log_jumprelu_threshold"] = thresholds.log()
    distilled[f"dataset_average_activation_norm.{point}"] = torch.tensor(norm)
    return {
        "llama-scope": Repository(
            identifier="fnlp/Llama3_1-8B-Base-LXR-8x",
            source=source,
            files={
                f"{source}/hyperparams.json": hyperparameters,
                f"{source}/checkpoints/final.safetensors": _with_unit_decoder(
                    random_weights(_linear(D_SAE), torch.bfloat16)
                ),
            },
            loader="llama_scope",
            input_scale=D_IN**0.5 / norm,
        ),
        "llama-scope-r1-distill": Repository(
            identifier="fnlp/Llama-Scope-R1-Distill",
            source=distill,
            files={
                f"{distill}/config.json": distill_settings,
                f"{distill}/sae_weights.safetensors": _with_unit_decoder(distilled),
            },
            loader="llama_scope_r1_distill",
            input_scale=D_IN**0.5 / norm,
        ),
    }


def saelens_before_6() -> dict[str, Repository]:
    """SAELens' own layouts of versions 5 and 2, whose settings are not nested."""
    top_k = {
        "architecture": "standard",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "context_size": 64,
        "model_name": "gpt2-small",
        "hook_name": "blocks.1.hook_resid_mid",
        "hook_layer": 1,
        "hook_head_index": None,
        "prepend_bos": False,
        "dataset_path": "Skylion007/openwebtext",
        "dataset_trust_remote_code": True,
        "normalize_activations": "layer_norm",
        "dtype": "torch.float32",
        "device": "cpu",
        "sae_lens_training_version": None,
    }
    old = {
        "model_name": "gpt2-small",
        "hook_point": "blocks.1.hook_resid_pre",
        "hook_point_layer": 1,
        "hook_point_head_index": None,
        "dataset_path": "Skylion007/openwebtext",
        "is_dataset_tokenized": False,
        "context_size": 128,
        "use_cached_activations": False,
        "d_in": D_IN,
        "d_sae": D_SAE,
        "expansion_factor": 32,
        "prepend_bos": True,
        "dtype": "torch.float32",
        "device": "cpu",
    }
    scaled = {
        "architecture": "standard",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "activation_fn_str": "relu",
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "context_size": 1024,
        "model_name": "gemma-2b",
        "hook_name": "blocks.1.hook_resid_post",
        "hook_layer": 1,
        "hook_head_index": None,
        "prepend_bos": True,
        "dataset_path": "HuggingFaceFW/fineweb",
        "normalize_activations": "expected_average_only_in",
        "dtype": "torch.float32",
        "device": "cpu",
        "sae_lens_training_version": "2.1.3",
    }
    ones = {"scaling_factor": torch.ones(D_SAE)}
    gemma = "jbloom/Gemma-2b-Residual-Stream-SAEs"
    return {
        f"saelens-{name}": Repository(
            identifier=identifier,
            source=source,
            files={
                f"{source}/cfg.json": settings,
                f"{source}/sae_weights.safetensors": random_weights(PLAIN) | more,
            },
            loader="sae_lens",
            input_scale=scale,
        )
        for name, identifier, source, settings, more, scale in (
            (
                "5-topk",
                "jbloom/GPT2-Small-OAI-v5-32k-resid-mid-SAEs",
                "v5_32k_layer_1",
                top_k,
                {},
                None,
            ),
            (
                "2-standard",
                "jbloom/GPT2-Small-SAEs-Reformatted",
                "blocks.1.hook_resid_pre",
                old,
                ones,
                None,
            ),
            ("2-scaled", gemma, "gemma_2b_blocks.1.hook_resid_post_16384", scaled, ones, 0.6),
            # SAELens knows no scale for most of them and then applies none, which it warns of
            (
                "2-without-scale",
                gemma,
                "gemma_2b_blocks.1.hook_resid_post_16384_anthropic",
                scaled,
                {},
                None,
            ),
        )
    }


def transcoders() -> dict[str, Repository]:
    """Transcoders that are stored otherwise than as SAELens' own."""
    source = "layer_1/width_16k/average_l0_65"
    hanna = random_weights(PLAIN | {"W_enc": (D_SAE, D_IN)}, torch.bfloat16)
    settings = {
        "model_name": "Qwen/Qwen3-4B",
        "model_kind": "transcoder_set",
        "feature_input_hook": "mlp.hook_in",
        "feature_output_hook": "mlp.hook_out",
    }
    training = {
        name: {"value": value}
        for name, value in (
            ("act_fn", "relu"),
            ("batch_size", 4096),
            ("d_feature", D_SAE),
            ("d_model", D_IN),
        )
    }
    return {
        "gemma-scope-transcoder": Repository(
            identifier="google/gemma-scope-2b-pt-transcoders",
            source=source,
            files={f"{source}/params.npz": random_weights(PLAIN | THRESHOLD)},
            loader="gemma_2_transcoder",
            settings={"d_in": D_IN, "d_out": D_IN, "d_sae": D_SAE},
        ),
        "mwhanna": Repository(
            identifier="mwhanna/qwen3-4b-transcoders",
            source="layer_1.safetensors",
            files={
                "config.yaml": settings,
                "wandb-config.yaml": training,
                "layer_1.safetensors": hanna,
            },
            loader="mwhanna_transcoder",
        ),
        # The repositories of the 14B model have no config.yaml; SAELens knows a misspelt name, too
        "mwhanna-without-settings": Repository(
            identifier="mwhanna/qwen3-14b-transcoders",
            source="layer_1.safetensors",
            files={"wanb-config.yaml": training, "layer_1.safetensors": hanna},
            loader="mwhanna_transcoder",
        ),
    }


def single_files() -> dict[str, Repository]:
    """Autoencoders in a file of their own, whose layer only the file's name tells."""
    settings = {"d_in": D_IN, "d_sae": D_SAE}
    goodfire_shapes = {
        name.replace(".", "_linear."): shape for name, shape in _linear(D_SAE).items()
    }
    deepseek = "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt"
    # The k of 50 is in the repository's name, so there are more features for it to select from
    n_features, k = 150, 50
    qwen_shapes = {
        "W_enc": (n_features, D_IN),
        "W_dec": (D_IN, n_features),
        "b_enc": (n_features,),
        "b_dec": (D_IN,),
    }
    qwen_settings = {
        "model_type": "topk_sae",
        "base_model": "Qwen/Qwen3-1.7B-Base",
        "d_model": D_IN,
        "d_sae": n_features,
        "k": k,
        "num_layers": 28,
        "hook_point": "resid_post",
        "dtype": "float32",
    }
    kissane = (
        "gpt2-small_L1_Hcat_z_lr1.20e-03_l18.00e-01_ds24576_bs4096_dc1.00e-06_rsanthropic_rie25000"
        "_nr4_v5"
    )
    kissane_settings = {
        "seed": 49,
        "batch_size": 4096,
        "seq_len": 128,
        "model_name": "gpt2-small",
        "layer": 1,
        "act_name": "blocks.1.attn.hook_z",
        "act_size": D_IN,
        "dict_size": D_SAE,
    }
    repositories = {
        "qwen-scope": Repository(
            identifier=f"Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_{k}",
            source="layer1.sae.pt",
            files={"config.json": qwen_settings, "layer1.sae.pt": random_weights(qwen_shapes)},
            loader="qwen_scope",
            settings={"d_in": D_IN, "d_sae": n_features},
        ),
        "deepseek-r1": Repository(
            identifier="qresearch/DeepSeek-R1-Distill-Llama-8B-SAE-l19",
            source=deepseek,
            files={deepseek: random_weights(_linear(D_SAE), torch.bfloat16)},
            loader="deepseek_r1",
            settings=settings,
        ),
        "kissane-hook-z": Repository(
            identifier="ckkissane/attn-saes-gpt2-small-all-layers",
            source=f"{kissane}.pt",
            files={f"{kissane}.pt": random_weights(PLAIN), f"{kissane}_cfg.json": kissane_settings},
            loader="connor_rob_hook_z",
        ),
    }
    for name, model, suffix in (
        ("goodfire-70b", "Llama-3.3-70B-Instruct-SAE-l50", "pt"),
        ("goodfire-8b", "Llama-3.1-8B-Instruct-SAE-l19", "pth"),
    ):
        repositories[name] = Repository(
            identifier=f"Goodfire/{model}",
            source=f"{model}.{suffix}",
            files={f"{model}.{suffix}": random_weights(goodfire_shapes)},
            loader="goodfire",
            settings=settings,
        )
    return repositories


def write_repository(folder: Path, repository: Repository) -> None:
    """Write a repository's files, and what SAELens computes with them and says about them."""
    for name, content in repository.files.items():
        write_file(folder / name, content)
    scale = repository.input_scale if repository.loader == "sae_lens" else None
    sae = load_sae(folder, repository)
    save_results(folder, repository.identifier, repository.source, sae, scale or 1.0)


def write_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write settings or tensors in the format that the file's name ends with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        write_json(path, content)
    elif path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(dict(content)))
    elif path.suffix == ".npz":
        np.savez(path, **{name: weight.numpy() for name, weight in content.items()})
    elif path.suffix == ".safetensors":
        save_file({name: weight.contiguous() for name, weight in content.items()}, path)
    else:
        torch.save(dict(content), path)


def load_sae(folder: Path, repository: Repository) -> SAE[Any]:
    """Load it with `SAE.from_pretrained`; the folder is the Hub, and the repository all that the registry lists."""

    def find(repo_id: str, filename: str, subfolder: str = "", **_: object) -> str:
        path = folder / subfolder / filename
        if not path.is_file():
            raise LocalEntryNotFoundError(filename)
        return str(path)

    def find_shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        return {name: list(tensor.shape) for name, tensor in load_file(folder / filename).items()}

    scale = repository.input_scale
    registry = get_pretrained_saes_directory()
    registry.clear()
    registry["release"] = PretrainedSAELookup(
        release="release",
        repo_id=repository.identifier,
        model="",
        conversion_func=repository.loader,
        saes_map={"sae": repository.source},
        expected_var_explained={},
        expected_l0={},
        neuronpedia_id={},
        norm_scaling_factor={} if scale is None else {"sae": scale},
        config_overrides=dict(repository.settings),
    )
    with (
        patch.object(pretrained_sae_loaders, "hf_hub_download", find),
        patch.object(pretrained_sae_loaders, "get_safetensors_tensor_shapes", find_shapes),
    ):
        return SAE.from_pretrained("release", "sae")


def save_results(
    folder: Path, identifier: str, source: str, sae: SAE[Any], input_scale: float = 1.0
) -> None:
    """Save what an autoencoder of SAELens computes, and what it says about itself."""
    x = make_input()
    # SAELens takes the heads apart, which other readers do not
    has_heads = sae.cfg.reshape_activations == "hook_z"
    x_in = x.reshape(len(x), N_HEADS, -1) if has_heads else x
    with torch.no_grad():
        activations, output = sae.encode(x_in), sae(x_in)
    save_expected(folder, x, activations, output.flatten(1))
    metadata = sae.cfg.metadata
    save_about(
        folder,
        About(
            repository=identifier,
            source=source,
            model=metadata.model_name or "",
            hook_point=metadata.hook_name or "",
            hook_point_out=metadata.hook_name_out or "",
            architecture=sae.cfg.architecture(),
            input_scale=input_scale,
        ),
    )


def _linear(d_sae: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the two linear layers, whose matrices are [out, in]."""
    return {
        "encoder.weight": (d_sae, D_IN),
        "encoder.bias": (d_sae,),
        "decoder.weight": (D_IN, d_sae),
        "decoder.bias": (D_IN,),
    }


def _with_unit_decoder(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with decoder columns of length 1, for which OpenMOSS's code and SAELens' apply the same thresholds."""
    decoder = weights["decoder.weight"].float()
    return weights | {
        "decoder.weight": (decoder / decoder.norm(dim=0)).to(weights["decoder.weight"])
    }


if __name__ == "__main__":
    main()
