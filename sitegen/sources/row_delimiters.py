"""The tokens that rows have beside those of their text: what begins each row, and what stands behind each document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sitegen.config import CorpusConfig
from sitegen.errors import UsageError
from sitegen.sources.tokenizer import TextTokenizer

NONE = "none"  # of `corpus.bos` and `corpus.separator`: no such token
SAME_AS_BOS = "bos"  # of `corpus.separator`


@dataclass(frozen=True)
class RowDelimiters:
    """Ids that the making of rows adds to those of the documents."""

    bos_id: int | None  # the first of every row; None: rows begin with text
    separator_id: int | None  # behind every document; None: nothing stands between documents

    @property
    def ids(self) -> frozenset[int]:
        """Those that there are."""
        return frozenset(i for i in (self.bos_id, self.separator_id) if i is not None)

    @property
    def begin(self) -> int:
        """The position of a row's first token of text: 1 behind a BOS, 0 without one."""
        return 0 if self.bos_id is None else 1

    def begun(self, ids: Sequence[int]) -> list[int]:
        """The ids of a text as a row has them: behind BOS, if there is one."""
        return [*ids] if self.bos_id is None else [self.bos_id, *ids]

    def sentence(self, tokenizer: TextTokenizer) -> str:
        """How rows are made of documents, in words."""
        begin, behind = "text", "with nothing between them"
        if self.bos_id is not None:
            own = self.bos_id == tokenizer.bos_id
            begin = "BOS" if own else repr(tokenizer.text_of(self.bos_id))
        if self.separator_id is not None:
            own = self.separator_id == tokenizer.eos_id
            behind = (
                f"with {'EOS' if own else repr(tokenizer.text_of(self.separator_id))} behind each"
            )
        return (
            f"documents joined {behind}, cut to rows that begin with {begin}, the rest dropped, rows shuffled with "
            "numpy's default_rng(seed).permutation"
        )


def row_delimiters(config: CorpusConfig, tokenizer: TextTokenizer) -> RowDelimiters:
    """The marks that a configuration asks for; where it says nothing, the tokenizer's own BOS and EOS.

    raises  UsageError if a token that is named is not in the vocabulary, or the separator is to be a BOS that rows lack
    """
    bos_id = _chosen("corpus.bos", config.bos, tokenizer.bos_id, tokenizer)
    if config.separator != SAME_AS_BOS:
        separator = _chosen("corpus.separator", config.separator, tokenizer.eos_id, tokenizer)
        return RowDelimiters(bos_id, separator)
    if bos_id is None:
        raise UsageError(
            f"corpus.separator is {SAME_AS_BOS}, but rows have no BOS: set corpus.bos to a token of "
            f"{tokenizer.provenance.name}, or corpus.separator to one or to {NONE}"
        )
    return RowDelimiters(bos_id, bos_id)


def _chosen(field: str, name: str, own: int | None, tokenizer: TextTokenizer) -> int | None:
    """The id that a field's text asks for; None for no token.

    own  the tokenizer's, which an empty text stands for
    """
    if name == NONE:
        return None
    if not name:
        return own
    found = tokenizer.id_of(name)
    if found is None:
        raise UsageError(
            f"{field} is {name!r}, which is no token of {tokenizer.provenance.name}: give the text of one token of its "
            f"vocabulary, or {NONE}"
        )
    return found
