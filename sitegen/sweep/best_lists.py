"""Bounded lists of firings, one a slot: the first few by rank, one for each distinct text.

The lists hold exactly what sorting all firings would give, whatever the order and the parts they come in: an entry
that has dropped out can only come back by a better one of the same text, which is then an entry of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sitegen.sweep.windows import mix

NO_RANK = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class Entries:
    """Firings that stand, or want to stand, in lists; the arrays run parallel.

    slot        [n] int64, below 2^31
    rank        [n] uint32: the smaller, the better; ties go to the earlier place
    place       [n] int64: row x seq_len + position
    activation  [n] float32
    text_key    [n] uint64: of two entries in a slot with the same key only the better one stays
    """

    slot: np.ndarray
    rank: np.ndarray
    token_index: np.ndarray
    activation: np.ndarray
    text_key: np.ndarray

    def take(self, chosen: np.ndarray) -> Entries:
        """The entries at an index or mask."""
        return Entries(
            self.slot[chosen],
            self.rank[chosen],
            self.token_index[chosen],
            self.activation[chosen],
            self.text_key[chosen],
        )

    def in_slots(self, slot: np.ndarray) -> Entries:
        """The same entries in other slots."""
        return Entries(slot, self.rank, self.token_index, self.activation, self.text_key)


class BestLists:
    """`n_slots` lists of at most `length` entries, as dense arrays [n_slots, length]; within a list in no order.

    bound  [n_slots] uint32: what ranks above it has no place in the list, nor in the one it will be merged into
    """

    def __init__(self, n_slots: int, length: int) -> None:
        self.length = length
        self.rank = np.full((n_slots, length), NO_RANK, np.uint32)
        self.token_index = np.full((n_slots, length), -1, np.int64)
        self.activation = np.zeros((n_slots, length), np.float32)
        self.text_key = np.zeros((n_slots, length), np.uint64)
        self.bound = np.full(n_slots, NO_RANK, np.uint32)

    def add(self, entries: Entries) -> None:
        """Lets entries in where they are better than what stands there."""
        hopeful = np.flatnonzero(entries.rank <= self.bound[entries.slot])
        if not len(hopeful):
            return
        best = first_of_each(entries.take(hopeful), self.length)
        nth = index_in_group(best.slot)
        _, by_nth = sorted_keys(nth)
        for part in np.split(by_nth, np.cumsum(np.bincount(nth))[:-1]):
            self._add_one_a_slot(best.take(part))

    def entries(self, slots: np.ndarray | None = None) -> Entries:
        """What stands in the lists (of some slots), sorted by slot, rank, place."""
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
        """Makes `entries`, as `entries()` gave them, the whole content of all lists."""
        every = np.arange(len(self.rank))
        self.clear(every, np.full(len(every), NO_RANK))
        self._write(entries.slot, index_in_group(entries.slot), entries)
        self.bound = self.rank.max(1)

    def clear(self, slots: np.ndarray, bound: np.ndarray) -> None:
        """Empties the lists of some slots and gives them other bounds."""
        self.rank[slots] = NO_RANK
        self.token_index[slots] = -1
        self.activation[slots] = 0
        self.text_key[slots] = 0
        self.bound[slots] = bound

    def _add_one_a_slot(self, entries: Entries) -> None:
        """Lets at most one entry into each list: in the place of the same text if that is there, else of the worst."""
        slot, nth = entries.slot, np.arange(len(entries.slot))
        rank = self.rank[slot]  # [n_entries, length]
        same = self.text_key[slot] == entries.text_key[:, None]
        column = np.where(same.any(1), same.argmax(1), self._worst(slot, rank))
        held_rank, held_token_index = rank[nth, column], self.token_index[slot, column]
        better = entries.rank < held_rank
        better |= (entries.rank == held_rank) & (
            (entries.token_index < held_token_index) | (held_token_index < 0)
        )
        self._write(slot[better], column[better], entries.take(better))
        rank[nth[better], column[better]] = entries.rank[better]
        self.bound[slot] = np.minimum(self.bound[slot], rank.max(1))

    def _worst(self, slot: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """[n_slots] which entry of each list is the worst, or an empty place."""
        worst = rank.max(1)
        is_worst = rank == worst[:, None]
        column: np.ndarray = is_worst.argmax(1)
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
    """The best `length` entries of each slot, one for each text, sorted by slot, rank, place."""
    order = _by_slot_rank_token(entries)
    order = order[_first_of_each_text(entries.slot[order], entries.text_key[order])]
    return entries.take(order[index_in_group(entries.slot[order]) < length])


def _by_slot_rank_token(entries: Entries) -> np.ndarray:
    """The order of the entries. One key of both sorts many times as fast as two keys; ties are put right."""
    key, order = sorted_keys((entries.slot << 32) | entries.rank)
    is_tied = np.zeros(len(key), bool)
    is_tied[1:] = key[1:] == key[:-1]
    is_tied[:-1] |= is_tied[1:]
    tied = order[is_tied]
    order[is_tied] = tied[np.lexsort((entries.token_index[tied], key[is_tied]))]
    return order


def _first_of_each_text(slot: np.ndarray, text_key: np.ndarray) -> np.ndarray:
    """Where, rising, the first entry of each slot and text stands."""
    mixed = mix(text_key ^ mix(slot.astype(np.uint64)))
    key, order = sorted_keys((mixed >> np.uint64(1)).astype(np.int64))
    is_first = np.ones(len(key), bool)
    is_first[1:] = key[1:] != key[:-1]
    again = np.flatnonzero(
        ~is_first
    )  # the same slot and text, or by a rare chance others with the same key
    one, other = order[again - 1], order[again]
    is_first[again] = (slot[one] != slot[other]) | (text_key[one] != text_key[other])
    return np.arange(len(key)) if is_first.all() else np.sort(order[is_first])


def sorted_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the int64 keys in order, where each stood); equal ones stay in the order they came in."""
    found = torch.sort(torch.from_numpy(keys), stable=True)  # several times as fast as numpy's
    return found.values.numpy(), found.indices.numpy()


def index_in_group(sorted_groups: np.ndarray) -> np.ndarray:
    """0, 1, 2, … within each run of equal values."""
    n = len(sorted_groups)
    starts = (
        np.flatnonzero(np.r_[True, sorted_groups[1:] != sorted_groups[:-1]])
        if n
        else np.empty(0, np.int64)
    )
    lengths = np.diff(np.r_[starts, n])
    return np.arange(n) - np.repeat(starts, lengths)
