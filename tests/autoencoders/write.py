"""Write the folders beside this file with the original libraries, and the results of their code on some activations.

Run once, in an environment of its own, whenever a library's layout changes:

    pip install sae-lens==6.54.12 dictionary-learning==0.1.0 && python tests/autoencoders/write.py
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from sae_lens import (
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent
D_IN, D_SAE, N_TOKENS, K = 24, 41, 30, 4
HOOK_POINT = "blocks.1.hook_resid_pre"


def main() -> None:
    """Write one folder for each layout and architecture."""
    x = torch.randn(N_TOKENS, D_IN, generator=torch.Generator().manual_seed(0)) + 0.3
    metadata = SAEMetadata(hook_name=HOOK_POINT, model_name="gpt2", prepend_bos=True)
    common = {"d_in": D_IN, "d_sae": D_SAE, "metadata": metadata}
    for name, sae in {
        "standard": StandardSAE(StandardSAEConfig(**common)),
        "layer-norm": StandardSAE(
            StandardSAEConfig(
                **common, apply_b_dec_to_input=False, normalize_activations="layer_norm"
            )
        ),
        "constant-norm": StandardSAE(
            StandardSAEConfig(**common, normalize_activations="constant_norm_rescale")
        ),
        "jumprelu": JumpReLUSAE(JumpReLUSAEConfig(**common, apply_b_dec_to_input=False)),
        "topk": TopKSAE(TopKSAEConfig(**common, k=K)),
        "topk-rescaled": TopKSAE(TopKSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=True)),
    }.items():
        folder = FOLDER / f"saelens-{name}"
        _randomise(sae)
        sae.save_model(folder)
        with torch.no_grad():
            activations = sae.encode(x)
            _save(folder, x, activations, sae.decode(activations))
    for name, autoencoder in {
        "autoencoder": AutoEncoder(D_IN, D_SAE),
        "autoencoder-new": AutoEncoderNew(D_IN, D_SAE),
        "topk": AutoEncoderTopK(D_IN, D_SAE, K),
        "batch-topk": BatchTopKSAE(D_IN, D_SAE, K),
        "matryoshka": MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [11, 30]),
        "jumprelu": JumpReluAutoEncoder(D_IN, D_SAE),
    }.items():
        folder = FOLDER / f"dictionary-learning-{name}"
        folder.mkdir(exist_ok=True)
        _randomise(autoencoder)
        torch.save(autoencoder.state_dict(), folder / "ae.pt")
        trainer = {"dict_class": type(autoencoder).__name__, "activation_dim": D_IN}
        settings = {"trainer": {**trainer, "dict_size": D_SAE, "layer": 1}, "buffer": {}}
        (folder / "config.json").write_text(json.dumps(settings, indent=4))
        with torch.no_grad():
            activations = autoencoder.encode(x)
            _save(folder, x, activations, autoencoder.decode(activations))


def _randomise(module: nn.Module) -> None:
    """Set every weight to a random value that no initialisation would give it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in module.state_dict().items():
            if not weight.is_floating_point():
                continue
            if name == "threshold":
                weight.copy_(0.2 + torch.rand(weight.shape, generator=generator))
            else:
                weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))


def _save(folder: Path, x: torch.Tensor, activations: torch.Tensor, output: torch.Tensor) -> None:
    tensors = {"x": x, "activations": activations, "output": output}
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        folder / "expected.safetensors",
    )


if __name__ == "__main__":
    main()
