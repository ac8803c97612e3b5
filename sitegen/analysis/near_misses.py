"""Near misses: tokens of the sample that end like a top context of a feature, but on which the feature is inactive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sitegen.analysis.contexts import TOP_GROUP, ContextTable
from sitegen.analysis.sample import Sample
from sitegen.config import Config
from sitegen.sweep.best_lists import first_of_each_text, index_in_group
from sitegen.sweep.windows import ContextWindow, mix_array

# Most tokens, the peak's included, that are compared
LONGEST_MATCH = 4
# Tokens of the sample that are examined for each peak and length of match
CANDIDATES_PER_PEAK = 8
PEAKS_AT_ONCE = 65_536


@dataclass(frozen=True)
class NearMisses:
    """Near misses, sorted by feature, the best first; index i of every array belongs to the same near miss.

    feature        [n] int64: index among the features swept
    row, position  [n] int64: of the token on which the feature is inactive
    n_matched      [n] int64: how many tokens, from this one backwards, equal those up to the peak of a top context
    """

    feature: np.ndarray
    row: np.ndarray
    position: np.ndarray
    n_matched: np.ndarray


def find_near_misses(
    table: ContextTable, sample: Sample, rows: np.ndarray, feature_ids: np.ndarray, config: Config
) -> NearMisses:
    """Find, for each feature, the tokens of the sample that match its top contexts best and on which it is inactive.

    table        the contexts that pages show
    rows         [n_rows, seq_len] all rows
    feature_ids  [n_features] int64: number of each feature swept
    """
    is_top = table.interval == TOP_GROUP
    feature, row, position = table.feature[is_top], table.row[is_top], table.position[is_top]
    parts = np.split(np.arange(len(feature)), range(PEAKS_AT_ONCE, len(feature), PEAKS_AT_ONCE))
    found = []
    for length in range(min(LONGEST_MATCH, rows.shape[1]), 0, -1):
        endings = _hash_endings(sample.tokens, length)
        for part in parts:
            peaks = feature[part], row[part], position[part]
            found.append(_find_candidates(peaks, length, endings, rows))
    feature, token_index, n_matched = (
        np.concatenate(arrays) for arrays in zip(*found, strict=True)
    )
    is_inactive = sample.activations.at(feature_ids[feature], token_index) == 0
    feature, token_index, n_matched = (a[is_inactive] for a in (feature, token_index, n_matched))
    return _choose_best(feature, feature_ids[feature], token_index, n_matched, sample, config)


def _find_candidates(
    peaks: tuple[np.ndarray, np.ndarray, np.ndarray],
    n_matched: int,
    endings: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find (feature, token index in the sample, n_matched) where the last `n_matched` tokens are those up to a peak.

    peaks    ([n] feature, [n] row, [n] position)
    endings  as `_hash_endings` returns them for the same number of tokens
    """
    long_enough = peaks[2] >= n_matched - 1
    feature, row, position = (array[long_enough] for array in peaks)
    # The same hash as in `_hash_endings`. The hash of 0 is 0, hence token + 1.
    key = np.zeros(len(feature), np.uint64)
    for back in range(n_matched):
        key = mix_array(key ^ (rows[row, position - back].astype(np.uint64) + np.uint64(1)))
    ending_keys, token_indices = endings
    low, high = np.searchsorted(ending_keys, key), np.searchsorted(ending_keys, key, side="right")
    # The first few of each run of equal keys [n_peaks, CANDIDATES_PER_PEAK]; `_hash_endings` has shuffled each run
    index = low[:, None] + np.arange(CANDIDATES_PER_PEAK)
    is_equal = index < high[:, None]
    return (
        np.broadcast_to(feature[:, None], index.shape)[is_equal],
        token_indices[index[is_equal]],
        np.full(int(is_equal.sum()), n_matched),
    )


def _hash_endings(tokens: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash the `length` tokens that end at each token of the sample.

    tokens   [n_rows, seq_len]
    returns  ([n] uint64 hashes, rising; [n] int64 token index of each). Equal hashes are in a pseudo-random order, so
             that the first few of them are a random sample that is the same in every run.
    """
    seq_len = tokens.shape[1]
    key = np.zeros((len(tokens), seq_len - length + 1), np.uint64)
    for back in range(length):
        stop = seq_len - back
        key = mix_array(
            key ^ (tokens[:, length - 1 - back : stop].astype(np.uint64) + np.uint64(1))
        )
    # A row has `length - 1` fewer endings than tokens
    row, position = np.divmod(np.arange(key.size), key.shape[1])
    token_index = row * seq_len + position + length - 1
    order = np.lexsort((mix_array(token_index.astype(np.uint64)), key.reshape(-1)))
    return key.reshape(-1)[order], token_index[order]


def _choose_best(
    feature: np.ndarray,
    feature_id: np.ndarray,
    token_index: np.ndarray,
    n_matched: np.ndarray,
    sample: Sample,
    config: Config,
) -> NearMisses:
    """Choose the longest matches of each feature, each text once.

    A hash of text and feature orders matches of equal length, so that the choice is pseudo-random, differs between
    features, and is the same in every run.

    feature, feature_id, token_index, n_matched  [n] each; `feature` is the index among the features swept
    """
    seq_len = sample.tokens.shape[1]
    text = ContextWindow.of(config.contexts).array_keys(sample.tokens).reshape(-1)[token_index]
    salt = mix_array(feature_id.astype(np.uint64) + np.uint64(1))
    tie_break = mix_array(text.view(np.uint64) ^ salt) >> np.uint64(8)
    order = np.lexsort((token_index, tie_break, -n_matched, feature))
    feature, token_index, n_matched, text = (
        a[order] for a in (feature, token_index, n_matched, text)
    )
    is_first = first_of_each_text(torch.from_numpy(feature), torch.from_numpy(text))
    kept = np.flatnonzero(is_first.numpy())
    nth = index_in_group(torch.from_numpy(feature[kept])).numpy()
    kept = kept[nth < config.analysis.n_near_misses]
    row, position = np.divmod(token_index[kept], seq_len)
    return NearMisses(feature[kept], row, position, n_matched[kept])
