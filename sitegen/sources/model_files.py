"""A model's files, from a folder or the Hub, to a TransformerLens bridge that is known to compute what they say.

TransformerLens is given a folder, never a name, so that what is loaded is what was hashed: it takes some names for
other models.
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
from sitegen.sources import hub
from sitegen.sources.hub_errors import hub_errors
from sitegen.sources.legacy_model import boot_legacy
from sitegen.sources.output_projection import is_near
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.settings import read_settings
from sitegen.sources.tensors import read_tensors

LEGACY_OWNERS = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")
LEGACY_FILES = ["config.json", "model_final.pth"]
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
PROBE_SHAPE = (2, 24)  # rows and tokens on which a model is held against its maker's code


@dataclass(frozen=True)
class BootedModel:
    """A model as its maker defines it, in TransformerLens' bridge: no weight is processed."""

    bridge: Any  # transformer_lens.TransformerBridge
    provenance: Provenance


def resolve_name(name: str) -> str:
    """The Hub repository that TransformerLens knows by this name; the name itself where it is none of its aliases."""
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((repository for repository, names in MODEL_ALIASES.items() if name in names), name)


def named_tokenizer(name: str) -> str:
    """The tokenizer that goes with a model: the one its configuration names, else the model's own place.

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
    """The model of a folder, of a legacy TransformerLens repository, or of any other name TransformerLens knows.

    A folder of that name comes before any repository of it.

    tokenizer  the `transformers` tokenizer; handed on so that TransformerLens loads none of its own
    raises     SourceError if it cannot be read, or TransformerLens computes something else than its maker's code
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
    """A model of `transformers` from the Hub's cache, once the hashes of its files are known to hold."""
    paths, provenance = hub.download(name, ["config.json"], optional=(WEIGHTS,))
    if WEIGHTS not in paths:
        index = hub.fetch(hub.HubFile(name, WEIGHTS_INDEX), is_optional=True)
        paths, provenance = hub.download(name, ["config.json", *_shards(index, name)])
    with hub_errors(name):
        return _boot_transformers(paths["config.json"].parent, name, tokenizer), provenance


def _shards(index: Path | None, name: str) -> list[str]:
    """The index of a model in several files, and those files."""
    if index is None:
        raise SourceError(f"{name} holds no {WEIGHTS}: models are read from safetensors alone")
    files = read_settings(index, index.parent.name).get("weight_map")
    if not isinstance(files, dict):
        raise SourceError(f"{name}/{WEIGHTS_INDEX} has no weight_map: download the model again")
    return [WEIGHTS_INDEX, *sorted(set(map(str, files.values())))]


def _boot_folder(folder: Path, tokenizer: Any) -> tuple[Any, Provenance]:
    """A model on disk: in the legacy layout with its weights as safetensors, or as `transformers` saves it."""
    index = folder / WEIGHTS_INDEX
    is_split = index.is_file() and not (folder / WEIGHTS).is_file()  # as `transformers` chooses
    weights = _shards(index, folder.name) if is_split else [WEIGHTS]
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
    """A folder as `transformers` saves it, loaded by that and held against it."""
    from transformer_lens.model_bridge import TransformerBridge

    with _weight_errors(name):
        model = _text_model(folder)
        expected = _PlainPass(model)
        bridge = TransformerBridge.boot_transformers(
            str(folder), hf_model=model, tokenizer=tokenizer, dtype=torch.float32
        )
        expected.require_same(bridge, name)
    return bridge


def _text_model(folder: Path) -> Any:
    """The causal language model of a folder; of one that also takes pictures or sound, the part that writes text."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(folder)
    text_config = config.get_text_config()
    if getattr(text_config, "apply_residual_connection_post_layernorm", False):
        raise SourceError(
            f"{folder.name}: each layer normalises the residual stream itself "
            "(apply_residual_connection_post_layernorm), so nothing reaches the logits directly; give another model"
        )
    if text_config is config:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    with init_empty_weights():
        text = AutoModelForCausalLM.from_config(text_config)
    part = _part_of_kind(whole, type(text))
    if part is not None:
        return part.eval()
    prefix = text.base_model_prefix
    decoder = _part_of_kind(whole, type(getattr(text, prefix)))
    if decoder is None:
        raise SourceError(
            f"{folder.name}: the part of {type(whole).__name__} that writes text is not known"
        )
    setattr(text, prefix, decoder)
    text.set_output_embeddings(whole.get_output_embeddings())
    text.config.architectures = [type(text).__name__]
    return text.eval()


def _part_of_kind(whole: Any, kind: type) -> Any:
    """The first module of a class; None if there is none."""
    return next((module for module in whole.modules() if isinstance(module, kind)), None)


def probe_ids(d_vocab: int, n_ctx: int = PROBE_SHAPE[1]) -> Tensor:
    """[n_rows, n_tokens] int64 ids to try a model on: PROBE_SHAPE, or fewer tokens where it takes no more."""
    n_rows, n_tokens = PROBE_SHAPE[0], min(PROBE_SHAPE[1], n_ctx)
    return (torch.arange(n_rows * n_tokens).view(n_rows, n_tokens) * 7 + 5) % d_vocab


class _PlainPass:
    """What a model of `transformers` computes on a few ids, kept to hold TransformerLens' bridge against."""

    @torch.no_grad()
    def __init__(self, model: Any) -> None:
        self.ids = probe_ids(int(model.config.vocab_size))
        found = model(self.ids, output_hidden_states=True, use_cache=False)
        self.logits: Tensor = found.logits.float()
        # Of the last layer it gives what the final norm makes of its output
        self.streams: list[Tensor] = [stream.float() for stream in found.hidden_states[:-1]]

    @torch.no_grad()
    def require_same(self, bridge: Any, name: str) -> None:
        """That a bridge computes the same streams and logits.

        raises  SourceError if not
        """
        # Most makers give what goes into each layer, some (Mamba, RWKV) what comes out of it
        points = [
            [f"blocks.{layer}.hook_resid_{end}" for layer in range(len(self.streams))]
            for end in ("pre", "post")
        ]
        found, logits = run_with_points(bridge, self.ids, (*points[0], *points[1]))
        self._require_near("logits", logits, self.logits, name)
        ends = [[found[point] for point in of_end if point in found] for of_end in points]
        if not any(_all_near(streams, self.streams) for streams in ends):
            self._require_near(points[0][-1], found[points[0][-1]], self.streams[-1], name)

    def _require_near(self, what: str, found: Tensor, expected: Tensor, name: str) -> None:
        if not is_near(found, expected):
            raise SourceError(
                f"{name}: TransformerLens' {what} are not those of transformers (off by "
                f"{float((found - expected).abs().max()):.2g} of {float(expected.abs().max()):.2g}), so this "
                "architecture cannot be read with the installed transformer_lens"
            )


def _all_near(found: list[Tensor], expected: list[Tensor]) -> bool:
    pairs = zip(found, expected, strict=False)
    return len(found) == len(expected) and all(is_near(one, other) for one, other in pairs)


def run_with_points(
    bridge: Any, tokens: Tensor, points: tuple[str, ...]
) -> tuple[dict[str, Tensor], Tensor]:
    """({hook point: [n_rows, seq_len, width] float32}, logits) of a whole pass; points that are not there left out."""
    found: dict[str, Tensor] = {}

    def keep_as(point: str) -> Any:
        def keep(activations: Tensor, hook: Any) -> None:
            found[point] = activations.flatten(2).float()

        return keep

    there = sorted({point for point in points if point in bridge.hook_dict})
    hooks = [(point, keep_as(point)) for point in there]
    logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return {point: found[point] for point in points if point in found}, logits


def _boot_legacy_files(name: str, config_path: Path, weights_path: Path) -> Any:
    """A model from a legacy config.json and its weights under TransformerLens' names."""
    with _weight_errors(f"{name}/{weights_path.name}"):
        return boot_legacy(name, read_settings(config_path, name), read_tensors(weights_path))


@contextmanager
def _weight_errors(name: str) -> Iterator[None]:
    """Turns what a loader raises over unfit weights into one line that names the model."""
    try:
        yield
    except (SitegenError, MemoryError):
        raise
    except KeyError as error:
        raise SourceError(f"{name}: the model's files lack {error}") from None
    except Exception as error:  # a loader meets values of any kind in a foreign configuration
        require_room(error, hub.cache_folder())
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{name}: the model cannot be loaded: {reason}") from None
