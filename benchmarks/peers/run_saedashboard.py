"""Run SAEDashboard on the benchmark's inputs, in an environment ENV made by these commands.

python3 -m venv ENV; ENV/bin/pip install torch==2.13.0 sae-dashboard==0.8.0 'pyarrow<22'
ENV/bin/pip uninstall --yes torchvision torchaudio
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from comparison import HOOK_POINT, Task, compare
from sae_dashboard.data_writing_fns import save_feature_centric_vis
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import StandardSAE, StandardSAEConfig


def prepare(task: Task) -> Callable[[Path], None]:
    """The quick start of SAEDashboard's README, for features 0 to N - 1."""
    d_in, d_sae = task.autoencoder["W_enc"].shape
    autoencoder = StandardSAE(StandardSAEConfig(d_in, d_sae, apply_b_dec_to_input=True))
    autoencoder.load_state_dict(task.autoencoder)
    config = SaeVisConfig(
        hook_point=HOOK_POINT,
        features=list(range(task.n_features)),
        minibatch_size_features=256,
        minibatch_size_tokens=task.batch,
    )

    def write_page(page: Path) -> None:
        data = SaeVisRunner(config).run(encoder=autoencoder, model=task.model, tokens=task.rows)
        save_feature_centric_vis(sae_vis_data=data, filename=page)

    return write_page


if __name__ == "__main__":
    compare("sae-dashboard", prepare, {"features": 256, "rows": 1024, "batch": 256})
