"""Write miniatures of EleutherAI's repositories with sparsify, and the results of its code; see `write_published.py`.

Run from the repository's root, in an environment of its own:

    pip install eai-sparsify==1.3.3 && SPARSIFY_DISABLE_TRITON=1 python -m tests.autoencoders.write_published_sparsify
"""

from __future__ import annotations

from typing import Any

import torch
from sparsify import SparseCoder, SparseCoderConfig

from tests.autoencoders.common import (
    D_IN,
    PUBLISHED,
    About,
    K,
    dense,
    make_input,
    randomise,
    save_about,
    save_expected,
    write_json,
)

N_LATENTS = 40


def main() -> None:
    """Write a folder for each kind: the settings of `sae` and `skip-transcoder` are of earlier versions."""
    mlp = ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
    early = {"expansion_factor": 32, "normalize_decoder": True, "num_latents": N_LATENTS, "k": K}
    now = {"activation": "topk", **early, "multi_topk": False, "skip_connection": False}
    for name, repository, source, points, settings in (
        (
            "sae",
            "EleutherAI/sae-pythia-70m-32k",
            "layers.1",
            ("blocks.1.hook_resid_post", ""),
            {**early, "signed": False},
        ),
        (
            "mlp",
            "EleutherAI/sae-pythia-70m-32k",
            "layers.1.mlp",
            ("blocks.1.hook_mlp_out", ""),
            {**early, "signed": False},
        ),
        (
            "groupmax",
            "someone/sae-pythia-70m-groupmax",
            "layers.1",
            ("blocks.1.hook_resid_post", ""),
            {**now, "activation": "groupmax", "transcode": False},
        ),
        (
            "transcoder",
            "someone/transcoder-Llama-3.2-1B",
            "layers.1.mlp",
            mlp,
            {**now, "transcode": True},
        ),
        # Published without `transcode`, so that sparsify reads it as an autoencoder, which subtracts b_dec
        (
            "skip-transcoder",
            "EleutherAI/skip-transcoder-Llama-3.2-1B-131k",
            "layers.1.mlp",
            mlp,
            {**early, "multi_topk": False, "skip_connection": True},
        ),
    ):
        _write(f"sparsify-{name}", repository, source, points, settings)


def _write(
    name: str,
    repository: str,
    source: str,
    points: tuple[str, str],
    settings: dict[str, Any],
) -> None:
    """Save with the library, but with the published settings, and compute with what the library loads from these."""
    folder = PUBLISHED / name
    model = "EleutherAI/pythia-70m" if "pythia" in repository else "meta-llama/Llama-3.2-1B"
    training = {"sae": settings, "batch_size": 32, "hookpoints": [source], "layers": []}
    write_json(
        folder / "config.json",
        {
            **training,
            "model": model,
            "dataset": "EleutherAI/the_pile_deduplicated",
            "ctx_len": 2048,
        },
    )
    coder = SparseCoder(D_IN, SparseCoderConfig.from_dict(settings, drop_extra_fields=True))
    randomise(coder.state_dict())
    coder.save_to_disk(folder / source)
    write_json(folder / source / "cfg.json", {**settings, "d_in": D_IN})
    coder = SparseCoder.load_from_disk(folder / source)
    x = make_input()
    with torch.no_grad():
        values, indices, _ = coder.encode(x)
        save_expected(folder, x, dense(values, indices, N_LATENTS), coder(x).sae_out)
    save_about(
        folder, About(repository, source, model, *points, settings.get("activation", "topk"))
    )


if __name__ == "__main__":
    main()
