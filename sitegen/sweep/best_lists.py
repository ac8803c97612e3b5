"""Bounded lists of active tokens, one list for each slot: the best few by rank, one for each distinct text.

The lists hold exactly what sorting all active tokens would give, whatever the parts in which these are added. An entry
that has dropped out need not be remembered: only a better entry of the same text could bring its text back, and that
entry is then added by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from sitegen.maths.deferred import TrueIndices, read_numbers
from sitegen.sweep.windows import mix, shifted_right

# Ranks are below it; as a bound it lets every entry pass
NO_RANK = (1 << 32) - 1
# Bytes of an entry: feature, rank, token index, activation and text key
ENTRY_BYTES = 8 + 8 + 8 + 4 + 8
# The lists are merged when this many entries have come in, or as many as they hold: so that sorting what they hold
# again costs little for each entry that comes in
MERGED_FROM = 1 << 20


@dataclass(frozen=True)
class Entries:
    """Active tokens that are in lists, or are candidates for them; index i of every tensor belongs to the same entry.

    feature      [n] int64: index of the feature
    rank         [n] int64, below NO_RANK: the smaller, the better; of equal ranks the smaller token index is better
    token_index  [n] int64: row x seq_len + position
    activation   [n] float32
    text_key     [n] int64: of two entries of a list with the same key only the better one is kept
    """

    feature: Tensor
    rank: Tensor
    token_index: Tensor
    activation: Tensor
    text_key: Tensor

    def __len__(self) -> int:
        return len(self.feature)

    def take(self, chosen: Tensor) -> Entries:
        """Select the entries at indices, or where a mask is true."""
        return Entries(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def to(self, device: torch.device | str) -> Entries:
        """Move the entries to another device."""
        return Entries(*(getattr(self, field.name).to(device) for field in fields(self)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the entries as arrays to save, by field."""
        return {field.name: getattr(self, field.name).cpu().numpy() for field in fields(self)}

    @staticmethod
    def restored(arrays: dict[str, np.ndarray], device: torch.device) -> Entries:
        """Make entries from saved arrays."""
        found = (torch.from_numpy(arrays[field.name]).to(device) for field in fields(Entries))
        return Entries(*found)

    @staticmethod
    def joined(parts: list[Entries]) -> Entries:
        """Join the entries of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Entries)]
        return Entries(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class _Unsettled:
    """Entries of which some are to be kept; how many is known to the device, but not yet to the host.

    chosen     which entries are kept, in their order or in `order` [n] int64
    is_merged  whether they are all entries of the lists, merged
    """

    entries: Entries
    chosen: TrueIndices
    is_merged: bool
    order: Tensor | None = None

    def settled(self, n: int) -> Entries:
        """Return the entries that are kept; `n` is their number."""
        index = self.chosen.indices(n)
        return self.entries.take(index if self.order is None else self.order[index])


class BestLists:
    """`n_slots` lists of at most `length` entries each.

    What is added waits beside the content of the lists and is merged with it now and then. The number of entries is
    read by the host in `settle`, so that adding does not wait for the device.

    bound  [n_slots] int64: an entry whose rank is above it cannot be in the list, or not in the list that this one
           will be merged into
    """

    def __init__(
        self,
        n_slots: int,
        length: int,
        device: torch.device,
        slots: Callable[[Entries], Tensor] | None = None,
        rank_tells_text: bool = False,
    ) -> None:
        """Make empty lists.

        slots            computes the slots of entries, [n] int64 below 2^31, whenever they are merged; the entries'
                         features unless given
        rank_tells_text  whether entries of a slot have equal ranks exactly if they have the same text, except for a
                         chance of 2^-32 for two texts
        """
        self.length = length
        self.bound = torch.full((n_slots,), NO_RANK).to(device)
        self._slots = slots or (lambda entries: entries.feature)
        self._rank_tells_text = rank_tells_text
        self._parts: list[Entries] = []
        self._unsettled: list[_Unsettled] = []
        # Number of entries that the last merge kept
        self._n_merged = 0

    def add(self, entries: Entries, is_candidate: Tensor, slot: Tensor) -> None:
        """Add entries, in the order of their tokens within a list: all later than those added before.

        is_candidate  [n] bool: the others are left out
        slot          [n] int64: slots by which `bound` is looked up; -1: an entry that is not compared with any bound
        """
        # Most entries of a long sweep end here, at the cost of one comparison. Equal ranks go on, because the token
        # index decides between them.
        is_within = (entries.rank <= self.bound[slot.clamp(min=0)]) | (slot < 0)
        chosen = TrueIndices(is_candidate & is_within)
        self._unsettled.append(_Unsettled(entries, chosen, is_merged=False))

    def unsettled(self) -> list[Tensor]:
        """Return the numbers of entries that the host has not read yet."""
        return [part.chosen.n for part in self._unsettled]

    def settle(self, numbers: list[int]) -> None:
        """Drop what need not be kept, by the numbers that `unsettled` returned; merge if enough has come in."""
        for part, n in zip(self._unsettled, numbers, strict=True):
            if part.is_merged:
                self._n_merged = n
            if n:
                self._parts.append(part.settled(n))
        self._unsettled = []
        if self._n_waiting > max(MERGED_FROM, self._n_merged):
            self._merge()

    @property
    def _n_waiting(self) -> int:
        """Number of entries that have come in since the last merge."""
        return sum(map(len, self._parts)) - self._n_merged

    def merge(self, other: BestLists) -> None:
        """Add the entries of other lists, of any tokens."""
        self._settle_now()
        self._parts.append(other._content())
        self._merge(in_token_order=False)

    def entries(self) -> Entries:
        """Collect the entries of all lists, sorted by slot, rank and token index; the host waits for the device."""
        content = self._content()
        return content.take(_order_by_slot_and_rank(self._slots(content), content.rank))

    def _content(self) -> Entries:
        """Collect the entries of all lists, in the order of their tokens within a feature."""
        self._settle_now()
        if self._n_waiting:
            self._merge()
            self._settle_now()
        return Entries.joined(self._parts) if self._parts else self._none()

    def prune_against(self, total: BestLists) -> None:
        """Take over the bounds: what ranks above the worst entry of a full list of `total` could not get into it."""
        # Bounds are those of the last merge
        total._content()
        self.bound = total.bound.clone()

    def replace_all(self, entries: Entries) -> None:
        """Replace the content of all lists by `entries`, which are those of `entries()`."""
        self._parts, self._unsettled = [entries], []
        self._merge(in_token_order=False)

    def _settle_now(self) -> None:
        while self._unsettled:
            self.settle(read_numbers(self.unsettled()))

    def _merge(self, in_token_order: bool = True) -> None:
        """Keep the best entries of all that have come in, and lower the bounds to the worst of each full list.

        in_token_order  whether all parts come in the order of their tokens within a feature, which the entries that
                        are kept then have too. So they can be sorted again in other slots, whose equal ranks are then
                        in the order of tokens.
        """
        joined, self._parts, self._n_merged = Entries.joined(self._parts), [], 0
        slot, by_token = self._slots(joined), None
        if not in_token_order:
            by_token = torch.sort(joined.token_index, stable=True).indices
        # All entries are large, so they are not moved before it is known which are kept
        order = _order_by_slot_and_rank(slot, joined.rank, by_token)
        index = order if by_token is None else by_token[order]
        slot, rank, text_key = slot[index], joined.rank[index], joined.text_key[index]
        is_first = (
            _first_of_equal_ranks(slot, rank, text_key)
            if self._rank_tells_text
            else first_of_each_text(slot, text_key)
        )
        nth = _count_true(slot, is_first)
        kept = torch.empty_like(is_first)
        kept[order] = is_first & (nth < self.length)
        self._unsettled.append(_Unsettled(joined, TrueIndices(kept), True, by_token))
        # One entry at most of each slot is the last of a full list; the others set an element that is left out
        is_last = is_first & (nth == self.length - 1)
        n_slots = len(self.bound)
        worst = self.bound.new_full((n_slots + 1,), NO_RANK)
        worst.scatter_(0, torch.where(is_last, slot, n_slots), rank)
        self.bound = torch.minimum(self.bound, worst[:-1])

    def _none(self) -> Entries:
        nothing = self.bound.new_zeros(0)
        return Entries(nothing, nothing, nothing, nothing.float(), nothing)


def first_of_each(entries: Entries, slot: Tensor, length: int) -> tuple[Entries, Tensor]:
    """Select the best `length` entries of each slot, one for each text; the host waits for the device.

    slot     [n] int64, below 2^31
    returns  (entries sorted by slot, rank and token index, their slots)
    """
    by_token = torch.sort(entries.token_index, stable=True).indices
    order = by_token[_order_by_slot_and_rank(slot, entries.rank, by_token)]
    slot = slot[order]
    is_first = first_of_each_text(slot, entries.text_key[order])
    kept = is_first & (_count_true(slot, is_first) < length)
    return entries.take(order[kept]), slot[kept]


def _order_by_slot_and_rank(slot: Tensor, rank: Tensor, former: Tensor | None = None) -> Tensor:
    """Compute the order of entries by slot and rank, [n] int64; those that are equal in both stay in their order.

    former  [n] int64: the order that they have before, to which the result refers; None: as they are
    """
    # Slot and rank in one integer sort many times as fast as two keys
    key = (slot << 32) | rank
    return torch.sort(key if former is None else key[former], stable=True).indices


def first_of_each_text(slot: Tensor, text_key: Tensor) -> Tensor:
    """Tell which entries, sorted by slot, are the first of their slot and text, [n] bool."""
    # One hash of both, without its lowest bit, because the sort takes signed integers. It is stable, so the first entry
    # of a pair comes first in its run of equal keys.
    mixed = shifted_right(mix(text_key ^ mix(slot)), 1)
    key, order = torch.sort(mixed, stable=True)
    # Entries with the same key are of the same slot and text, or by a rare chance of others: those are kept
    is_same = (key[1:] == key[:-1]) & _same_as_before(slot[order], text_key[order])
    is_first = torch.ones_like(slot, dtype=torch.bool)
    is_first[order[1:]] = ~is_same
    return is_first


def _first_of_equal_ranks(slot: Tensor, rank: Tensor, text_key: Tensor) -> Tensor:
    """Tell the same where entries are sorted by slot and rank, and entries of the same text have the same rank."""
    is_first = torch.ones_like(slot, dtype=torch.bool)
    is_first[1:] = ~((rank[1:] == rank[:-1]) & _same_as_before(slot, text_key))
    return is_first


def _same_as_before(slot: Tensor, text_key: Tensor) -> Tensor:
    """Tell which entries but the first have the slot and the text of the entry before them, [n - 1] bool."""
    return (slot[1:] == slot[:-1]) & (text_key[1:] == text_key[:-1])


def index_in_group(sorted_groups: Tensor) -> Tensor:
    """Count 0, 1, 2, … within each run of equal values, [n] int64."""
    return _count_true(sorted_groups, torch.ones_like(sorted_groups, dtype=torch.bool))


def _count_true(sorted_groups: Tensor, mask: Tensor) -> Tensor:
    """Count, within each run of equal values, at how many earlier places the mask is true, [n] int64."""
    before = mask.cumsum(0) - mask.long()
    is_start = torch.ones_like(mask)
    is_start[1:] = sorted_groups[1:] != sorted_groups[:-1]
    # `before` never falls, so the largest value at a start so far is that of the run's own start
    at_start = torch.where(is_start, before, 0)
    return before - (torch.cummax(at_start, 0).values if len(mask) else at_start)
