"""What an autoencoder's own settings say of the text it was trained on: the defaults of the rows."""

from __future__ import annotations

import dataclasses

from sitegen.config import CorpusConfig
from sitegen.errors import UsageError
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.row_delimiters import NONE, SAME_AS_BOS, RowDelimiters
from sitegen.sources.tokenizer import TextTokenizer

SEQ_LEN = 128  # where neither the configuration nor the autoencoder gives one


def with_text_defaults(
    corpus: CorpusConfig, autoencoder: Autoencoder, tokenizer: TextTokenizer
) -> CorpusConfig:
    """The configuration of the rows, with what it leaves open filled in from the autoencoder's own settings.

    raises  UsageError if there is no text then
    """
    own = autoencoder.architecture.text
    bos, dataset = corpus.bos, corpus.dataset
    if not bos and own.prepend_bos is False:
        bos = NONE
    if not dataset and not corpus.files:
        if not own.dataset:
            raise UsageError(
                f"there is no text: give corpus.files or corpus.dataset, {autoencoder.provenance.name} names no dataset"
            )
        dataset = own.dataset
    return dataclasses.replace(
        corpus,
        dataset=dataset,
        seq_len=corpus.seq_len or own.context_size or SEQ_LEN,
        bos=bos,
        separator=corpus.separator or _separator(own.separator, bos, tokenizer),
    )


def _separator(own: str | None, bos: str, tokenizer: TextTokenizer) -> str:
    """SAELens' word for it as `corpus.separator`; empty, the tokenizer's EOS, for `eos` and what is not known here."""
    if own == NONE:
        return NONE
    if own != "bos" or tokenizer.bos_id is None:
        return ""
    # Rows without BOS may have one between documents all the same
    return tokenizer.text_of(tokenizer.bos_id) if bos == NONE else SAME_AS_BOS


def differences(
    corpus: CorpusConfig,
    delimiters: RowDelimiters,
    autoencoder: Autoencoder,
    tokenizer: TextTokenizer,
) -> list[str]:
    """How the rows of a run differ from those that the autoencoder's settings say it was trained on, a sentence each.

    corpus  as `with_text_defaults` leaves it
    """
    own, name = autoencoder.architecture.text, autoencoder.provenance.name
    found = []
    if own.context_size is not None and own.context_size != corpus.seq_len:
        found.append(
            f"{name} was trained on rows of {own.context_size:,} tokens, this run's have {corpus.seq_len:,}"
        )
    if own.prepend_bos is not None and own.prepend_bos != (delimiters.bos_id is not None):
        trained, here = ("with", "without") if own.prepend_bos else ("without", "with")
        found.append(f"{name} was trained on rows {trained} BOS, this run's are {here}")
    wanted = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, NONE: None}
    if own.separator is not None and wanted.get(own.separator, -1) != delimiters.separator_id:
        here = (
            "nothing"
            if delimiters.separator_id is None
            else repr(tokenizer.text_of(delimiters.separator_id))
        )
        found.append(
            f"{name} was trained on documents with {own.separator} between them, this run's have {here} there"
        )
    if own.dataset and own.dataset != corpus.dataset:
        here = corpus.dataset or "files of your own"
        found.append(f"{name} was trained on text of {own.dataset}, this run reads {here}")
    return found
