"""Bounded lists of active tokens, one list for each slot: the best few by rank, one for each distinct text.

The lists hold exactly what sorting all active tokens would give, whatever the order and the parts in which these are
added. An entry that has dropped out need not be remembered: only a better entry of the same text could bring its text
back, and that entry is then added by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sitegen.sweep.windows import mix

# Rank of an empty element of a list; no entry has it
NO_RANK = np.uint32(0xFFFFFFFF)
# Bytes of an element of a list: rank, token index, activation and text key
ENTRY_BYTES = 4 + 8 + 4 + 8


@dataclass(frozen=True)
class Entries:
    """Active tokens that are in lists, or are candidates for them; index i of every array belongs to the same entry.

    slot         [n] int64, below 2^31
    rank         [n] uint32: the smaller, the better; of equal ranks the smaller token index is better
    token_index  [n] int64: row x seq_len + position
    activation   [n] float32
    text_key     [n] uint64: of two entries of a slot with the same key only the better one is kept
    """

    slot: np.ndarray
    rank: np.ndarray
    token_index: np.ndarray
    activation: np.ndarray
    text_key: np.ndarray

    def take(self, chosen: np.ndarray) -> Entries:
        """Select the entries at indices, or where a mask is true."""
        return Entries(
            self.slot[chosen],
            self.rank[chosen],
            self.token_index[chosen],
            self.activation[chosen],
            self.text_key[chosen],
        )

    def in_slots(self, slot: np.ndarray) -> Entries:
        """Move the entries to other slots, [n] int64."""
        return Entries(slot, self.rank, self.token_index, self.activation, self.text_key)


class BestLists:
    """`n_slots` lists of at most `length` entries, as dense arrays [n_slots, length]; a list's order has no meaning.

    bound  [n_slots] uint32: an entry whose rank is above it cannot be in the list, or not in the list that this one
           will be merged into
    """

    def __init__(self, n_slots: int, length: int) -> None:
        self.length = length
        self.rank = np.full((n_slots, length), NO_RANK, np.uint32)
        self.token_index = np.full((n_slots, length), -1, np.int64)
        self.activation = np.zeros((n_slots, length), np.float32)
        self.text_key = np.zeros((n_slots, length), np.uint64)
        self.bound = np.full(n_slots, NO_RANK, np.uint32)

    def add(self, entries: Entries) -> None:
        """Add the entries that are better than the worst of their list, which they replace."""
        # Most entries of a long sweep end here, at the cost of one comparison. Equal ranks go on, because the token
        # index decides between them.
        hopeful = np.flatnonzero(entries.rank <= self.bound[entries.slot])
        if not len(hopeful):
            return
        best = first_of_each(entries.take(hopeful), self.length)
        # The first candidates of all slots together, then the second ones, and so on: `length` vectorised steps at
        # most, in each of which no slot occurs twice
        nth = index_in_group(best.slot)
        _, by_nth = sorted_keys(nth)
        for part in np.split(by_nth, np.cumsum(np.bincount(nth))[:-1]):
            self._add_one_a_slot(best.take(part))

    def entries(self, slots: np.ndarray | None = None) -> Entries:
        """Collect the entries of all lists, or of some slots, sorted by slot, rank and token index."""
        chosen = np.arange(len(self.rank)) if slots is None else slots
        nth, column = np.nonzero(self.token_index[chosen] >= 0)
        slot = chosen[nth]
        held = Entries(
            slot,
            self.rank[slot, column],
            self.token_index[slot, column],
            self.activation[slot, column],
            self.text_key[slot, column],
        )
        return held.take(_by_slot_rank_token(held))

    def replace_all(self, entries: Entries) -> None:
        """Replace the content of all lists by `entries`, sorted as `entries()` returns them."""
        every = np.arange(len(self.rank))
        self.clear(every, np.full(len(every), NO_RANK))
        self._write(entries.slot, index_in_group(entries.slot), entries)
        self.bound = self.rank.max(1)

    def clear(self, slots: np.ndarray, bound: np.ndarray) -> None:
        """Empty the lists of some slots and set their bounds."""
        self.rank[slots] = NO_RANK
        self.token_index[slots] = -1
        self.activation[slots] = 0
        self.text_key[slots] = 0
        self.bound[slots] = bound

    def _add_one_a_slot(self, entries: Entries) -> None:
        """Add at most one entry to each list: instead of the entry of the same text if there is one, else the worst."""
        slot, nth = entries.slot, np.arange(len(entries.slot))
        rank = self.rank[slot]  # [n_entries, length]
        same = self.text_key[slot] == entries.text_key[:, None]
        column = np.where(same.any(1), same.argmax(1), self._worst(slot, rank))
        held_rank, held_token_index = rank[nth, column], self.token_index[slot, column]
        # A token index below 0 marks an empty element, which every entry replaces
        better = entries.rank < held_rank
        better |= (entries.rank == held_rank) & (
            (entries.token_index < held_token_index) | (held_token_index < 0)
        )
        self._write(slot[better], column[better], entries.take(better))
        rank[nth[better], column[better]] = entries.rank[better]
        # A list that is not full keeps its bound: its worst rank is NO_RANK. A bound that was taken over from the
        # total (`prune_against`) may be lower than the list's own worst rank, and only ever falls.
        self.bound[slot] = np.minimum(self.bound[slot], rank.max(1))

    def _worst(self, slot: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """Find the worst entry of each list, or an empty element: its column, [n_slots]."""
        worst = rank.max(1)
        is_worst = rank == worst[:, None]
        column: np.ndarray = is_worst.argmax(1)
        # Only lists whose worst rank occurs twice need token indices; all empty elements are equally good to fill
        tied = np.flatnonzero((worst < NO_RANK) & (is_worst.sum(1) > 1))
        token_index = np.where(is_worst[tied], self.token_index[slot[tied]], -1)
        column[tied] = token_index.argmax(1)
        return column

    def _write(self, slot: np.ndarray, column: np.ndarray, entries: Entries) -> None:
        self.rank[slot, column] = entries.rank
        self.token_index[slot, column] = entries.token_index
        self.activation[slot, column] = entries.activation
        self.text_key[slot, column] = entries.text_key


def first_of_each(entries: Entries, length: int) -> Entries:
    """Select the best `length` entries of each slot, one for each text, sorted by slot, rank and token index."""
    order = _by_slot_rank_token(entries)
    order = order[_first_of_each_text(entries.slot[order], entries.text_key[order])]
    return entries.take(order[index_in_group(entries.slot[order]) < length])


def _by_slot_rank_token(entries: Entries) -> np.ndarray:
    """Compute the order of entries by slot, rank and token index, [n] int64."""
    # Slot and rank in one integer key sort many times as fast as three keys. Ties are rare: they alone are sorted again
    # by token index.
    key, order = sorted_keys((entries.slot << 32) | entries.rank)
    is_tied = np.zeros(len(key), bool)
    is_tied[1:] = key[1:] == key[:-1]
    is_tied[:-1] |= is_tied[1:]
    tied = order[is_tied]
    order[is_tied] = tied[np.lexsort((entries.token_index[tied], key[is_tied]))]
    return order


def _first_of_each_text(slot: np.ndarray, text_key: np.ndarray) -> np.ndarray:
    """Find the index of the first entry of each pair of slot and text, rising."""
    # One hash of both, without its lowest bit, because the sort takes signed integers. It is stable, so the first entry
    # of a pair comes first in its run of equal keys.
    mixed = mix(text_key ^ mix(slot.astype(np.uint64)))
    key, order = sorted_keys((mixed >> np.uint64(1)).astype(np.int64))
    is_first = np.ones(len(key), bool)
    is_first[1:] = key[1:] != key[:-1]
    # Entries with the same key are of the same slot and text, or by a rare chance of others: those are kept
    again = np.flatnonzero(~is_first)
    one, other = order[again - 1], order[again]
    is_first[again] = (slot[one] != slot[other]) | (text_key[one] != text_key[other])
    return np.arange(len(key)) if is_first.all() else np.sort(order[is_first])


def sorted_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort int64 keys: (the keys in order, the former index of each); equal keys stay in the order they came in."""
    # torch's stable sort is several times as fast as numpy's
    found = torch.sort(torch.from_numpy(keys), stable=True)
    return found.values.numpy(), found.indices.numpy()


def index_in_group(sorted_groups: np.ndarray) -> np.ndarray:
    """Count 0, 1, 2, … within each run of equal values, [n] int64."""
    n = len(sorted_groups)
    starts = (
        np.flatnonzero(np.r_[True, sorted_groups[1:] != sorted_groups[:-1]])
        if n
        else np.empty(0, np.int64)
    )
    lengths = np.diff(np.r_[starts, n])
    return np.arange(n) - np.repeat(starts, lengths)
