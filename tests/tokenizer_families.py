"""Tokenizers of every family in use, trained on a few lines, with the components and added tokens of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from tests.tiny import QWEN_WORDS, SENTENCES

BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_3_WORDS = QWEN_WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
UNDERLINE = "\N{LOWER ONE EIGHTH BLOCK}"


@dataclass(frozen=True)
class Family:
    """A family of tokenizers: how one is made, and its known properties.

    train     makes the tokenizer
    config    its tokenizer_config.json
    the       how the token of " the" is written
    strips    whether its decoder removes the first space of a text
    is_exact  whether it keeps every character of a text, except a space before it
    """

    train: Callable[[], Tokenizer]
    config: dict[str, Any]
    the: str
    strips: bool = False
    is_exact: bool = True

    def write(self, folder: Path) -> Path:
        """Write a folder with the tokenizer's files."""
        folder.mkdir(parents=True, exist_ok=True)
        self.train().save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(self.config))
        return folder


def plain_tokens(texts: list[str]) -> list[AddedToken]:
    """Added tokens that are not special, such as runs of spaces."""
    return [AddedToken(text, special=False, normalized=False) for text in texts]


def byte_level(words: str = "", normalizer: Any = None, ignore_merges: bool = False) -> Tokenizer:
    """A byte-level BPE that splits words as GPT-2 does, unless an expression is given."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), alphabet])
        if words
        else alphabet
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def gpt2() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def gpt_neox() -> Tokenizer:
    tokenizer = byte_level(normalizer=normalizers.NFC())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    tokenizer.add_tokens(plain_tokens([" " * n for n in range(24, 1, -1)]))
    return tokenizer


def llama_3() -> Tokenizer:
    tokenizer = byte_level(LLAMA_3_WORDS, ignore_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    return tokenizer


def qwen2() -> Tokenizer:
    tokenizer = byte_level(QWEN_WORDS, normalizers.NFC())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(plain_tokens(["<tool_call>", "</tool_call>"]))
    return tokenizer


def sentencepiece_bpe(specials: list[str], added: list[str], normalizer: Any) -> Tokenizer:
    """A BPE on characters that falls back to bytes for unknown ones; `added` tokens are in its vocabulary too.

    Runs of spaces among them are how it encodes such runs.
    """
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizer
    trained.pre_tokenizer = pre_tokenizers.Split(UNDERLINE, "merged_with_next")
    text = [line for line in SENTENCES if line.isascii()]
    trained.train_from_iterator(text, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = [*specials, *added, *BYTE_TOKENS, *model["vocab"]]
    runs = [piece for piece in added if set(piece) == {UNDERLINE}]
    run_merges = [(run[:i], run[i:]) for run in runs for i in range(1, len(run))]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
            merges=[*(tuple(merge) for merge in model["merges"]), *run_merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens(specials)
    tokenizer.add_tokens(plain_tokens(added))
    return tokenizer


def llama_2() -> Tokenizer:
    prepended = [normalizers.Prepend(UNDERLINE), normalizers.Replace(" ", UNDERLINE)]
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>"], [], normalizers.Sequence(prepended))
    steps = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return tokenizer


def gemma() -> Tokenizer:
    runs = [UNDERLINE * n for n in range(2, 32)]
    tokenizer = sentencepiece_bpe(
        ["<pad>", "<eos>", "<bos>", "<unk>"],
        ["<unused0>", "[@BOS@]", *("\n" * n for n in range(1, 9)), *runs, "<h1>"],
        normalizers.Replace(" ", UNDERLINE),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    steps = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def t5() -> Tokenizer:
    specials, text = ["<pad>", "</s>", "<unk>"], " ".join(SENTENCES)
    words = sorted({word for word in text.split() if word.isalpha() and len(word) < 5})
    pieces = dict.fromkeys(specials, 0.0)
    pieces |= {f"{UNDERLINE}{word}": -4.0 for word in words} | {"ing": -4.0, UNDERLINE: -3.0}
    pieces |= dict.fromkeys(sorted({*text} - {*"#🐳", *" \n\t"}), -6.0)
    tokenizer = Tokenizer(models.Unigram([*pieces.items()], unk_id=2))
    single = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), single])
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*specials, "<extra_id_1>", "<extra_id_0>"])
    return tokenizer


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _named(kind: str, bos: str | None, eos: str | None) -> dict[str, Any]:
    return {"tokenizer_class": kind, "bos_token": bos, "eos_token": eos}


FAMILIES = {
    "gpt2": Family(gpt2, _named("GPT2Tokenizer", "<|endoftext|>", "<|endoftext|>"), "Ġthe"),
    "gpt-neox": Family(
        gpt_neox, _named("GPTNeoXTokenizer", "<|endoftext|>", "<|endoftext|>"), "Ġthe"
    ),
    "llama-2": Family(
        llama_2,
        {**_named("LlamaTokenizer", "<s>", "</s>"), "unk_token": "<unk>"},
        "▁the",
        strips=True,
    ),
    # As in the file; the library's class would make a Metaspace of its own
    "llama-2-file": Family(
        llama_2, _named("PreTrainedTokenizerFast", "<s>", "</s>"), "▁the", strips=True
    ),
    "llama-3": Family(
        llama_3, _named("PreTrainedTokenizerFast", "<|begin_of_text|>", "<|end_of_text|>"), "Ġthe"
    ),
    "gemma": Family(
        gemma, {**_named("GemmaTokenizer", "<bos>", "<eos>"), "unk_token": "<unk>"}, "▁the"
    ),
    "qwen2": Family(qwen2, _named("Qwen2Tokenizer", None, "<|endoftext|>"), "Ġthe"),
    "t5": Family(
        t5,
        {**_named("T5Tokenizer", None, "</s>"), "unk_token": "<unk>", "extra_ids": 2},
        "▁the",
        strips=True,
        is_exact=False,
    ),
    "bert": Family(
        bert,
        {"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]"},
        "the",
        strips=True,
        is_exact=False,
    ),
}
