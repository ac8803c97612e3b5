"""The demo's tokenizer, and documents as rows of token ids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.training.documents import Document

EOS, BOS, PAD = "<|EOS|>", "<|BOS|>", "<|PAD|>"
SAMPLE_STRIDE = 4


def train_tokenizer(train: list[Document], vocab_size: int, path: Path) -> Tokenizer:
    """A byte-level BPE tokenizer, digits split singly, EOS 0, BOS 1, PAD 2; saved at `path`.

    It is trained on every fourth document: more text does not change a merge table of a few thousand entries.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS, BOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((document.text for document in train[::SAMPLE_STRIDE]), trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return tokenizer


def token_rows(tokenizer: Tokenizer, texts: Iterable[Document], seq_len: int) -> np.ndarray:
    """Token ids [n_rows, seq_len] uint16 of documents, cut to rows that begin with BOS.

    The documents follow one another, each with EOS behind it. Tokens that do not fill a last row are dropped.
    """
    tokenizer.encode_special_tokens = True  # `<|BOS|>` in a text is text
    encodings = tokenizer.encode_batch([document.text for document in texts])
    eos, bos = tokenizer.token_to_id(EOS), tokenizer.token_to_id(BOS)
    stream = np.concatenate([np.array([*encoding.ids, eos], np.uint16) for encoding in encodings])
    body = seq_len - 1
    n_rows = len(stream) // body
    rows = np.full((n_rows, seq_len), bos, np.uint16)
    rows[:, 1:] = stream[: n_rows * body].reshape(n_rows, body)
    return rows
