"""Token ids as text on pages."""

from __future__ import annotations

from collections.abc import Sequence

from sitegen.records import TokenText
from sitegen.render.text import TokenGroup, group_tokens, visible


class Vocabulary:
    """Token texts by id, and which ids are special."""

    def __init__(self, tokens: list[TokenText], special_ids: Sequence[int]) -> None:
        self.tokens = tokens
        self.special_ids = frozenset(special_ids)
        self._visible = [visible(token) for token in tokens]
        self._raw = [
            token if isinstance(token, str) and i not in self.special_ids else " "
            for i, token in enumerate(tokens)
        ]
        self._fragments = frozenset(i for i, token in enumerate(tokens) if type(token) is bytes)

    def texts(self, ids: Sequence[int]) -> list[str] | None:
        """Each token's text; None unless every token is whole characters."""
        return (
            list(map(self._visible.__getitem__, ids)) if self._fragments.isdisjoint(ids) else None
        )

    def groups(self, ids: Sequence[int]) -> list[TokenGroup]:
        """The tokens in groups of whole characters."""
        texts = self.texts(ids)
        # Nearly always possible, and several times as fast as grouping
        if texts is not None:
            return [TokenGroup(i, i, text) for i, text in enumerate(texts)]
        return group_tokens([self.tokens[token] for token in ids])

    def plain_text(self, ids: Sequence[int]) -> str:
        """The text of the tokens as in the corpus, with a space in place of each special token."""
        if self._fragments.isdisjoint(ids):
            return "".join(map(self._raw.__getitem__, ids))
        parts = (self.tokens[i] if i in self._fragments else self._raw[i].encode() for i in ids)
        return b"".join(part for part in parts if isinstance(part, bytes)).decode(errors="replace")
