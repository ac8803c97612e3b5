"""The tokenizer: text to token ids, and the bytes of each token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sitegen.errors import SourceError
from sitegen.files import require_room
from sitegen.sources import hub
from sitegen.sources.decoding import BYTE_TOKEN, decode_tokens
from sitegen.sources.provenance import Provenance, local_provenance

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# The model's configuration, from which `transformers` takes the tokenizer's class if the other files do not name it
KIND_FILE = "config.json"


@dataclass(frozen=True)
class TextTokenizer:
    """A fast tokenizer of `transformers`.

    tokenizer  transformers.PreTrainedTokenizerFast, which has no type information
    bos_id     None if the tokenizer declares no BOS, as Qwen's does not
    eos_id     None if it declares no EOS
    """

    tokenizer: Any
    provenance: Provenance
    bos_id: int | None
    eos_id: int | None

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that the tokenizer declares special."""
        declared = {*self.tokenizer.all_special_ids, self.bos_id, self.eos_id}
        return tuple(sorted(declared - {None}))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the definition, which determines how text becomes ids."""
        return hashlib.sha256(self.definition.encode()).hexdigest()

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Encode each text to token ids. A special token's name in a text is plain text, never the special id."""
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        return [
            encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def id_of(self, text: str) -> int | None:
        """Id of the token whose text this is, or of the special token with this name; None if there is none.

        Several tokens can have the same text. The one whose name in the vocabulary is the text comes first, a token
        of a single byte last.
        """
        table, expected = self.token_bytes(), text.encode()
        by_name = self.tokenizer.get_vocab().get(text)
        if by_name is not None and (table[by_name] == expected or by_name in self.special_ids):
            return int(by_name)
        found = [token_id for token_id, token in enumerate(table) if token == expected]
        return min(found, key=lambda token_id: (self._is_byte(token_id), token_id), default=None)

    def text_of(self, token_id: int) -> str:
        """Text of a token; bytes that are not a whole character become replacement characters."""
        return (self.token_bytes()[token_id] or b"").decode(errors="replace")

    def token_bytes(self) -> list[bytes | None]:
        """Bytes [d_vocab] of each token's text inside a longer text; None for ids that the vocabulary lacks.

        raises  SourceError if the tokenizer's decoder does not determine them
        """
        return self._token_bytes

    @cached_property
    def definition(self) -> str:
        """Contents of the tokenizer.json, which determines how text becomes ids."""
        return str(self.tokenizer.backend_tokenizer.to_str())

    @cached_property
    def _token_bytes(self) -> list[bytes | None]:
        found = decode_tokens(self.tokenizer.backend_tokenizer, self.provenance.name)
        return [found.get(token_id) for token_id in range(max(found) + 1)]

    def _is_byte(self, token_id: int) -> bool:
        return BYTE_TOKEN.fullmatch(self.tokenizer.convert_ids_to_tokens(token_id)) is not None


def load_tokenizer(name: str) -> TextTokenizer:
    """Load the tokenizer of a folder or of a Hub repository.

    raises  SourceError if it cannot be read, is not a fast tokenizer, or does not determine the text of its tokens
    """
    folder = Path(name)
    if folder.is_dir():
        files = [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
        provenance = local_provenance(folder.name, files)
    else:
        paths, provenance = hub.download(name, [TOKENIZER_FILES[0]], optional=TOKENIZER_FILES[1:])
        hub.download(name, [], optional=(KIND_FILE,))
        # Loaded from the cache's folder, not by name, so that the files loaded are the files that were hashed
        folder = paths[TOKENIZER_FILES[0]].parent
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        fast = bool(tokenizer.is_fast)
    # The libraries raise even plain Exception for files that they cannot read
    except Exception as error:
        require_room(error, hub.cache_folder())
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(
            f"{name}: no tokenizer can be read from there ({reason[:160]}): set model.tokenizer to the folder or "
            "repository of one"
        ) from None
    if not fast:
        raise SourceError(
            f"{name}: its tokenizer has no tokenizer.json, which is required: set model.tokenizer to a folder or "
            "repository that has one"
        )
    found = TextTokenizer(tokenizer, provenance, tokenizer.bos_token_id, tokenizer.eos_token_id)
    # Raises for a decoder that is not supported now, not after hours of sweeping
    found.token_bytes()
    return found
