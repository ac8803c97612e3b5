"""A place in the plane for every feature, so that features of like decoder directions stand together."""

from __future__ import annotations

import numpy as np

from sitegen.progress import announce
from sitegen.records import FeatureMap

MIN_FEATURES = 32  # below which there is nothing to lay out
N_COMPONENTS = 50
PERPLEXITY = 30  # of fewer than thrice as many features a third
# Fewer than customary: after these a map of thousands hardly changes to the eye
EXAGGERATED_STEPS, STEPS = 50, 100
MIN_CELLS = (
    20  # a side, of the grid on which forces are interpolated; cells wider than 1 show as stripes
)


def feature_map(W_dec: np.ndarray, seed: int) -> FeatureMap | None:
    """The map of some features; None for too few, or too few directions.

    W_dec   [n_features, d_hook] float32 decoder rows
    source  definitions.md, "map"
    """
    announce("map")
    units = W_dec / np.maximum(np.linalg.norm(W_dec, axis=1, keepdims=True), 1e-12)
    if len(np.unique(units, axis=0)) < MIN_FEATURES:
        return None
    from openTSNE import TSNE
    from sklearn.decomposition import PCA

    n_components = min(N_COMPONENTS, *units.shape)
    reduced = PCA(n_components, svd_solver="randomized", random_state=seed).fit_transform(units)
    layout = TSNE(
        perplexity=min(PERPLEXITY, (len(units) - 1) / 3),
        early_exaggeration_iter=EXAGGERATED_STEPS,
        n_iter=STEPS,
        negative_gradient_method="fft",  # time grows with the features alone, not with their pairs
        min_num_intervals=MIN_CELLS,
        neighbors="exact",
        random_state=seed,
        n_jobs=1,  # its threads wait for each other longer than they work
    )
    plane = np.asarray(layout.fit(reduced))
    low, high = plane.min(0), plane.max(0)
    x, y = ((plane - low) / np.maximum(high - low, 1e-12)).round(4).T.tolist()
    return FeatureMap("t-SNE", x, y)
