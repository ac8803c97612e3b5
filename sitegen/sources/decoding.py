"""The bytes of each token of a vocabulary, as the tokenizer's own decoder gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from tokenizers import Tokenizer, pre_tokenizers

from sitegen.errors import SourceError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")  # a single byte, as SentencePiece writes it
# Decoders put this character where bytes are not a whole character
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def decode_tokens(backend: Tokenizer, name: str) -> dict[int, bytes]:
    """Decode every id in the vocabulary, special and other added tokens included, to the bytes of its text.

    Each id is decoded between two other tokens, because decoders strip the leading space of a whole text and may treat
    the last token differently. Bytes that are not a whole character are taken from the token's name in the vocabulary,
    because a decoder shows all of them as the same replacement character.

    name    of the tokenizer, for messages
    raises  SourceError if there is no decoder, or it does not give each token a text of its own
    """
    names = {token_id: token for token, token_id in backend.get_vocab().items()}
    # A byte token cannot be the neighbour: a decoder combines consecutive byte tokens into one character, or replaces
    # all of them if they do not make one
    candidates = sorted(i for i, token in names.items() if not BYTE_TOKEN.fullmatch(token))
    neighbour = _find_neighbour(backend, candidates, name)
    sequences = [[neighbour.token_id, token_id, neighbour.token_id] for token_id in names]
    decoded = backend.decode_batch(sequences, skip_special_tokens=False)
    texts = {i: neighbour.strip_from(text) for i, text in zip(names, decoded, strict=True)}
    kinds, added = _decoder_kinds(backend), set(backend.get_added_tokens_decoder())
    table = {}
    for token_id, text in texts.items():
        token = names[token_id]
        found = None if text is None else _token_bytes(text, token, kinds, token_id in added)
        if found is None:
            raise _decoder_error(backend, name, f"decodes {token!r} in a way that is not supported")
        table[token_id] = found
    return table


def _decoder_kinds(backend: Tokenizer) -> set[str]:
    """Types of the steps of a tokenizer's decoder."""
    decoder = json.dumps(json.loads(backend.to_str())["decoder"])
    return set(re.findall(r'"type": ?"(\w+)"', decoder))


def _token_bytes(text: str, name: str, kinds: set[str], is_added: bool) -> bytes | None:
    """Bytes of a token, from its decoded text and its name in the vocabulary; None if the two disagree."""
    if REPLACEMENT not in text:
        return text.encode()
    if "ByteFallback" in kinds and (match := BYTE_TOKEN.fullmatch(name)):
        found = bytes([int(match[1], 16)])
    elif "ByteLevel" in kinds and _ALPHABET.keys() >= set(name):
        # An added token is matched in the text by its literal name, but the decoder reads its letters as the
        # byte-level alphabet and so damages it
        if is_added:
            return name.encode()
        found = bytes(_ALPHABET[character] for character in name)
    else:
        return text.encode()
    return found if found.decode(errors="replace") == text else None


class _Neighbour(NamedTuple):
    """A token that leaves the text of the token beside it unchanged."""

    token_id: int
    first: str  # its text at the start of a sequence
    later: str  # its text elsewhere

    def strip_from(self, text: str) -> str | None:
        """Text between two copies of this token; None if the copies themselves were changed."""
        end = len(text) - len(self.later)
        is_whole = text.startswith(self.first) and text.endswith(self.later)
        return text[len(self.first) : end] if is_whole and end >= len(self.first) else None


def _find_neighbour(backend: Tokenizer, ids: Iterable[int], name: str) -> _Neighbour:
    """Find the first token that is letters or digits without a space and adds the same text each time it repeats."""
    for token_id in ids:
        one, two, three = (
            backend.decode([token_id] * n, skip_special_tokens=False) for n in (1, 2, 3)
        )
        added = two.removeprefix(one)
        if added.isascii() and added.isalnum() and [one + added, two + added] == [two, three]:
            return _Neighbour(token_id, one, added)
    raise _decoder_error(backend, name, "inserts text between any two tokens, or drops tokens")


def _decoder_error(backend: Tokenizer, name: str, fault: str) -> SourceError:
    kinds = ", ".join(sorted(_decoder_kinds(backend))) or "none"
    return SourceError(
        f"{name}: the text of its tokens cannot be determined, because the decoder in its tokenizer.json ({kinds}) "
        f"{fault}: set model.tokenizer to a folder whose decoder joins tokens unchanged"
    )


def _byte_alphabet() -> dict[str, int]:
    """Map each character of the byte-level alphabet to its byte.

    source  GPT-2's encoder: printable Latin-1 bytes stand for themselves, the others follow from U+0100 on
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): byte for byte in printable} | {
        chr(0x100 + n): byte for n, byte in enumerate(others)
    }
    assert set(alphabet) == set(pre_tokenizers.ByteLevel.alphabet())
    return alphabet


_ALPHABET = _byte_alphabet()
