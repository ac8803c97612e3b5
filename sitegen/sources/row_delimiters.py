"""Row delimiters: the BOS at the start of each row and the separator after each document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sitegen.config import CorpusConfig
from sitegen.errors import UsageError
from sitegen.sources.tokenizer import TextTokenizer

NONE = "none"  # value of `corpus.bos` and `corpus.separator`: no such token
SAME_AS_BOS = "bos"  # value of `corpus.separator`: the token that rows start with


@dataclass(frozen=True)
class RowDelimiters:
    """Ids that are added to the text's own ids when rows are made.

    bos_id        first id of every row; None: rows start with text
    separator_id  after every document; None: documents follow each other directly
    """

    bos_id: int | None
    separator_id: int | None

    @property
    def ids(self) -> frozenset[int]:
        """Ids of the delimiters that are in use."""
        return frozenset(i for i in (self.bos_id, self.separator_id) if i is not None)

    @property
    def text_start(self) -> int:
        """Position of a row's first token of text: 1 after a BOS, 0 without one."""
        return 0 if self.bos_id is None else 1

    def prepend_bos(self, ids: Sequence[int]) -> list[int]:
        """Return the ids of a text as they are at the start of a row: after the BOS, if there is one."""
        return [*ids] if self.bos_id is None else [self.bos_id, *ids]

    def sentence(self, tokenizer: TextTokenizer) -> str:
        """Describe how rows are made of documents, for the manifest."""
        start, separator = "text", "with nothing between them"
        if self.bos_id is not None:
            is_default = self.bos_id == tokenizer.bos_id
            start = "BOS" if is_default else repr(tokenizer.text_of(self.bos_id))
        if self.separator_id is not None:
            is_default = self.separator_id == tokenizer.eos_id
            name = "EOS" if is_default else repr(tokenizer.text_of(self.separator_id))
            separator = f"with {name} behind each"
        return (
            f"documents joined {separator}, cut to rows that begin with {start}, the rest dropped, rows shuffled with "
            "numpy's default_rng(seed).permutation"
        )


def row_delimiters(config: CorpusConfig, tokenizer: TextTokenizer) -> RowDelimiters:
    """Choose the row delimiters that a configuration names; by default the tokenizer's own BOS and EOS.

    raises  UsageError if a named token is not in the vocabulary, or the separator should be a BOS that rows lack
    """
    bos_id = _token_id("corpus.bos", config.bos, tokenizer.bos_id, tokenizer)
    if config.separator != SAME_AS_BOS:
        separator = _token_id("corpus.separator", config.separator, tokenizer.eos_id, tokenizer)
        return RowDelimiters(bos_id, separator)
    if bos_id is None:
        raise UsageError(
            f"corpus.separator is {SAME_AS_BOS}, but rows have no BOS: set corpus.bos to a token of "
            f"{tokenizer.provenance.name}, or set corpus.separator to a token or to {NONE}"
        )
    return RowDelimiters(bos_id, bos_id)


def _token_id(field: str, name: str, default: int | None, tokenizer: TextTokenizer) -> int | None:
    """Id of the token that a configuration field names; None for no token.

    default  id for an empty field
    """
    if name == NONE:
        return None
    if not name:
        return default
    token_id = tokenizer.id_of(name)
    if token_id is None:
        raise UsageError(
            f"{field} is {name!r}, which is not a token of {tokenizer.provenance.name}: give the text of a single "
            f"token of its vocabulary, or {NONE}"
        )
    return token_id
