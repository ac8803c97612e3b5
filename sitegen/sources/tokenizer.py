"""The tokenizer: text to ids, and each id's bytes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from sitegen.errors import SourceError
from sitegen.sources import hub
from sitegen.sources.provenance import Provenance, local_provenance

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
KIND_FILE = "config.json"  # names a tokenizer's class where its own files do not
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class TextTokenizer:
    """A fast tokenizer of `transformers`, with the ids of the tokens that it names for rows."""

    tokenizer: Any  # transformers.PreTrainedTokenizerFast: no type information
    provenance: Provenance
    bos_id: int | None  # None: it names none, as Qwen's
    eos_id: int | None

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids that the tokenizer declares special."""
        declared = {*self.tokenizer.all_special_ids, self.bos_id, self.eos_id}
        return tuple(sorted(declared - {None}))

    @property
    def content_hash(self) -> str:
        """SHA-256 of all that determines how text becomes ids."""
        return hashlib.sha256(self.definition.encode()).hexdigest()

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text. A special token's name in a text is plain text, never the special id."""
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        return [
            encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def id_of(self, text: str) -> int | None:
        """The id of the token that stands for a text; None if there is none."""
        table, wanted = self.token_bytes(), text.encode()
        written_so = self.tokenizer.get_vocab().get(text)  # before a single byte's own token
        if written_so is not None and table[written_so] == wanted:
            return int(written_so)
        return table.index(wanted) if wanted in table else None

    def text_of(self, token_id: int) -> str:
        """The text that an id stands for; bytes that are no whole character are replaced."""
        return (self.token_bytes()[token_id] or b"").decode(errors="replace")

    def token_bytes(self) -> list[bytes | None]:
        """[d_vocab] the bytes each id stands for; None where the vocabulary has a gap."""
        vocab = self.tokenizer.get_vocab()
        table: list[bytes | None] = [None] * (max(vocab.values()) + 1)
        added = set(self.tokenizer.get_added_vocab())
        to_bytes = self._decoder()
        for token, token_id in vocab.items():
            table[token_id] = token.encode() if token in added else to_bytes(token)
        return table

    @cached_property
    def definition(self) -> str:
        """The tokenizer.json: all that determines how text becomes ids."""
        return str(self.tokenizer.backend_tokenizer.to_str())

    def _decoder(self) -> Any:
        """How this kind of tokenizer writes bytes as characters, undone."""
        kinds = set(
            re.findall(r'"type": ?"(\w+)"', json.dumps(json.loads(self.definition)["decoder"]))
        )
        if "ByteLevel" in kinds:
            return _undo_byte_level
        if kinds & {"Metaspace", "ByteFallback", "Replace"}:
            return _undo_metaspace
        raise SourceError(
            f"{self.provenance.name}: a tokenizer whose decoder is {', '.join(sorted(kinds)) or 'none'} is not known "
            "here; byte-level and SentencePiece ones are"
        )


def load_tokenizer(name: str) -> TextTokenizer:
    """The tokenizer of a folder or of a Hub repository.

    raises  SourceError if it cannot be read or is no fast tokenizer
    """
    folder = Path(name)
    if folder.is_dir():
        files = [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
        provenance = local_provenance(folder.name, files)
    else:
        paths, provenance = hub.download(name, [TOKENIZER_FILES[0]], optional=TOKENIZER_FILES[1:])
        hub.download(name, [], optional=(KIND_FILE,))
        folder = paths[TOKENIZER_FILES[0]].parent  # what is loaded is what was hashed
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        fast = bool(tokenizer.is_fast)
    except (
        Exception
    ) as error:  # the libraries below raise plain Exception too for files they cannot read
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"{name}: no tokenizer can be read there ({reason[:160]})") from None
    if not fast:
        raise SourceError(f"{name}: it has no tokenizer.json, which is needed here")
    return TextTokenizer(tokenizer, provenance, tokenizer.bos_token_id, tokenizer.eos_token_id)


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


def _undo_byte_level(token: str) -> bytes:
    return bytes(_ALPHABET[character] for character in token)


def _undo_metaspace(token: str) -> bytes:
    if match := BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
