"""Near misses: places like those of a feature's peaks at which it stays silent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.sample import Sample
from sitegen.config import Config
from sitegen.sweep.best_lists import index_in_group, sorted_keys
from sitegen.sweep.windows import mix, window_keys

LONGEST_MATCH = 4  # tokens, the peak's included, that may be asked to be the same
PLACES_PER_PEAK = 8  # looked at for each peak and length of match
PEAKS_AT_ONCE = 65_536


@dataclass(frozen=True)
class NearMisses:
    """Places, sorted by feature, the best first; the arrays run parallel.

    feature   [n] int64: index among the features swept
    row, position  [n] int64: of the token on which the feature is silent
    n_matched [n] int64: tokens, this one included and reading backwards, that are those of a strongest context
    """

    feature: np.ndarray
    row: np.ndarray
    position: np.ndarray
    n_matched: np.ndarray


def find_near_misses(
    table: ContextTable, sample: Sample, rows: np.ndarray, feature_ids: np.ndarray, config: Config
) -> NearMisses:
    """For each feature the places of the sample that read most like its top contexts and leave it silent.

    table        the contexts to show
    rows         [n_rows, seq_len] all rows
    feature_ids  [n_features] int64: number of each feature swept
    """
    is_top = table.interval == TOP_GROUP
    feature, row, position = table.feature[is_top], table.row[is_top], table.position[is_top]
    parts = np.split(np.arange(len(feature)), range(PEAKS_AT_ONCE, len(feature), PEAKS_AT_ONCE))
    found = []
    for length in range(min(LONGEST_MATCH, rows.shape[1]), 0, -1):
        endings = _endings(sample.tokens, length)
        for part in parts:
            peaks = feature[part], row[part], position[part]
            found.append(_candidates(peaks, length, endings, rows))
    of, token_index, n_matched = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    silent = sample.activations.at(feature_ids[of], token_index) == 0
    of, token_index, n_matched = of[silent], token_index[silent], n_matched[silent]
    return _best(of, feature_ids[of], token_index, n_matched, sample, config)


def _candidates(
    peaks: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_matched: int,
    endings: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(feature, place in the sample, n_matched) where the last tokens are those that end at a peak."""
    long_enough = peaks[2] >= n_matched - 1
    feature, row, position = (array[long_enough] for array in peaks)
    key = np.zeros(len(feature), np.uint64)
    for back in range(n_matched):
        key = mix(key ^ (rows[row, position - back].astype(np.uint64) + np.uint64(1)))
    there, token_indices = endings
    low, high = np.searchsorted(there, key), np.searchsorted(there, key, side="right")
    nth = np.arange(PLACES_PER_PEAK)
    at = low[:, None] + nth
    inside = at < high[:, None]
    return (
        np.broadcast_to(feature[:, None], at.shape)[inside],
        token_indices[at[inside]],
        np.full(int(inside.sum()), n_matched),
    )


def _endings(tokens: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(keys of the last `length` tokens, rising; the place of each); equal keys in an order drawn by a hash."""
    seq_len = tokens.shape[1]
    key = np.zeros((len(tokens), seq_len - length + 1), np.uint64)
    for back in range(length):
        stop = seq_len - back
        key = mix(key ^ (tokens[:, length - 1 - back : stop].astype(np.uint64) + np.uint64(1)))
    row, position = np.divmod(np.arange(key.size), key.shape[1])
    token_index = row * seq_len + position + length - 1
    order = np.lexsort((mix(token_index.astype(np.uint64)), key.reshape(-1)))
    return key.reshape(-1)[order], token_index[order]


def _best(
    feature: np.ndarray,
    feature_id: np.ndarray,
    token_index: np.ndarray,
    n_matched: np.ndarray,
    sample: Sample,
    config: Config,
) -> NearMisses:
    """The longest matches of each feature, one for each place and text; of equals those that a hash puts first."""
    seq_len = sample.tokens.shape[1]
    contexts = config.contexts
    text = window_keys(sample.tokens, contexts.n_before, contexts.n_after).reshape(-1)[token_index]
    drawn = mix(text ^ mix(feature_id.astype(np.uint64) + np.uint64(1))) >> np.uint64(8)
    order = np.lexsort((token_index, drawn, -n_matched, feature))
    feature, token_index, n_matched, text = (
        a[order] for a in (feature, token_index, n_matched, text)
    )
    pair = mix(text ^ mix(feature.astype(np.uint64)))
    _, by_pair = sorted_keys((pair >> np.uint64(1)).astype(np.int64))  # stable: the first stays
    same = np.r_[False, pair[by_pair[1:]] == pair[by_pair[:-1]]] if len(pair) else np.empty(0, bool)
    kept = np.sort(by_pair[~same])
    kept = kept[index_in_group(feature[kept]) < config.analysis.n_near_misses]
    row, position = np.divmod(token_index[kept], seq_len)
    return NearMisses(feature[kept], row, position, n_matched[kept])
