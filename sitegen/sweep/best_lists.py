"""Bounded lists of firings, one a slot: the first few by rank, one for each distinct text.

The lists hold exactly what sorting all firings would give, whatever the order and the parts they come in: an entry
that has dropped out can only come back by a better one of the same text, which is then an entry of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_RANK = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Entries:
    """Firings that stand, or want to stand, in lists; the arrays run parallel.

    slot        [n] int64
    rank        [n] uint64: the smaller, the better; ties go to the earlier place
    place       [n] int64: row x seq_len + position
    activation  [n] float32
    text_key    [n] uint64: of two entries in a slot with the same key only the better one stays
    """

    slot: np.ndarray
    rank: np.ndarray
    place: np.ndarray
    activation: np.ndarray
    text_key: np.ndarray

    def take(self, chosen: np.ndarray) -> Entries:
        """The entries at an index or mask."""
        return Entries(
            self.slot[chosen],
            self.rank[chosen],
            self.place[chosen],
            self.activation[chosen],
            self.text_key[chosen],
        )

    def in_slots(self, slot: np.ndarray) -> Entries:
        """The same entries in other slots."""
        return Entries(slot, self.rank, self.place, self.activation, self.text_key)

    @staticmethod
    def joined(first: Entries, second: Entries) -> Entries:
        """Both, one after the other."""
        return Entries(
            np.concatenate([first.slot, second.slot]),
            np.concatenate([first.rank, second.rank]),
            np.concatenate([first.place, second.place]),
            np.concatenate([first.activation, second.activation]),
            np.concatenate([first.text_key, second.text_key]),
        )


class BestLists:
    """`n_slots` lists of at most `length` entries, as dense arrays [n_slots, length] sorted by rank, then place."""

    def __init__(self, n_slots: int, length: int) -> None:
        self.length = length
        self.rank = np.full((n_slots, length), NO_RANK, np.uint64)
        self.place = np.full((n_slots, length), -1, np.int64)
        self.activation = np.zeros((n_slots, length), np.float32)
        self.text_key = np.zeros((n_slots, length), np.uint64)

    def add(self, entries: Entries) -> None:
        """Lets entries in where they are better than what stands there."""
        hopeful = entries.take(entries.rank <= self.rank[entries.slot, -1])
        if len(hopeful.slot):
            touched = np.unique(hopeful.slot)
            self._put(
                touched, first_of_each(Entries.joined(self.entries(touched), hopeful), self.length)
            )

    def entries(self, slots: np.ndarray | None = None) -> Entries:
        """What stands in the lists (of some slots), list by list in order."""
        chosen = np.arange(len(self.rank)) if slots is None else slots
        place = self.place[chosen]
        filled = place >= 0
        slot = np.broadcast_to(chosen[:, None], place.shape)[filled]
        return Entries(
            slot,
            self.rank[chosen][filled],
            place[filled],
            self.activation[chosen][filled],
            self.text_key[chosen][filled],
        )

    def replace_all(self, entries: Entries) -> None:
        """Makes `entries`, as `entries()` gave them, the whole content of all lists."""
        self._put(np.arange(len(self.rank)), entries)

    def clear(self, slots: np.ndarray) -> None:
        """Empties the lists of some slots."""
        self.rank[slots] = NO_RANK
        self.place[slots] = -1
        self.activation[slots] = 0
        self.text_key[slots] = 0

    def _put(self, slots: np.ndarray, entries: Entries) -> None:
        """Makes `entries`, sorted, the whole content of `slots`."""
        self.clear(slots)
        nth = index_in_group(entries.slot)
        self.rank[entries.slot, nth] = entries.rank
        self.place[entries.slot, nth] = entries.place
        self.activation[entries.slot, nth] = entries.activation
        self.text_key[entries.slot, nth] = entries.text_key


def first_of_each(entries: Entries, length: int) -> Entries:
    """The best `length` entries of each slot, one for each text, sorted by slot, rank, place."""
    by_text = np.lexsort((entries.place, entries.rank, entries.text_key, entries.slot))
    entries = entries.take(by_text)
    repeated = np.zeros(len(entries.slot), bool)
    repeated[1:] = (entries.slot[1:] == entries.slot[:-1]) & (
        entries.text_key[1:] == entries.text_key[:-1]
    )
    entries = entries.take(~repeated)
    entries = entries.take(np.lexsort((entries.place, entries.rank, entries.slot)))
    return entries.take(index_in_group(entries.slot) < length)


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
