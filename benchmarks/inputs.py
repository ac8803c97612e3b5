"""Inputs of gelu-1l's shape made from a seed: model, tokenizer, autoencoder and text, as files that a preset reads.

Weights are random, so features have no meaning; widths, densities and file layouts are those of the real one.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from sitegen.sources.model import load_model
from sitegen.sources.tokenizer import load_tokenizer

D_MODEL, N_HEADS, D_HEAD, D_MLP, N_CTX, D_VOCAB = 512, 8, 64, 2048, 1024, 48262
D_HIDDEN = 16384
SEQ_LEN = 128
HOOK_POINT = "blocks.0.mlp.hook_post"
SEED = 7
SPECIALS = ["<|EOS|>", "<|BOS|>", "<|PAD|>"]

# Densities are log-normal: a mean of half a percent, with dense features and rare ones on either side.
MEDIAN_DENSITY, DENSITY_SPREAD = 2e-3, 1.35
N_WORDS = 60_000
WORDS_A_DOCUMENT = 400
CALIBRATION_ROWS = 128
FEATURES_AT_ONCE = 4096


@dataclass(frozen=True)
class BenchmarkInputs:
    """Paths of the files."""

    folder: Path

    @property
    def preset(self) -> Path:
        """A TOML preset for all of the text; `--rows` uses less."""
        return self.folder / "gelu-shape.toml"

    @property
    def autoencoder(self) -> Path:
        """W_enc, b_enc, W_dec, b_dec as safetensors."""
        return self.folder / "autoencoder.safetensors"


def make_inputs(folder: Path, n_rows: int) -> BenchmarkInputs:
    """Make the inputs, with text for at least `n_rows` rows; existing files are kept."""
    inputs = BenchmarkInputs(folder)
    text = make_text_and_model(folder, n_rows)
    for path, seed in ((inputs.autoencoder, SEED + 2), (folder / "second.safetensors", SEED + 4)):
        if not path.exists():
            save_file(autoencoder_weights(folder, seed, HOOK_POINT, D_HIDDEN), path)
    inputs.preset.write_text(
        f'[model]\nname = "model"\ntokenizer = "tokenizer"\nhook_point = "{HOOK_POINT}"\n'
        '[autoencoder]\nsource = "autoencoder.safetensors"\naccept_poor_fit = true\n'  # random weights fit nothing
        '[other]\nsource = "second.safetensors"\n'
        f'[corpus]\nfiles = ["{text.name}"]\nseq_len = {SEQ_LEN}\n'
        '[site]\ntitle = "gelu-1l\'s shape"\ndescription = "Random weights at full width, for measuring."\n'
    )
    return inputs


def make_text_and_model(folder: Path, n_rows: int) -> Path:
    """Make tokenizer, model and text for at least `n_rows` rows; return the text's path. Existing files are kept."""
    text = folder / f"text-{n_rows}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    words = _words()
    if not (folder / "tokenizer").is_dir():
        _write_tokenizer(folder / "tokenizer", words)
    if not text.exists():
        _write_text(text, words, n_rows)
    if not (folder / "model").is_dir():
        _write_model(folder / "model")
    return text


def _words() -> list[str]:
    """Pronounceable words without meaning, the most frequent first."""
    random = np.random.default_rng(SEED)
    onsets = np.array([*"bcdfghjklmnprstvw", "st", "tr", "pl", "br", "sh", "th", "ch"])
    vowels = np.array([*"aeiou", "ai", "ea", "ou"])
    codas = np.array(["", "n", "r", "s", "t", "l", "m", "nd", "st"])
    n_syllables = random.choice([1, 2, 3, 4], size=4 * N_WORDS, p=[0.2, 0.4, 0.3, 0.1])
    syllables = [
        "".join(parts)
        for parts in zip(
            random.choice(onsets, 10 * N_WORDS),
            random.choice(vowels, 10 * N_WORDS),
            random.choice(codas, 10 * N_WORDS),
            strict=True,
        )
    ]
    ends = np.cumsum(n_syllables)
    made = (
        "".join(syllables[end - n : end])
        for n, end in zip(n_syllables, ends, strict=True)
        if end <= len(syllables)
    )
    return list(dict.fromkeys(made))[:N_WORDS]


def _sample_words(words: list[str], n_words: int, seed: int) -> np.ndarray:
    """Random words with frequencies by Zipf's law."""
    share = 1 / (np.arange(len(words)) + 2.7)
    return np.random.default_rng(seed).choice(np.array(words), n_words, p=share / share.sum())


def _write_tokenizer(folder: Path, words: list[str]) -> None:
    """Write a byte-level BPE tokenizer like that of gelu-1l, with exactly its number of tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=D_VOCAB,
        special_tokens=SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f" {word}" for word in words), trainer)
    assert tokenizer.get_vocab_size() == D_VOCAB
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIALS[0],
        "bos_token": SPECIALS[1],
        "pad_token": SPECIALS[2],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_text(path: Path, words: list[str], n_rows: int) -> None:
    """Write documents of some hundred words; a word is one token or more, so that the rows are filled."""
    n_documents = -(-n_rows * SEQ_LEN // WORDS_A_DOCUMENT)
    drawn = _sample_words(words, n_documents * WORDS_A_DOCUMENT, SEED + 1)
    with path.open("w") as file:
        for document in drawn.reshape(n_documents, WORDS_A_DOCUMENT):
            file.write(json.dumps({"text": " ".join(document)}) + "\n")


def _write_model(folder: Path) -> None:
    folder.mkdir()
    save_file(_model_weights(), folder / "model.safetensors")
    values = {
        "d_model": D_MODEL,
        "n_layers": 1,
        "d_mlp": D_MLP,
        "d_head": D_HEAD,
        "n_heads": N_HEADS,
        "n_ctx": N_CTX,
        "d_vocab": D_VOCAB,
        "act_fn": "gelu",
        "normalization": "LN",
    }
    (folder / "config.json").write_text(json.dumps(values))


def _model_weights() -> dict[str, Tensor]:
    """Random weights under the legacy layout's names, scaled so that activations keep about unit size."""
    generator = torch.Generator().manual_seed(SEED)

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    norms = {
        f"{name}.{part}": torch.ones(D_MODEL) if part == "w" else torch.zeros(D_MODEL)
        for name in ("blocks.0.ln1", "blocks.0.ln2", "ln_final")
        for part in "wb"
    }
    attention = {
        f"blocks.0.attn.W_{name}": normal(N_HEADS, D_MODEL, D_HEAD, std=D_MODEL**-0.5)
        for name in "QKV"
    }
    biases = {f"blocks.0.attn.b_{name}": torch.zeros(N_HEADS, D_HEAD) for name in "QKV"}
    return {
        "embed.W_E": normal(D_VOCAB, D_MODEL, std=1.0),
        "pos_embed.W_pos": normal(N_CTX, D_MODEL, std=0.1),
        **attention,
        **biases,
        "blocks.0.attn.W_O": normal(N_HEADS, D_HEAD, D_MODEL, std=D_MODEL**-0.5),
        "blocks.0.attn.b_O": torch.zeros(D_MODEL),
        **norms,
        "blocks.0.mlp.W_in": normal(D_MODEL, D_MLP, std=D_MODEL**-0.5),
        "blocks.0.mlp.b_in": torch.zeros(D_MLP),
        "blocks.0.mlp.W_out": normal(D_MLP, D_MODEL, std=D_MLP**-0.5),
        "blocks.0.mlp.b_out": torch.zeros(D_MODEL),
        "unembed.W_U": normal(D_MODEL, D_VOCAB, std=1.0),
        "unembed.b_U": torch.zeros(D_VOCAB),
    }


def autoencoder_weights(
    folder: Path, seed: int, hook_point: str, d_hidden: int
) -> dict[str, Tensor]:
    """Random directions, with biases such that each feature is active with the density drawn for it.

    At every width about as many features are active on a token as at D_HIDDEN.

    folder  of the model and the tokenizer
    """
    generator = torch.Generator().manual_seed(seed)
    x = _calibration_activations(folder, hook_point)
    W_dec = torch.nn.functional.normalize(
        torch.randn(d_hidden, x.shape[1], generator=generator), dim=1
    )
    W_enc = W_dec.T.contiguous()
    b_dec = x.mean(0)
    mean, std = _moments(x - b_dec, W_enc)
    z = torch.randn(d_hidden, generator=generator)
    median = MEDIAN_DENSITY * D_HIDDEN / d_hidden
    density = (median * torch.exp(DENSITY_SPREAD * z)).clamp(1e-6, 0.3)
    quantile = math.sqrt(2) * torch.erfinv(2 * (1 - density) - 1)
    b_enc = -mean - std * quantile
    return {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}


def _moments(centred: Tensor, W_enc: Tensor) -> tuple[Tensor, Tensor]:
    """([d_hidden] mean, [d_hidden] standard deviation) of the encoder's products with tokens [n_tokens, d_hook]."""
    # Some features at a time: all products of a wide autoencoder would not fit in memory
    moments = []
    for columns in torch.split(W_enc, FEATURES_AT_ONCE, dim=1):
        products = centred @ columns
        moments.append((products.mean(0), products.std(0)))
    mean, std = (torch.cat(parts) for parts in zip(*moments, strict=True))
    return mean, std


def _calibration_activations(folder: Path, hook_point: str) -> Tensor:
    """The model's activations [n_tokens, d_hook] on random rows."""
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    model = load_model(str(folder / "model"), hook_point, tokenizer.tokenizer, torch.device("cpu"))
    drawn = _sample_words(_words(), CALIBRATION_ROWS * SEQ_LEN, SEED + 3)
    assert tokenizer.bos_id is not None  # one of the special tokens that it was trained with
    ids = np.concatenate(tokenizer.encode([" " + " ".join(drawn)]))
    body = ids[: CALIBRATION_ROWS * (SEQ_LEN - 1)].reshape(CALIBRATION_ROWS, SEQ_LEN - 1)
    rows = torch.from_numpy(np.pad(body, ((0, 0), (1, 0)), constant_values=tokenizer.bos_id))
    return model.hook_activations(rows).flatten(0, 1)
