"""The contexts that pages show: chosen from the sweep's lists, with the activation at each of their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sitegen.analysis.ablation import AblationTable, Ablator
from sitegen.config import Config
from sitegen.maths.encoder import PairReader
from sitegen.progress import Progress
from sitegen.sources.inputs import Inputs
from sitegen.sweep.best_lists import Entries, first_of_each, index_in_group
from sitegen.sweep.shards import make_encoder
from sitegen.sweep.state import SweepResult
from sitegen.sweep.windows import ContextWindow

TOP_GROUP = -1
ROWS_HASHED_AT_ONCE = 4096


@dataclass(frozen=True)
class ContextTable:
    """Chosen contexts, sorted by feature, group (top group first, then rising intervals) and rank.

    Index i of every array belongs to the same context.

    feature     [n] int64: index among the features swept
    interval    [n] int64: -1 for the top group
    rank        [n] int64
    row, position, start, end  [n] int64: the peak, and the window [start, end) around it
    activation  [n] float32 at the peak
    text_key    [n] int64
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


def choose_contexts(swept: SweepResult, config: Config, seq_len: int) -> ContextTable:
    """Choose the top contexts and the samples of each interval for every feature."""
    samples, interval = _interval_samples(swept, config)
    in_top = np.full(len(swept.top), TOP_GROUP)
    both = Entries.joined([swept.top, samples])
    return context_table(both, config, seq_len, np.concatenate([in_top, interval]))


def context_table(
    entries: Entries, config: Config, seq_len: int, interval: np.ndarray | None = None
) -> ContextTable:
    """Make the table of contexts around some activations.

    interval  [n] int64: the interval of each; all are in the top group unless it is given
    """
    if interval is None:
        interval = np.full(len(entries), TOP_GROUP)
    found = entries.arrays()
    feature, activation = found["feature"], found["activation"]
    order = np.lexsort((found["token_index"], -activation, interval, feature))
    feature, interval = feature[order], interval[order]
    row, position = np.divmod(found["token_index"][order], seq_len)
    start, end = ContextWindow.of(config.contexts).bounds(position, seq_len)
    group = torch.from_numpy(feature * (config.contexts.n_intervals + 1) + interval)
    return ContextTable(
        feature=feature,
        interval=interval,
        rank=index_in_group(group).numpy(),
        row=row,
        position=position,
        start=start,
        end=end,
        activation=activation[order],
        text_key=found["text_key"][order],
    )


def _interval_samples(swept: SweepResult, config: Config) -> tuple[Entries, np.ndarray]:
    """Choose (samples, their intervals); no text of a feature's top contexts is among them."""
    n_intervals = config.contexts.n_intervals
    kept = swept.samples
    kept = kept.take(~_is_among(kept, swept.top) if n_intervals else torch.arange(0))
    maximum = torch.from_numpy(swept.max_activation).double()[kept.feature]
    share = kept.activation.double() / maximum
    interval = (torch.ceil(share * n_intervals).long() - 1).clamp(0, max(n_intervals - 1, 0))
    # One slot for each feature and interval, so that `first_of_each` limits every interval by itself
    n_slots = max(n_intervals, 1)
    slot = kept.feature * n_slots + interval
    chosen, slot = first_of_each(kept, slot, config.contexts.n_per_interval)
    return chosen, (slot % n_slots).numpy()


def _is_among(entries: Entries, others: Entries) -> torch.Tensor:
    """Find which entries have the same feature and text as one of `others`, [n] bool."""
    pairs = np.stack([entries.feature.numpy(), entries.text_key.numpy()], axis=1)
    other_pairs = np.stack([others.feature.numpy(), others.text_key.numpy()], axis=1)
    both, inverse = np.unique(np.concatenate([other_pairs, pairs]), axis=0, return_inverse=True)
    is_other = np.zeros(len(both), bool)
    is_other[inverse[: len(other_pairs)]] = True
    return torch.from_numpy(is_other[inverse[len(other_pairs) :]])


@dataclass(frozen=True)
class ContextActivations:
    """Activations and ablations at each token of the chosen contexts.

    activations  [n_contexts, n_before + 1 + n_after] float32: each context's feature at each of its tokens, 0 past its
                 end. At the peak it is the value from the sweep, so that the peak of the strongest context equals
                 the feature's maximum exactly.
    ablations    effect of removing the feature at each activation above 0; None where it cannot be computed exactly
    """

    activations: np.ndarray
    ablations: AblationTable | None


def read_contexts(table: ContextTable, inputs: Inputs, config: Config) -> ContextActivations:
    """Run the model once more over the rows that are shown."""
    width = ContextWindow.of(config.contexts).width
    found = np.zeros((len(table.row), width), np.float32)
    reader = PairReader(make_encoder(inputs), config.sweep.precision)
    ablator = Ablator.of(inputs, config)
    by_row = np.argsort(table.row, kind="stable")
    batch_of = table.row[by_row] // inputs.pass_rows
    batch_starts = np.flatnonzero(batch_of[1:] != batch_of[:-1]) + 1
    progress = Progress("contexts", len(by_row), "contexts")
    for indices in np.split(by_row, batch_starts) if len(by_row) else []:
        first = int(table.row[indices[0]]) // inputs.pass_rows * inputs.pass_rows
        ids = inputs.ids(range(first, first + inputs.pass_rows))
        if ablator is None:
            x = inputs.model.hook_activations(ids)
        else:
            x, _, residual = inputs.model.input_target_and_residual(ids)
        indices.sort()  # by feature, as the table is
        activations = _window_activations(reader, x, table, indices, first, width)
        _put_peaks(activations, table, indices)
        found[indices] = activations
        if ablator is not None:
            nth, column = np.nonzero(activations)
            context = indices[nth]
            token = (table.row[context] - first) * ids.shape[1] + table.start[context] + column
            # The ablator takes what the feature adds to the stream, so a normalised input is scaled back
            scale = inputs.autoencoder.output_scale(x.flatten(0, 1)).cpu().numpy()
            strength = activations[nth, column] * scale[token]
            active = (table.feature[context], token, strength)
            ablator.add(residual, ids, active, context, column)
        progress.advance(len(indices))
    progress.finish()
    return ContextActivations(found, ablator.table() if ablator else None)


def _put_peaks(activations: np.ndarray, table: ContextTable, indices: np.ndarray) -> None:
    """Set activations past a context's end to 0, and those at peaks to the values from the sweep."""
    start, end = table.start[indices], table.end[indices]
    activations[np.arange(activations.shape[1]) >= (end - start)[:, None]] = 0
    peak = table.position[indices] - start
    activations[np.arange(len(indices)), peak] = table.activation[indices]


def _window_activations(
    reader: PairReader,
    x: torch.Tensor,
    table: ContextTable,
    indices: np.ndarray,
    first_row: int,
    width: int,
) -> np.ndarray:
    """Compute the activations of contexts at their tokens, [n_indices, width].

    x        [n_rows, seq_len, d_hook] activations of the rows from `first_row` on
    returns  float32; past a row's end, the activation at its last token (`_put_peaks` sets it to 0)
    """
    n_rows, seq_len, d_hook = x.shape
    position = np.minimum(table.start[indices][:, None] + np.arange(width), seq_len - 1)
    token = (table.row[indices] - first_row)[:, None] * seq_len + position
    feature = np.repeat(table.feature[indices], width)
    found = reader.activations(
        x.reshape(n_rows * seq_len, d_hook),
        torch.from_numpy(feature).to(x.device),
        torch.from_numpy(token.reshape(-1)).to(x.device),
    )
    return found.cpu().numpy().reshape(-1, width)


def count_copies(table: ContextTable, rows: np.ndarray, config: Config) -> np.ndarray:
    """Count how often exactly a context's tokens occur in `rows` [n_rows, seq_len], [n_contexts] int64."""
    keys, inverse = np.unique(table.text_key, return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    window = ContextWindow.of(config.contexts)
    for first in range(0, len(rows) if len(keys) else 0, ROWS_HASHED_AT_ONCE):
        part = np.asarray(rows[first : first + ROWS_HASHED_AT_ONCE])
        found = window.array_keys(part).reshape(-1)
        at = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        counts += np.bincount(at[keys[at] == found], minlength=len(keys))
    return counts[inverse]
