"""Layout of all features in the plane, so that features with similar decoder directions are close together."""

from __future__ import annotations

import numpy as np

from sitegen.progress import announce
from sitegen.records import FeatureMap

# A map of fewer distinct directions shows nothing
MIN_FEATURES = 32
# A map of more features is full of dots everywhere, and the exact neighbour search takes time as their square
MAX_FEATURES = 100_000
# Directions are reduced to this many principal components first, which makes the neighbour search faster
N_COMPONENTS = 50
# For a small number of features it is reduced to (n - 1) / 3, the largest perplexity that t-SNE accepts
PERPLEXITY = 30
# Fewer steps than usual: after these, a map of thousands of features changes too little to be visible
EXAGGERATED_STEPS, STEPS = 50, 100
# Smallest number of cells per side of the grid on which forces are interpolated. Cells wider than 1 show as stripes.
MIN_CELLS = 20


def feature_map(W_dec: np.ndarray, seed: int) -> FeatureMap | None:
    """Lay out the features; None if there are too few distinct directions, or too many features.

    W_dec   [n_features, d_hook] float32 decoder rows
    returns coordinates from 0 to 1, rounded to 4 decimal places
    source  definitions.md, "map"
    """
    announce("map")
    if len(W_dec) > MAX_FEATURES:
        return None
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
        # Interpolation with FFTs takes time in proportion to the features, not to their pairs
        negative_gradient_method="fft",
        min_num_intervals=MIN_CELLS,
        neighbors="exact",
        random_state=seed,
        # More threads are slower: they wait for each other longer than they work
        n_jobs=1,
    )
    plane = np.asarray(layout.fit(reduced))
    low, high = plane.min(0), plane.max(0)
    x, y = ((plane - low) / np.maximum(high - low, 1e-12)).round(4).T.tolist()
    return FeatureMap("t-SNE", x, y)
