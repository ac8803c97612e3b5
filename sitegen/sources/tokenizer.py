"""The tokenizer: text to ids, and each id's bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sitegen.errors import SourceError
from sitegen.files import require_room
from sitegen.sources import hub
from sitegen.sources.decoding import BYTE_TOKEN, decoded_tokens
from sitegen.sources.provenance import Provenance, local_provenance

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
KIND_FILE = "config.json"  # names a tokenizer's class where its own files do not


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
        """The id of the token that stands for a text, of a special token for its name; None if there is none.

        Of several, the one that is written so, and a single byte's own token last.
        """
        table, wanted = self.token_bytes(), text.encode()
        written_so = self.tokenizer.get_vocab().get(text)
        if written_so is not None and (
            table[written_so] == wanted or written_so in self.special_ids
        ):
            return int(written_so)
        found = [token_id for token_id, token in enumerate(table) if token == wanted]
        return min(found, key=lambda token_id: (self._is_byte(token_id), token_id), default=None)

    def text_of(self, token_id: int) -> str:
        """The text that an id stands for; bytes that are no whole character are replaced."""
        return (self.token_bytes()[token_id] or b"").decode(errors="replace")

    def token_bytes(self) -> list[bytes | None]:
        """[d_vocab] the bytes each id stands for within a text; None where the vocabulary has a gap.

        raises  SourceError if the tokenizer's decoder does not tell
        """
        return self._token_bytes

    @cached_property
    def definition(self) -> str:
        """The tokenizer.json: all that determines how text becomes ids."""
        return str(self.tokenizer.backend_tokenizer.to_str())

    @cached_property
    def _token_bytes(self) -> list[bytes | None]:
        found = decoded_tokens(self.tokenizer.backend_tokenizer, self.provenance.name)
        return [found.get(token_id) for token_id in range(max(found) + 1)]

    def _is_byte(self, token_id: int) -> bool:
        return BYTE_TOKEN.fullmatch(self.tokenizer.convert_ids_to_tokens(token_id)) is not None


def load_tokenizer(name: str) -> TextTokenizer:
    """The tokenizer of a folder or of a Hub repository.

    raises  SourceError if it cannot be read, is no fast tokenizer, or does not tell what its tokens stand for
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
        require_room(error, hub.cache_folder())
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"{name}: no tokenizer can be read there ({reason[:160]})") from None
    if not fast:
        raise SourceError(f"{name}: it has no tokenizer.json, which is needed here")
    found = TextTokenizer(tokenizer, provenance, tokenizer.bos_token_id, tokenizer.eos_token_id)
    found.token_bytes()  # refused now rather than behind a sweep of hours
    return found
