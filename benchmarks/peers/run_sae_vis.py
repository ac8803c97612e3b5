"""Run sae_vis on the benchmark's inputs, in an environment ENV made by these commands.

python3 -m venv ENV
ENV/bin/pip install torch==2.13.0 sae-vis==0.3.7 sae-lens==5.11.0 'pyarrow<20' frozendict tabulate
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from comparison import HOOK_POINT, Task, compare
from sae_lens import SAE, SAEConfig
from sae_vis.data_config_classes import SaeVisConfig
from sae_vis.data_storing_fns import SaeVisData


def prepare(task: Task) -> Callable[[Path], None]:
    """The first part of sae_vis' demo, for features 0 to N - 1 and without a second autoencoder."""
    autoencoder = SAE(_autoencoder_config(task))
    autoencoder.load_state_dict(task.autoencoder)
    config = SaeVisConfig(features=range(task.n_features), minibatch_size_tokens=task.batch)

    def write_page(page: Path) -> None:
        data = SaeVisData.create(sae=autoencoder, model=task.model, tokens=task.rows, cfg=config)
        data.save_feature_centric_vis(filename=str(page))

    return write_page


def _autoencoder_config(task: Task) -> SAEConfig:
    d_in, d_sae = task.autoencoder["W_enc"].shape
    return SAEConfig(
        architecture="standard",
        d_in=d_in,
        d_sae=d_sae,
        activation_fn_str="relu",
        apply_b_dec_to_input=True,
        finetuning_scaling_factor=False,
        context_size=task.rows.shape[1],
        model_name="gelu-1l",
        hook_name=HOOK_POINT,
        hook_layer=0,
        hook_head_index=None,
        prepend_bos=True,
        dataset_path="",
        dataset_trust_remote_code=False,
        normalize_activations="none",
        dtype="float32",
        device="cpu",
        sae_lens_training_version=None,
    )


if __name__ == "__main__":
    compare("sae-vis", prepare, {"features": 32, "rows": 128, "batch": 64})
