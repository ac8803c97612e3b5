"""A model's files, from a folder or the Hub, to a TransformerLens bridge that is checked against `transformers`.

TransformerLens is given a folder, never a name, because it resolves some names to other models. So the files that are
loaded are the files that were hashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sitegen.errors import SitegenError, SourceError
from sitegen.files import require_room
from sitegen.hub_errors import hub_errors
from sitegen.sources import hub
from sitegen.sources.legacy_model import boot_legacy
from sitegen.sources.output_projection import is_near
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.settings import read_settings
from sitegen.sources.tensors import read_tensors

LEGACY_OWNERS = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")
LEGACY_FILES = ["config.json", "model_final.pth"]
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
PROBE_SHAPE = (2, 24)  # rows and tokens per row on which the bridge is compared with `transformers`


@dataclass(frozen=True)
class BootedModel:
    """A model in TransformerLens' bridge with its published weights, none of them processed."""

    bridge: Any  # transformer_lens.TransformerBridge
    provenance: Provenance


def resolve_name(name: str) -> str:
    """Return the Hub repository that TransformerLens has this alias for; the name itself if it is not an alias."""
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((repository for repository, names in MODEL_ALIASES.items() if name in names), name)


def tokenizer_name(name: str) -> str:
    """Name of a model's tokenizer: the one that its configuration names, otherwise the model's folder or repository.

    raises  SourceError if a legacy repository's configuration cannot be read
    """
    if Path(name).is_dir():
        return name
    repository = resolve_name(name)
    if not repository.startswith(LEGACY_OWNERS):
        return repository
    config = hub.download(repository, LEGACY_FILES[:1])[0][LEGACY_FILES[0]]
    return str(read_settings(config, config.parent.name).get("tokenizer_name") or repository)


def boot_model(name: str, tokenizer: Any, device: torch.device) -> BootedModel:
    """Load the model of a folder, a legacy TransformerLens repository, or any other name that TransformerLens knows.

    A folder of that name takes precedence over a repository.

    tokenizer  the `transformers` tokenizer; passed on so that TransformerLens does not load another
    raises     SourceError if it cannot be read, or TransformerLens computes something else than `transformers`
    """
    repository = resolve_name(name)
    if Path(name).is_dir():
        bridge, provenance = _boot_folder(Path(name).resolve(), tokenizer)
    elif repository.startswith(LEGACY_OWNERS):
        paths, provenance = hub.download(repository, LEGACY_FILES)
        bridge = _boot_legacy_files(repository, *paths.values())
    else:
        bridge, provenance = _boot_hub(repository, tokenizer)
    bridge.eval().requires_grad_(False).to(device, print_details=False)
    return BootedModel(bridge, provenance)


def _boot_hub(name: str, tokenizer: Any) -> tuple[Any, Provenance]:
    """Download a model of `transformers`, verify its files and load it from the Hub's cache."""
    paths, provenance = hub.download(name, ["config.json"], optional=(WEIGHTS,))
    if WEIGHTS not in paths:
        index = hub.fetch(hub.HubFile(name, WEIGHTS_INDEX), is_optional=True)
        paths, provenance = hub.download(name, ["config.json", *_list_weight_files(index, name)])
    with hub_errors(name):
        return _boot_transformers(paths["config.json"].parent, name, tokenizer), provenance


def _list_weight_files(index: Path | None, name: str) -> list[str]:
    """List the files of a model in several parts: the index itself, then the files that it names."""
    if index is None:
        raise SourceError(
            f"{name} holds neither {WEIGHTS} nor {WEIGHTS_INDEX}, and only safetensors can be read: give a model that "
            "has them"
        )
    files = read_settings(index, index.parent.name).get("weight_map")
    if not isinstance(files, dict):
        raise SourceError(f"{name}/{WEIGHTS_INDEX} has no weight_map: download the model again")
    return [WEIGHTS_INDEX, *sorted(set(map(str, files.values())))]


def _boot_folder(folder: Path, tokenizer: Any) -> tuple[Any, Provenance]:
    """Load a model on disk: in the legacy layout with its weights as safetensors, or as `transformers` saves it."""
    index = folder / WEIGHTS_INDEX
    # With both kinds in the folder, `transformers` reads the single file too
    is_split = index.is_file() and not (folder / WEIGHTS).is_file()
    weights = _list_weight_files(index, folder.name) if is_split else [WEIGHTS]
    paths = [folder / name for name in ("config.json", *weights)]
    for path in paths:
        if not path.is_file():
            raise SourceError(
                f"{folder.name} holds no {path.name}: a model folder has config.json and {WEIGHTS}, or "
                f"{WEIGHTS_INDEX} and the files that it names"
            )
    provenance = local_provenance(folder.name, paths)
    if "model_type" in read_settings(paths[0], paths[0].parent.name):
        return _boot_transformers(folder, folder.name, tokenizer), provenance
    return _boot_legacy_files(folder.name, *paths), provenance


def _boot_transformers(folder: Path, name: str, tokenizer: Any) -> Any:
    """Load a folder as `transformers` saves it, and compare the bridge with `transformers`."""
    from transformer_lens.model_bridge import TransformerBridge

    with _weight_errors(name):
        model = _load_text_model(folder)
        # Computed before the bridge is made from the same model object
        expected = _ReferencePass(model)
        bridge = TransformerBridge.boot_transformers(
            str(folder), hf_model=model, tokenizer=tokenizer, dtype=torch.float32
        )
        expected.require_same(bridge, name)
    return bridge


def _load_text_model(folder: Path) -> Any:
    """Load the causal language model of a folder; of a model that also takes images or sound, only the text part."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(folder)
    text_config = config.get_text_config()
    if getattr(text_config, "apply_residual_connection_post_layernorm", False):
        raise SourceError(
            f"{folder.name}: each layer normalises the residual stream itself "
            "(apply_residual_connection_post_layernorm), so no feature reaches the logits directly: give another model"
        )
    if text_config is config:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    # An empty model of the text configuration tells which class the text part has
    with init_empty_weights():
        text = AutoModelForCausalLM.from_config(text_config)
    text_part = _find_module(whole, type(text))
    if text_part is not None:
        return text_part.eval()
    # Some models hold only the decoder of that class, with the output embeddings beside it: join the two
    prefix = text.base_model_prefix
    decoder = _find_module(whole, type(getattr(text, prefix)))
    if decoder is None:
        raise SourceError(
            f"{folder.name}: the text part of {type(whole).__name__} cannot be identified: give another model"
        )
    setattr(text, prefix, decoder)
    text.set_output_embeddings(whole.get_output_embeddings())
    text.config.architectures = [type(text).__name__]
    return text.eval()


def _find_module(model: Any, kind: type) -> Any:
    """Find the first module of a class; None if there is none."""
    return next((module for module in model.modules() if isinstance(module, kind)), None)


def probe_ids(d_vocab: int, n_ctx: int = PROBE_SHAPE[1]) -> Tensor:
    """Ids [n_rows, n_tokens] int64 to test a model on: PROBE_SHAPE, or fewer tokens if it takes only `n_ctx`."""
    n_rows, n_tokens = PROBE_SHAPE[0], min(PROBE_SHAPE[1], n_ctx)
    return (torch.arange(n_rows * n_tokens).view(n_rows, n_tokens) * 7 + 5) % d_vocab


class _ReferencePass:
    """Residual streams and logits of a `transformers` model on a few ids, to compare TransformerLens' bridge with."""

    @torch.no_grad()
    def __init__(self, model: Any) -> None:
        self.ids = probe_ids(int(model.config.vocab_size))
        found = model(self.ids, output_hidden_states=True, use_cache=False)
        self.logits: Tensor = found.logits.float()
        # The last hidden state is left out: it is taken after the final norm, the others are residual streams
        self.streams: list[Tensor] = [stream.float() for stream in found.hidden_states[:-1]]

    @torch.no_grad()
    def require_same(self, bridge: Any, name: str) -> None:
        """Raise unless a bridge computes the same residual streams and logits.

        raises  SourceError
        """
        # Most models return each layer's input as a hidden state, some (Mamba, RWKV) its output: either may agree
        points = [
            [f"blocks.{layer}.hook_resid_{end}" for layer in range(len(self.streams))]
            for end in ("pre", "post")
        ]
        found, logits = run_with_points(bridge, self.ids, (*points[0], *points[1]))
        self._require_near("logits", logits, self.logits, name)
        candidates = [[found[point] for point in names if point in found] for names in points]
        if not any(_all_near(streams, self.streams) for streams in candidates):
            self._require_near(points[0][-1], found[points[0][-1]], self.streams[-1], name)

    def _require_near(self, what: str, found: Tensor, expected: Tensor, name: str) -> None:
        if not is_near(found, expected):
            raise SourceError(
                f"{name}: TransformerLens' {what} differ from those of transformers by up to "
                f"{float((found - expected).abs().max()):.2g} (largest value {float(expected.abs().max()):.2g}), so "
                "the installed transformer_lens does not support this architecture: give another model"
            )


def _all_near(found: list[Tensor], expected: list[Tensor]) -> bool:
    pairs = zip(found, expected, strict=False)
    return len(found) == len(expected) and all(is_near(one, other) for one, other in pairs)


def run_with_points(
    bridge: Any, tokens: Tensor, points: tuple[str, ...]
) -> tuple[dict[str, Tensor], Tensor]:
    """Run a whole forward pass and keep the activations at hook points.

    tokens   [n_rows, seq_len] int64
    points   names of hook points in any order; those that the model lacks or does not compute are left out
    returns  ({hook point: [n_rows, seq_len, width] float32}, logits [n_rows, seq_len, d_vocab])
    """
    found: dict[str, Tensor] = {}

    def keep_as(point: str) -> Any:
        def keep(activations: Tensor, hook: Any) -> None:
            found[point] = activations.flatten(2).float()

        return keep

    present = sorted({point for point in points if point in bridge.hook_dict})
    hooks = [(point, keep_as(point)) for point in present]
    logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return {point: found[point] for point in points if point in found}, logits


def _boot_legacy_files(name: str, config_path: Path, weights_path: Path) -> Any:
    """Load a model from a legacy config.json and weights by TransformerLens' names."""
    with _weight_errors(f"{name}/{weights_path.name}"):
        return boot_legacy(name, read_settings(config_path, name), read_tensors(weights_path))


@contextmanager
def _weight_errors(name: str) -> Iterator[None]:
    """Turn a loader's errors over unfit weights into a SourceError of one line that names the model."""
    try:
        yield
    except (SitegenError, MemoryError):
        raise
    except KeyError as error:
        raise SourceError(
            f"{name}: the model's files lack {error}; download or save the model again"
        ) from None
    # A configuration can hold values of any kind, so the loaders can raise errors of any class
    except Exception as error:
        require_room(error, hub.cache_folder())
        reason = " ".join(str(error).split())[:200]
        raise SourceError(
            f"{name}: the model cannot be loaded ({reason}): correct its files, or give another model"
        ) from None
