"""Defaults of the rows, taken from the text that an autoencoder's own settings declare it was trained on."""

from __future__ import annotations

import dataclasses

from sitegen.config import CorpusConfig
from sitegen.errors import UsageError
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.row_delimiters import NONE, SAME_AS_BOS, RowDelimiters
from sitegen.sources.tokenizer import TextTokenizer

SEQ_LEN = 128  # tokens per row if neither the configuration nor the autoencoder declares a length


def with_text_defaults(
    corpus: CorpusConfig, autoencoder: Autoencoder, tokenizer: TextTokenizer
) -> CorpusConfig:
    """Fill the open settings of the rows from the autoencoder's own settings.

    raises  UsageError if neither names a text
    """
    trained_on = autoencoder.architecture.text
    bos, dataset = corpus.bos, corpus.dataset
    if not bos and trained_on.prepend_bos is False:
        bos = NONE
    if not dataset and not corpus.files:
        if not trained_on.dataset:
            raise UsageError(
                f"there is no text to read, and {autoencoder.provenance.name} declares no dataset: set corpus.files or "
                "corpus.dataset"
            )
        dataset = trained_on.dataset
    return dataclasses.replace(
        corpus,
        dataset=dataset,
        seq_len=corpus.seq_len or trained_on.context_size or SEQ_LEN,
        bos=bos,
        separator=corpus.separator or _translate_separator(trained_on.separator, bos, tokenizer),
    )


def _translate_separator(separator: str | None, bos: str, tokenizer: TextTokenizer) -> str:
    """Translate SAELens' name of a separator to a value of `corpus.separator`.

    `eos` and unknown names become an empty text, which stands for the tokenizer's EOS.
    """
    if separator == NONE:
        return NONE
    if separator != "bos" or tokenizer.bos_id is None:
        return ""
    # Rows that do not start with BOS may still have it between documents; it is then named by its text
    return tokenizer.text_of(tokenizer.bos_id) if bos == NONE else SAME_AS_BOS


def text_differences(
    corpus: CorpusConfig,
    delimiters: RowDelimiters,
    autoencoder: Autoencoder,
    tokenizer: TextTokenizer,
) -> list[str]:
    """List how a run's rows differ from the rows that the autoencoder was trained on, one sentence each.

    corpus   settings as `with_text_defaults` returns them
    returns  an empty list if nothing differs, or the autoencoder's settings declare nothing
    """
    trained_on, name = autoencoder.architecture.text, autoencoder.provenance.name
    found = []
    if trained_on.context_size is not None and trained_on.context_size != corpus.seq_len:
        found.append(
            f"{name} was trained on rows of {trained_on.context_size:,} tokens, but this run's rows have "
            f"{corpus.seq_len:,} tokens"
        )
    has_bos = delimiters.bos_id is not None
    if trained_on.prepend_bos is not None and trained_on.prepend_bos != has_bos:
        before, now = ("with", "without") if trained_on.prepend_bos else ("without", "with")
        found.append(f"{name} was trained on rows {before} BOS, but this run's rows are {now} BOS")
    expected = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, NONE: None}
    separator = trained_on.separator
    # A separator of another name has no id here, so -1 makes it differ from every separator
    if separator is not None and expected.get(separator, -1) != delimiters.separator_id:
        now = (
            "nothing"
            if delimiters.separator_id is None
            else repr(tokenizer.text_of(delimiters.separator_id))
        )
        before = "nothing" if separator == NONE else separator
        found.append(
            f"{name} was trained on documents with {before} between them, but this run's documents have {now} between "
            "them"
        )
    if trained_on.dataset and trained_on.dataset != corpus.dataset:
        now = corpus.dataset or "your own files"
        found.append(
            f"{name} was trained on text of {trained_on.dataset}, but this run reads {now}"
        )
    return found
