"""What each id of a tokenizer stands for, as the tokenizer's own decoder puts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from tokenizers import Tokenizer, pre_tokenizers

from sitegen.errors import SourceError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # how SentencePiece writes a single byte
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what decoders make of bytes that are no whole character


def decoded_tokens(backend: Tokenizer, name: str) -> dict[int, bytes]:
    """The bytes of every id in the vocabulary, those of special and other added tokens included.

    Each id is decoded between two others, as it stands in a text: decoders strip the space that a whole text begins
    with, and may end the last token otherwise. Bytes that are no whole character are read from how the token is
    written, since a decoder shows them all alike.

    name    of the tokenizer, for messages
    raises  SourceError if the decoder does not give each token a text of its own, or there is none
    """
    written = {token_id: token for token, token_id in backend.get_vocab().items()}
    # Of single bytes in a row a decoder makes characters, or none of all of them
    candidates = sorted(i for i, token in written.items() if not BYTE_TOKEN.fullmatch(token))
    neighbour = _neighbour(backend, candidates, name)
    between = [[neighbour.token_id, token_id, neighbour.token_id] for token_id in written]
    texts = backend.decode_batch(between, skip_special_tokens=False)
    own = {i: neighbour.without(text) for i, text in zip(written, texts, strict=True)}
    kinds, added = _decoder_kinds(backend), set(backend.get_added_tokens_decoder())
    table = {}
    for token_id, text in own.items():
        found = None if text is None else _bytes(text, written[token_id], kinds, token_id in added)
        if found is None:
            raise _refusal(backend, name, f"makes of {written[token_id]!r} what is not known here")
        table[token_id] = found
    return table


def _decoder_kinds(backend: Tokenizer) -> set[str]:
    """The types of the steps of a tokenizer's decoder."""
    decoder = json.dumps(json.loads(backend.to_str())["decoder"])
    return set(re.findall(r'"type": ?"(\w+)"', decoder))


def _bytes(text: str, written: str, kinds: set[str], is_added: bool) -> bytes | None:
    """The bytes of a token from the text that its decoder gives it and from how it is written; None: they disagree."""
    if REPLACEMENT not in text:
        return text.encode()
    if "ByteFallback" in kinds and (match := BYTE_TOKEN.fullmatch(written)):
        found = bytes([int(match[1], 16)])
    elif "ByteLevel" in kinds and _ALPHABET.keys() >= set(written):
        if is_added:  # it stands for itself in a text, which the decoder takes for bytes
            return written.encode()
        found = bytes(_ALPHABET[character] for character in written)
    else:
        return text.encode()
    return found if found.decode(errors="replace") == text else None


class _Neighbour(NamedTuple):
    """A token that leaves what stands beside it as it is."""

    token_id: int
    first: str  # its text at the start of a sequence
    later: str  # its text elsewhere

    def without(self, text: str) -> str | None:
        """What stands between two of it; None where that changed them."""
        end = len(text) - len(self.later)
        is_whole = text.startswith(self.first) and text.endswith(self.later)
        return text[len(self.first) : end] if is_whole and end >= len(self.first) else None


def _neighbour(backend: Tokenizer, ids: Iterable[int], name: str) -> _Neighbour:
    """The first token that is a letter or word without a space, of which each further one adds the same text."""
    for token_id in ids:
        one, two, three = (
            backend.decode([token_id] * n, skip_special_tokens=False) for n in (1, 2, 3)
        )
        added = two.removeprefix(one)
        if added.isascii() and added.isalnum() and [one + added, two + added] == [two, three]:
            return _Neighbour(token_id, one, added)
    raise _refusal(backend, name, "puts something between any two, or drops some")


def _refusal(backend: Tokenizer, name: str, what: str) -> SourceError:
    kinds = ", ".join(sorted(_decoder_kinds(backend))) or "none"
    return SourceError(
        f"{name}: what its tokens stand for cannot be told, the decoder in its tokenizer.json ({kinds}) {what}: "
        "set model.tokenizer to a folder whose decoder joins tokens as they are"
    )


def _byte_alphabet() -> dict[str, int]:
    """The byte behind each character of the byte-level alphabet.

    source  GPT-2's encoder: printable Latin-1 bytes stand for themselves, the others follow from U+0100 on
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(own)]
    alphabet = {chr(byte): byte for byte in own} | {
        chr(0x100 + n): byte for n, byte in enumerate(others)
    }
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    return alphabet


_ALPHABET = _byte_alphabet()
