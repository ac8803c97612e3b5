"""Write the folders beside this file with the original libraries, and the results of their code on some activations.

Run once from the repository's root, in an environment of its own, whenever a library's layout changes:

    pip install sae-lens==6.54.12 dictionary-learning==0.1.0 && python -m tests.autoencoders.write
"""

from __future__ import annotations

import json

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

from tests.autoencoders.common import (
    D_IN,
    D_SAE,
    FOLDER,
    K,
    make_input,
    randomise,
    save_expected,
)

HOOK_POINT = "blocks.1.hook_resid_pre"


def main() -> None:
    """Write one folder for each layout and architecture."""
    x = make_input()
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
        randomise(sae.state_dict())
        sae.save_model(folder)
        with torch.no_grad():
            activations = sae.encode(x)
            save_expected(folder, x, activations, sae.decode(activations))
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
        randomise(autoencoder.state_dict())
        torch.save(autoencoder.state_dict(), folder / "ae.pt")
        trainer = {"dict_class": type(autoencoder).__name__, "activation_dim": D_IN}
        settings = {"trainer": {**trainer, "dict_size": D_SAE, "layer": 1}, "buffer": {}}
        (folder / "config.json").write_text(json.dumps(settings, indent=4))
        with torch.no_grad():
            activations = autoencoder.encode(x)
            save_expected(folder, x, activations, autoencoder.decode(activations))


if __name__ == "__main__":
    main()
