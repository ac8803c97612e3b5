"""Tiny inputs made from a seed: model, tokenizer, autoencoder and text of odd sizes, as files of the real layouts.

No width is 512, 2048, 16384 or 48262, so that code which assumes one of these fails.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from sitegen.sources.model import load_model
from tests.brute_force import mlp_activations, read_rows

D_MODEL, N_HEADS, D_HEAD, D_MLP, N_CTX = 20, 2, 10, 37, 64
D_HIDDEN = 93
SEQ_LEN = 24
SPECIALS = ["<|EOS|>", "<|BOS|>", "<|PAD|>"]
QWEN_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)

SENTENCES = [
    "The whale rose from the grey water and the men cried out, for it was near.",
    "def fold(values, start=0):\n\tfor value in values:\n\t\tstart += value\n\treturn start\n",
    "She said that it would rain; he said that it would not, and both were right.",
    "In 1899, 193714 votes were cast. 191331 were for the other man.",
    "Ünïcödé wörds, 日本語の文章, emoji 🐳🐳 and \u200bhidden ones stand here.",
    'A literal <|BOS|> and </script> and &lt; and "quotes" are plain text.',
    "assert total == 12\nassert total != 13  # the same line stands again and again\n",
]


def documents() -> list[str]:
    """Documents with repetitions, so that copies occur, and with all kinds of characters."""
    made = []
    for i in range(120):
        parts = [SENTENCES[(i * k + k * k) % len(SENTENCES)] for k in range(1, 2 + i % 5)]
        made.append(" ".join(parts) + (f" {i * 7919 % 1000}" if i % 3 else ""))
    return made


@dataclass(frozen=True)
class TinyInputs:
    """Paths of the files."""

    folder: Path
    preset: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def qwen(self) -> Path:
        """A tokenizer without BOS."""
        return self.folder / "qwen"

    @property
    def bare(self) -> Path:
        """A tokenizer with neither BOS nor EOS."""
        return self.folder / "bare"

    @property
    def qwen_preset(self) -> Path:
        """The preset, with the tokenizer that has no BOS."""
        return self.folder / "qwen.toml"

    @property
    def autoencoder(self) -> Path:
        return self.folder / "autoencoder.safetensors"

    @property
    def second(self) -> Path:
        return self.folder / "second.safetensors"

    @property
    def corpus(self) -> Path:
        return self.folder / "text.jsonl"


def write_inputs(folder: Path) -> TinyInputs:
    """Write everything that a run reads, and a preset for it."""
    write_tokenizer(folder / "tokenizer")
    write_qwen_tokenizer(folder / "qwen")
    write_bare_tokenizer(folder / "bare")
    d_vocab = vocabulary_size(folder / "tokenizer")
    (folder / "model").mkdir()
    save_file(model_weights(d_vocab), folder / "model/model.safetensors")
    (folder / "model/config.json").write_text(json.dumps(model_config(d_vocab)))
    save_file(autoencoder_weights(), folder / "autoencoder.safetensors")
    save_file(second_weights(), folder / "second.safetensors")
    write_corpus(folder / "text.jsonl")
    preset = folder / "tiny.toml"
    preset.write_text(
        '[model]\nname = "model"\ntokenizer = "tokenizer"\nhook_point = "blocks.0.mlp.hook_post"\n'
        '[autoencoder]\nsource = "autoencoder.safetensors"\nl1_coeff = 0.5\nl1_positions = 3\n'
        '[other]\nsource = "second.safetensors"\ntitle = "the <second> run"\nn_contexts = 2\n'
        f'[corpus]\nfiles = ["text.jsonl"]\nseq_len = {SEQ_LEN}\n'
        "[sweep]\nbatch_rows = 8\nshard_rows = 32\n"
        "[contexts]\nn_top = 6\nn_intervals = 4\nn_per_interval = 3\nn_before = 5\nn_after = 3\n"
        "[logits]\nn_top = 7\nn_bins = 11\n"
        "[analysis]\nn_rows = 500\nn_quality_rows = 150\nbatch_rows = 50\nn_neighbours = 4\nn_ablated = 3\n"
        '[site]\ntitle = "Tiny <subject> & co"\ndescription = "Made from a seed."\n'
    )
    other = preset.read_text().replace('tokenizer = "tokenizer"', 'tokenizer = "qwen"')
    (folder / "qwen.toml").write_text(other)
    return TinyInputs(folder, preset)


def write_corpus(path: Path) -> None:
    """Write the documents as JSON lines."""
    lines = [json.dumps({"text": text}) for text in documents()]
    path.write_text("\n".join(lines) + "\n")


def vocabulary_size(tokenizer: Path) -> int:
    """Size of the model's vocabulary: three more than the tokenizer's."""
    return Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab_size() + 3


def write_tokenizer(folder: Path) -> None:
    """Write a byte-level BPE tokenizer like that of gelu-1l, with too few merges for any character beyond ASCII."""
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=SPECIALS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIALS[0],
        "bos_token": SPECIALS[1],
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "pad_token": SPECIALS[2]})
    )


def write_qwen_tokenizer(folder: Path) -> None:
    """Write a tokenizer like Qwen's: no BOS, special tokens after all others; as many ids as the first one has."""
    folder.mkdir()
    _train_qwen().save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "bos_token": None,
        "eos_token": QWEN_SPECIALS[0],
        "pad_token": QWEN_SPECIALS[0],
        "additional_special_tokens": QWEN_SPECIALS[1:],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_bare_tokenizer(folder: Path) -> None:
    """Write a tokenizer with the same vocabulary that names neither BOS nor EOS."""
    folder.mkdir()
    _train_qwen().save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _train_qwen() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330 - len(QWEN_SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens(QWEN_SPECIALS)
    return tokenizer


def write_gpt2(folder: Path, tokenizer: Path, n_layers: int = 2, n_ctx: int = 48) -> Path:
    """Write a GPT-2 model with layers of width 24."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=333,
        n_positions=n_ctx,
        n_embd=24,
        n_layer=n_layers,
        n_head=3,
        bos_token_id=1,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    for path in tokenizer.iterdir():
        shutil.copy(path, folder)
    return folder


def model_config(d_vocab: int) -> dict[str, object]:
    """The fields of a legacy TransformerLens config.json that the loader reads."""
    return {
        "d_model": D_MODEL,
        "n_layers": 1,
        "d_mlp": D_MLP,
        "d_head": D_HEAD,
        "n_heads": N_HEADS,
        "n_ctx": N_CTX,
        "d_vocab": d_vocab,
        "act_fn": "gelu",
        "attn_only": False,
        "normalization": "LN",
        "tokenizer_name": "NeelNanda/gpt-neox-tokenizer-digits",
    }


def model_weights(d_vocab: int, seed: int = 3) -> dict[str, Tensor]:
    """Random weights under the legacy layout's names; no LayerNorm weight or bias has its neutral value."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float = 0.3, mean: float = 0.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * std + mean

    attention = {f"blocks.0.attn.W_{name}": normal(N_HEADS, D_MODEL, D_HEAD) for name in "QKV"}
    biases = {f"blocks.0.attn.b_{name}": normal(N_HEADS, D_HEAD, std=0.1) for name in "QKV"}
    norms = {
        f"{name}.{part}": normal(D_MODEL, std=0.2, mean=1.0 if part == "w" else 0.0)
        for name in ("blocks.0.ln1", "blocks.0.ln2", "ln_final")
        for part in "wb"
    }
    return {
        "embed.W_E": normal(d_vocab, D_MODEL),
        "pos_embed.W_pos": normal(N_CTX, D_MODEL, std=0.1),
        **attention,
        **biases,
        "blocks.0.attn.W_O": normal(N_HEADS, D_HEAD, D_MODEL),
        "blocks.0.attn.b_O": normal(D_MODEL, std=0.1),
        **norms,
        "blocks.0.mlp.W_in": normal(D_MODEL, D_MLP),
        "blocks.0.mlp.b_in": normal(D_MLP, std=0.1),
        "blocks.0.mlp.W_out": normal(D_MLP, D_MODEL),
        "blocks.0.mlp.b_out": normal(D_MODEL, std=0.1),
        "unembed.W_U": normal(D_MODEL, d_vocab),
        "unembed.b_U": normal(d_vocab, std=0.1),
    }


def autoencoder_weights(seed: int = 5) -> dict[str, Tensor]:
    """Weights with dead, rare, ordinary and dense features and decoder rows of various norms.

    The encoder is random and the decoder is fitted to the model's activations, so that it explains a part of them.
    """
    generator = torch.Generator().manual_seed(seed)
    W_enc = torch.randn(D_MLP, D_HIDDEN, generator=generator)
    b_enc = torch.linspace(-2.0, -20.0, D_HIDDEN)
    b_enc[7] = -1e4  # certainly dead
    W_dec = torch.randn(D_HIDDEN, D_MLP, generator=generator)
    b_dec = torch.randn(D_MLP, generator=generator) * 0.1
    return with_fitted_decoder(
        {
            "W_enc": W_enc,
            "W_dec": W_dec * torch.linspace(0.2, 3, D_HIDDEN)[:, None],
            "b_enc": b_enc,
            "b_dec": b_dec,
        },
        mlp_inputs(),
    )


def with_fitted_decoder(
    weights: dict[str, Tensor], x: Tensor, subtracts_b_dec: bool = True
) -> dict[str, Tensor]:
    """The weights of a ReLU autoencoder with the decoder that best reconstructs `x` [n, d_hook].

    Decoder rows of features that are hardly active stay near the given ones, so that each has a direction.
    """
    W_enc, b_enc, b_dec = (weights[name].double() for name in ("W_enc", "b_enc", "b_dec"))
    x = x.double()
    features = ((x - b_dec if subtracts_b_dec else x) @ W_enc + b_enc).relu()
    ridge = 1e-2 * torch.eye(features.shape[1], dtype=torch.float64)
    target = features.T @ (x - b_dec) + ridge @ weights["W_dec"].double()
    W_dec = torch.linalg.solve(features.T @ features + ridge, target)
    return weights | {"W_dec": W_dec.float().contiguous()}


def fitted_weights(
    x: Tensor, d_hidden: int, seed: int = 1, share: float = 0.1, subtracts_b_dec: bool = True
) -> dict[str, Tensor]:
    """A ReLU autoencoder of activations `x` [n, d_hook] whose features are each active on a fraction of the tokens."""
    generator = torch.Generator().manual_seed(seed)
    b_dec = x.mean(0)
    W_enc = torch.randn(x.shape[1], d_hidden, generator=generator)
    pre = (x - b_dec if subtracts_b_dec else x) @ W_enc
    weights = {
        "W_enc": W_enc,
        "W_dec": 0.1 * torch.randn(d_hidden, x.shape[1], generator=generator),
        "b_enc": -torch.quantile(pre, 1 - share, dim=0),
        "b_dec": b_dec,
    }
    return with_fitted_decoder(weights, x, subtracts_b_dec)


def activations_of(
    folder: Path, hook_point: str, tokenizer: Path, corpus: Path, output_point: str = ""
) -> Tensor:
    """A model's activations [n, d_hook] on the first rows of a text, without each row's first token."""
    rows = read_rows(corpus, tokenizer / "tokenizer.json", 32, 42)
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    model = load_model(
        str(folder), hook_point, loaded, torch.device("cpu"), output_point=output_point
    )
    found = model.hook_activations(torch.from_numpy(rows[:100].astype("int64")))
    return found[:, 1:].flatten(0, 1)


@cache
def mlp_inputs() -> Tensor:
    """The tiny model's activations [n, d_mlp] float64 on the first rows of its text, without each row's first token."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder / "tokenizer")
        write_corpus(folder / "text.jsonl")
        rows = read_rows(folder / "text.jsonl", folder / "tokenizer/tokenizer.json", SEQ_LEN, 42)
        d_vocab = vocabulary_size(folder / "tokenizer")
    tokens = torch.from_numpy(rows[:150].astype("int64"))
    return mlp_activations(model_weights(d_vocab), tokens)[:, 1:].flatten(0, 1)


def second_weights() -> dict[str, Tensor]:
    """A second autoencoder that has some of the first one's features, in another order and slightly rotated."""
    generator = torch.Generator().manual_seed(6)
    first, other = autoencoder_weights(), autoencoder_weights(seed=8)
    order = torch.randperm(D_HIDDEN, generator=generator)
    shared = torch.arange(D_HIDDEN) % 3 > 0

    def turned(own: Tensor, new: Tensor) -> Tensor:
        noise = 0.2 * own.std() * torch.randn(own.shape, generator=generator)
        return torch.where(shared[:, None], own[order] + noise, new)

    weights = {
        "W_enc": turned(first["W_enc"].T, other["W_enc"].T).T.contiguous(),
        "W_dec": turned(first["W_dec"], other["W_dec"]),
        "b_enc": torch.where(shared, first["b_enc"][order], other["b_enc"]),
        "b_dec": first["b_dec"],
    }
    return with_fitted_decoder(weights, mlp_inputs())
