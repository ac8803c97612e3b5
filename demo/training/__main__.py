"""Train the demo again: `python -m demo.training`.

Everything is written to `demo/work` and copied over the demo at the end. Files that `demo/work` already has are
not made again, so that an interrupted run resumes; delete the folder to start from the beginning.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # spinning threads halve the speed on a busy machine

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from demo.training.autoencoder import Autoencoder, AutoencoderTraining, train_autoencoder
from demo.training.corpus import read_documents, split
from demo.training.documents import Document
from demo.training.evaluation import evaluate
from demo.training.language_model import LanguageModel, ModelShape, ModelTraining, train_model
from demo.training.packages import Package, fetch_packages
from demo.training.tokenization import BOS, EOS, PAD, token_rows, train_tokenizer

DEMO = Path(__file__).parent.parent
WORK = DEMO / "work"
MADE = WORK / "demo"  # what will be copied over the demo
SHAPE = ModelShape()
RUNS = {"autoencoder": AutoencoderTraining(), "second": AutoencoderTraining(seed=53)}


def main() -> None:
    """Fetch, split, train, evaluate and copy, in this order."""
    MADE.mkdir(parents=True, exist_ok=True)
    train_rows, held_out_rows = _make_rows()
    model = _make_model(train_rows)
    autoencoder, _ = (_make_autoencoder(model, train_rows, name) for name in RUNS)
    quality = json.dumps(dataclasses.asdict(evaluate(model, autoencoder, held_out_rows)), indent=2)
    (MADE / "quality.json").write_text(quality + "\n")
    shutil.copytree(MADE, DEMO, dirs_exist_ok=True)
    print(quality)


def _make_rows() -> tuple[np.ndarray, np.ndarray]:
    """Training rows and held-out rows; the held-out text and the tokenizer are written where the demo reads them."""
    paths = WORK / "train_rows.npy", WORK / "held_out_rows.npy"
    if not all(path.exists() for path in paths):
        packages = fetch_packages(WORK / "packages")
        train, held_out = split(read_documents(packages))
        _write_text(held_out, train, packages)
        _write_tokenizer(train)
        tokenizer = Tokenizer.from_file(str(MADE / "tokenizer/tokenizer.json"))
        np.save(paths[0], token_rows(tokenizer, train, SHAPE.n_ctx))
        np.save(paths[1], token_rows(tokenizer, held_out, SHAPE.n_ctx))
    return np.load(paths[0]), np.load(paths[1])


def _write_text(
    held_out: list[Document], train: list[Document], packages: dict[str, Package]
) -> None:
    folder = MADE / "text"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(dataclasses.asdict(document), ensure_ascii=False) for document in held_out]
    (folder / "held_out.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    sources = {
        "packages": sorted(package.archive for package in packages.values()),
        "trained_on_chars": dict(sorted(_chars_by_source(train).items())),
        "held_out_chars": dict(sorted(_chars_by_source(held_out).items())),
    }
    (folder / "sources.json").write_text(json.dumps(sources, indent=2) + "\n")


def _chars_by_source(documents: list[Document]) -> Counter[str]:
    counter: Counter[str] = Counter()
    for document in documents:
        counter[document.source] += len(document.text)
    return counter


def _write_tokenizer(train: list[Document]) -> None:
    train_tokenizer(train, SHAPE.d_vocab, MADE / "tokenizer/tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": SHAPE.n_ctx}
    names = {"eos_token": EOS, "bos_token": BOS, "pad_token": PAD}
    path = MADE / "tokenizer/tokenizer_config.json"
    path.write_text(
        json.dumps({**settings, **names, "clean_up_tokenization_spaces": False}, indent=2) + "\n"
    )


def _make_model(rows: np.ndarray) -> LanguageModel:
    """The trained model, with its weights rounded to the float16 that is shipped."""
    folder = MADE / "model"
    model = LanguageModel(SHAPE)
    if not (folder / "model.safetensors").exists():
        started = time.monotonic()
        trained = train_model(rows, SHAPE, ModelTraining())
        folder.mkdir(parents=True, exist_ok=True)
        _save_half(trained.checkpoint(), folder / "model.safetensors")
        config = {**dataclasses.asdict(SHAPE), "n_layers": 1, "act_fn": "gelu", "attn_only": False}
        config |= {"normalization": "LN", "tokenizer_name": "demo/tokenizer"}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        print(f"model: trained in {(time.monotonic() - started) / 60:.0f} min")
    weights = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.checkpoint().items():
            parameter.copy_(weights[name])
    return model.eval()


def _make_autoencoder(model: LanguageModel, rows: np.ndarray, name: str) -> Autoencoder:
    """The trained autoencoder of a run, with its weights rounded to the float8 that is shipped."""
    path = MADE / f"autoencoder/{name}.safetensors"
    training = RUNS[name]
    if not path.exists():
        started = time.monotonic()
        trained = train_autoencoder(model, rows, training)
        path.parent.mkdir(exist_ok=True)
        save_quarter({key: weight.detach() for key, weight in trained.named_parameters()}, path)
        settings = json.dumps(dataclasses.asdict(training), indent=2) + "\n"
        (path.parent / f"{name}.json").write_text(settings)
        print(f"{name}: trained in {(time.monotonic() - started) / 60:.0f} min")
    weights = load_file(path)
    d_mlp = SHAPE.d_mlp
    autoencoder = Autoencoder(d_mlp, d_mlp * training.dict_mult, torch.zeros(d_mlp), training.seed)
    autoencoder.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return autoencoder.eval()


def save_quarter(weights: dict[str, Tensor], path: Path) -> None:
    """Save an autoencoder's matrices as float8 (E4M3) and its biases as float16."""
    rounded = {
        name: weight.to(torch.float8_e4m3fn if weight.ndim == 2 else torch.float16).contiguous()
        for name, weight in weights.items()
    }
    save_file(rounded, path)


def _save_half(weights: dict[str, Tensor], path: Path) -> None:
    save_file({name: weight.half().contiguous() for name, weight in weights.items()}, path)


if __name__ == "__main__":
    main()
