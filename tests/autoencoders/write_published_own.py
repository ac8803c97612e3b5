"""Write miniatures of repositories with the libraries that own their layouts, and the results of these libraries.

See `write_published.py`; run from the repository's root, in the same environment:

    python -m tests.autoencoders.write_published_own
"""

from __future__ import annotations

import json
from typing import Any

import torch
from dictionary_learning.dictionary import AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from sae_lens import (
    SAE,
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSkipTranscoder,
    JumpReLUSkipTranscoderConfig,
    JumpReLUTranscoder,
    JumpReLUTranscoderConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    SkipTranscoder,
    SkipTranscoderConfig,
    StandardSAE,
    StandardSAEConfig,
    Transcoder,
    TranscoderConfig,
)
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor, nn

from tests.autoencoders.common import (
    D_IN,
    D_OUT,
    D_SAE,
    PUBLISHED,
    About,
    K,
    make_input,
    random_weights,
    randomise,
    save_about,
    save_expected,
    write_json,
)
from tests.autoencoders.write_published import save_results, write_file

BATCH_TOP_K_THRESHOLD = 0.7


def main() -> None:
    """Write a folder for each architecture of the three libraries."""
    write_saelens()
    write_dictionary_learning()
    write_openai()


def write_saelens() -> None:
    """SAELens 6; it saves BatchTopK and Matryoshka as JumpReLU."""
    residual = _metadata("blocks.1.hook_resid_post")
    mlp = _metadata("blocks.1.ln2.hook_normalized", hook_name_out="blocks.1.hook_mlp_out")
    common: dict[str, Any] = {"d_in": D_IN, "d_sae": D_SAE, "metadata": residual}
    heads = common | {
        "metadata": _metadata("blocks.1.attn.hook_z"),
        "reshape_activations": "hook_z",
    }
    transcoder = common | {"metadata": mlp, "d_out": D_OUT, "apply_b_dec_to_input": False}
    widths = [11, 30, D_SAE]
    for name, sae in {
        "gated": GatedSAE(GatedSAEConfig(**common)),
        "hook-z": StandardSAE(StandardSAEConfig(**heads)),
        "batchtopk": BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**common, k=K)),
        "matryoshka": MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(**common, k=K, matryoshka_widths=widths)
        ),
        "transcoder": Transcoder(TranscoderConfig(**transcoder)),
        "skip-transcoder": SkipTranscoder(SkipTranscoderConfig(**transcoder)),
        "jumprelu-transcoder": JumpReLUTranscoder(JumpReLUTranscoderConfig(**transcoder)),
        "jumprelu-skip-transcoder": JumpReLUSkipTranscoder(
            JumpReLUSkipTranscoderConfig(**transcoder)
        ),
    }.items():
        source = f"standard/{sae.cfg.metadata.hook_name}"
        folder = PUBLISHED / f"saelens-6-{name}"
        randomise(sae.state_dict())
        if isinstance(sae, BatchTopKTrainingSAE):
            sae.topk_threshold.fill_(BATCH_TOP_K_THRESHOLD)
            _, settings = sae.save_inference_model(folder / source)
            # SAELens writes them in an order that changes from run to run
            write_json(settings, dict(sorted(json.loads(settings.read_text()).items())))
        else:
            sae.save_model(folder / source)
        loaded = SAE.load_from_disk(folder / source)
        save_results(folder, f"someone/gpt2-small-{name}-saes", source, loaded)


def _metadata(hook_name: str, **more: str) -> SAEMetadata:
    return SAEMetadata(hook_name=hook_name, model_name="gpt2", prepend_bos=True, **more)


def write_dictionary_learning() -> None:
    """dictionary_learning: every class, and a TopK of before December 2024, whose k is in the settings alone."""
    pythia, gemma = "EleutherAI/pythia-70m-deduped", "google/gemma-2-2b"
    lm_sae, layer, step = "canrager/lm_sae", "resid_post_layer_1", "trainer_0_step_3088"
    saebench = "canrager/saebench_gemma-2-2b_width-2pow12_date-1109"
    matryoshka = "adamkarvonen/saebench_gemma-2-2b_width-2pow12_date-0108"
    llama = "meta-llama/Llama-3.1-8B-Instruct"
    k = {"k": K}
    for name, autoencoder, trainer, more, model, repository, source in (
        (
            "standard",
            AutoEncoder(D_IN, D_SAE),
            "StandardTrainer",
            {},
            pythia,
            lm_sae,
            f"pythia70m_sweep_standard_ctx128_0712/{layer}/trainer_0",
        ),
        (
            "gated",
            GatedAutoEncoder(D_IN, D_SAE),
            "GatedSAETrainer",
            {},
            pythia,
            lm_sae,
            f"pythia70m_sweep_gated_ctx128_0730/{layer}/trainer_0",
        ),
        (
            "topk-old",
            AutoEncoderTopK(D_IN, D_SAE, K),
            "TrainerTopK",
            k,
            pythia,
            lm_sae,
            f"pythia70m_sweep_topk_ctx128_0730/{layer}/trainer_0",
        ),
        (
            "topk-checkpoint",
            AutoEncoderTopK(D_IN, D_SAE, K),
            "TopKTrainer",
            k,
            gemma,
            saebench,
            f"gemma-2-2b_topk_width-2pow12_date-1109/{layer}_checkpoints/{step}",
        ),
        (
            "batch-topk",
            BatchTopKSAE(D_IN, D_SAE, K),
            "BatchTopKTrainer",
            k,
            llama,
            "andyrdt/saes-llama-3.1-8b-instruct",
            f"{layer}/trainer_1",
        ),
        (
            "matryoshka",
            MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [11, 30]),
            "MatryoshkaBatchTopKTrainer",
            {**k, "group_fractions": [11 / 41, 30 / 41], "group_sizes": [11, 30]},
            gemma,
            matryoshka,
            f"MatryoshkaBatchTopK_gemma-2-2b__0108/{layer}/trainer_0",
        ),
        (
            "jumprelu",
            JumpReluAutoEncoder(D_IN, D_SAE),
            "JumpReluTrainer",
            {"bandwidth": 0.001, "target_l0": 20},
            gemma,
            "adamkarvonen/saebench_gemma-2-2b_width-2pow12_date-0108",
            f"JumpRelu_gemma-2-2b__0108/{layer}/trainer_0",
        ),
    ):
        kind = type(autoencoder).__name__
        settings = {
            "trainer": {
                "trainer_class": trainer,
                "dict_class": kind,
                "activation_dim": D_IN,
                "dict_size": D_SAE,
                **more,
                "device": "cuda:0",
                "layer": 1,
                "lm_name": model,
                "wandb_name": f"{kind}-{model}",
                "submodule_name": layer,
            },
            "buffer": {
                "d_submodule": D_IN,
                "io": "out",
                "n_ctxs": 2048,
                "ctx_len": 128,
                "refresh_batch_size": 64,
                "out_batch_size": 2048,
                "device": "cuda:0",
            },
        }
        folder = PUBLISHED / f"dictionary-learning-{name}"
        randomise(autoencoder.state_dict())
        # Versions of July 2024 had no buffers in AutoEncoderTopK
        left_out = ("k", "threshold") if name == "topk-old" else ()
        weights = {
            key: weight for key, weight in autoencoder.state_dict().items() if key not in left_out
        }
        write_file(folder / source / "ae.pt", weights)
        write_file(folder / source / "config.json", settings)
        x = make_input()
        with torch.no_grad():
            activations = autoencoder.encode(x)
            save_expected(folder, x, activations, autoencoder.decode(activations))
        point = "blocks.1.hook_resid_post"
        save_about(folder, About(repository, source, model, point, "", kind))


def write_openai() -> None:
    """openai/sparse_autoencoder, which is on no package index: what follows is what its `model.py` computes.

    The files are on OpenAI's own server; versions 1 and 4 are ReLU, 5 is TopK, which alone normalises its input.
    """
    for name, location, point, k in (
        ("topk", "resid_post_mlp_v5_32k", "hook_resid_post", K),
        ("relu", "mlp_post_act", "mlp.hook_post", None),
    ):
        weights = random_weights(
            {
                "pre_bias": (D_IN,),
                "latent_bias": (D_SAE,),
                "latents_activation_frequency": (D_SAE,),
                "latents_mean_square": (D_SAE,),
                "encoder.weight": (D_SAE, D_IN),
                "decoder.weight": (D_IN, D_SAE),
            }
        ) | {"stats_last_nonzero": torch.arange(D_SAE)}
        content: dict[str, Any] = dict(weights)
        if k is not None:
            content["activation"] = "TopK"
            content["activation_state_dict"] = {"k": k, "postact_fn": "ReLU"}
        source = f"gpt2-small/{location}/autoencoders/1.pt"
        folder = PUBLISHED / f"openai-{name}"
        write_file(folder / source, content)
        x = make_input()
        save_expected(folder, x, *_compute_openai(x, weights, k))
        architecture = "ReLU" if k is None else "TopK"
        about = About("openaipublic", source, "gpt2-small", f"blocks.1.{point}", "", architecture)
        save_about(folder, about)


def _compute_openai(x: Tensor, weights: dict[str, Tensor], k: int | None) -> tuple[Tensor, Tensor]:
    """Activations and output; the standard deviation is the unbiased one, and 1e-5 is added to it."""
    mean, std = torch.zeros(()), torch.ones(())
    if k is not None:
        mean, std = x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True)
        x = (x - mean) / (std + 1e-5)
    encode, decode = weights["encoder.weight"], weights["decoder.weight"]
    before = nn.functional.linear(x - weights["pre_bias"], encode, weights["latent_bias"])
    if k is None:
        activations = before.relu()
    else:
        largest = before.topk(k, dim=-1)
        activations = torch.zeros_like(before).scatter(-1, largest.indices, largest.values.relu())
    output = nn.functional.linear(activations, decode) + weights["pre_bias"]
    return activations, output * std + mean


if __name__ == "__main__":
    main()
