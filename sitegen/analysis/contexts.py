"""The contexts to show: chosen from the sweep's lists, with the activation at each of their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sitegen.config import Config
from sitegen.maths.encoder import feature_activations
from sitegen.progress import Progress
from sitegen.sources.subject import Subject
from sitegen.sweep.accumulators import N_CELLS
from sitegen.sweep.best_lists import Entries, first_of_each, index_in_group
from sitegen.sweep.state import SweepState
from sitegen.sweep.windows import window_keys

TOP_GROUP = -1
GATHERED_BYTES = 16 << 20  # of activations around peaks at a time
ROWS_HASHED_AT_ONCE = 4096


@dataclass(frozen=True)
class ContextTable:
    """Chosen contexts, sorted by feature, group (top first, then intervals rising) and rank; arrays run parallel.

    feature     [n] int64: index among the features swept
    interval    [n] int64: -1 for the top group
    rank        [n] int64
    row, position, start, end  [n] int64: the peak, and the window [start, end) around it
    activation  [n] float32 at the peak
    text_key    [n] uint64
    """

    feature: np.ndarray
    interval: np.ndarray
    rank: np.ndarray
    row: np.ndarray
    position: np.ndarray
    start: np.ndarray
    end: np.ndarray
    activation: np.ndarray
    text_key: np.ndarray


def choose_contexts(state: SweepState, config: Config, seq_len: int) -> ContextTable:
    """The top contexts and the samples of each interval of every feature."""
    top = state.top.lists.entries()
    samples, interval = _interval_samples(state, config, top)
    feature = np.concatenate([top.slot, samples.slot])
    interval = np.concatenate([np.full(len(top.slot), TOP_GROUP), interval])
    activation = np.concatenate([top.activation, samples.activation])
    place = np.concatenate([top.place, samples.place])
    order = np.lexsort((place, -activation, interval, feature))
    feature, interval, place = feature[order], interval[order], place[order]
    row, position = np.divmod(place, seq_len)
    return ContextTable(
        feature=feature,
        interval=interval,
        rank=index_in_group(feature * (config.contexts.n_intervals + 1) + interval),
        row=row,
        position=position,
        start=np.maximum(position - config.contexts.n_before, 0),
        end=np.minimum(position + config.contexts.n_after + 1, seq_len),
        activation=activation[order],
        text_key=np.concatenate([top.text_key, samples.text_key])[order],
    )


def _interval_samples(
    state: SweepState, config: Config, top: Entries
) -> tuple[Entries, np.ndarray]:
    """(samples whose slot is their feature, their intervals), none of which stands among the top contexts."""
    n_intervals = config.contexts.n_intervals
    kept = state.samples.lists.entries()
    kept = kept.in_slots(kept.slot // N_CELLS)
    kept = kept.take(~_stands_in(kept, top) if n_intervals else np.zeros(len(kept.slot), bool))
    maximum = state.counts.max_activation[kept.slot].astype(np.float64)
    share = kept.activation.astype(np.float64) / maximum
    interval = np.clip(
        np.ceil(share * n_intervals).astype(np.int64) - 1, 0, max(n_intervals - 1, 0)
    )
    n_slots = max(n_intervals, 1)
    chosen = first_of_each(
        kept.in_slots(kept.slot * n_slots + interval), config.contexts.n_per_interval
    )
    return chosen.in_slots(chosen.slot // n_slots), chosen.slot % n_slots


def _stands_in(entries: Entries, others: Entries) -> np.ndarray:
    """[n] bool: whether an entry of the same slot and text is among the others."""
    pairs = np.stack([entries.slot.astype(np.uint64), entries.text_key], axis=1)
    other_pairs = np.stack([others.slot.astype(np.uint64), others.text_key], axis=1)
    both, inverse = np.unique(np.concatenate([other_pairs, pairs]), axis=0, return_inverse=True)
    is_other = np.zeros(len(both), bool)
    is_other[inverse[: len(other_pairs)]] = True
    found: np.ndarray = is_other[inverse[len(other_pairs) :]]
    return found


def context_activations(table: ContextTable, subject: Subject, config: Config) -> np.ndarray:
    """[n_contexts, n_before + 1 + n_after] float32: each context's feature at each of its tokens, 0 past its end.

    The peak keeps the very value that the sweep found, so that it and the maximum are one number wherever shown.
    """
    width = config.contexts.n_before + 1 + config.contexts.n_after
    found = np.zeros((len(table.row), width), np.float32)
    by_row = np.argsort(table.row, kind="stable")
    batch_of = table.row[by_row] // config.sweep.batch_rows
    batch_starts = np.flatnonzero(batch_of[1:] != batch_of[:-1]) + 1
    progress = Progress("contexts", len(by_row), "contexts")
    for indices in np.split(by_row, batch_starts) if len(by_row) else []:
        first_row = int(table.row[indices[0]]) // config.sweep.batch_rows * config.sweep.batch_rows
        tokens = subject.rows.tokens[first_row : first_row + config.sweep.batch_rows].astype(
            np.int64
        )
        x = subject.model.hook_activations(torch.from_numpy(tokens).to(subject.device))
        at_once = max(1, GATHERED_BYTES // (width * subject.autoencoder.d_hook * 4))
        for part in np.split(indices, range(at_once, len(indices), at_once)):
            found[part] = _window_activations(table, part, x, first_row, subject, width)
        progress.advance(len(indices))
    progress.finish()
    found[np.arange(width) >= (table.end - table.start)[:, None]] = 0
    found[np.arange(len(found)), table.position - table.start] = table.activation
    return found


def _window_activations(
    table: ContextTable,
    part: np.ndarray,
    x: torch.Tensor,
    first_row: int,
    subject: Subject,
    width: int,
) -> np.ndarray:
    positions = np.minimum(table.start[part][:, None] + np.arange(width), x.shape[1] - 1)
    row = torch.from_numpy(table.row[part] - first_row).to(x.device)
    windows = x[
        row[:, None], torch.from_numpy(positions).to(x.device)
    ]  # [n_contexts, width, d_hook]
    feature = torch.tensor(subject.feature_ids, device=x.device)[
        torch.from_numpy(table.feature[part]).to(x.device)
    ]
    weights = subject.autoencoder
    activations = feature_activations(
        windows, weights.W_enc.T[feature], weights.b_enc[feature], weights.b_dec
    )
    return activations.cpu().numpy()


def count_copies(table: ContextTable, rows: np.ndarray, config: Config) -> np.ndarray:
    """[n_contexts] int64: places in `rows` [n_rows, seq_len] where the context's very tokens stand."""
    keys, inverse = np.unique(table.text_key, return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    for first in range(0, len(rows) if len(keys) else 0, ROWS_HASHED_AT_ONCE):
        part = np.asarray(rows[first : first + ROWS_HASHED_AT_ONCE])
        found = window_keys(part, config.contexts.n_before, config.contexts.n_after).reshape(-1)
        at = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        counts += np.bincount(at[keys[at] == found], minlength=len(keys))
    return counts[inverse]
