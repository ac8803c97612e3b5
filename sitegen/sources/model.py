"""The language model: rows of ids to activations at one hook point, and the way from there to the logits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from torch import Tensor

from sitegen.errors import SitegenError, SourceError
from sitegen.maths.ablation import FinalLayer
from sitegen.sources import hub
from sitegen.sources.provenance import Provenance, local_provenance
from sitegen.sources.tensors import read_tensors

LEGACY_OWNERS = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")
LEGACY_FILES = ["config.json", "model_final.pth"]
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
MLP_HOOK = re.compile(r"blocks\.(\d+)\.mlp\.hook_post")
RESIDUAL_HOOK = re.compile(
    r"blocks\.(\d+)\.(hook_resid_pre|hook_resid_mid|hook_resid_post|hook_mlp_out|hook_attn_out)"
)

HEADS_HOOK = re.compile(r"blocks\.(\d+)\.attn\.hook_z")  # [..., n_heads, d_head]
LAST_HOOK = re.compile(r"blocks\.\d+\.(mlp\.hook_post|hook_mlp_out|hook_resid_post)")
FINAL_RESIDUAL = "ln_final.hook_in"


class _ReachedHook(BaseException):
    """Ends the forward pass at the hook: no attention of later layers, no unembedding."""


@dataclass(frozen=True)
class HookedModel:
    """A TransformerLens model, read at one hook point."""

    bridge: Any  # transformer_lens.TransformerBridge
    hook_point: str
    d_hook: int  # width of the activations at the hook point
    # [d_hook, d_model] from the hook point to the residual stream: an MLP's W_out, the heads' W_O one above the other;
    # None where the hook point is in that stream
    W_out: Tensor | None
    W_U: Tensor  # [d_model, d_vocab], folded and centred as TransformerLens does by default
    provenance: Provenance

    @property
    def n_ctx(self) -> int:
        """Longest row the model takes, in tokens."""
        return int(self.bridge.cfg.n_ctx)

    @property
    def d_vocab(self) -> int:
        """Number of token ids the unembedding knows."""
        return int(self.W_U.shape[1])

    @property
    def place(self) -> tuple[int, str]:
        """(layer, name within it) of the hook point."""
        _, layer, name = self.hook_point.split(".", 2)
        return int(layer), name

    @property
    def reads_neurons(self) -> bool:
        """Whether the hook point's activations are an MLP's neurons."""
        return MLP_HOOK.fullmatch(self.hook_point) is not None

    @property
    def way_out(self) -> str:
        """What a decoder row is multiplied with to give its logit effects."""
        if self.W_out is None:
            return "W_dec W_U"
        return "W_dec W_out W_U" if self.reads_neurons else "W_dec W_O W_U"

    @torch.no_grad()
    def hook_activations(self, tokens: Tensor) -> Tensor:
        """[n_rows, seq_len, d_hook] float32 at the hook point for `tokens` [n_rows, seq_len] int64.

        The pass ends there, which gives the same bits as the whole one for a fraction of its cost.
        """
        return self._read(tokens, self.hook_point)[0]

    @torch.no_grad()
    def activations_and_residual(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """([n_rows, seq_len, d_hook] at the hook point, [n_rows, seq_len, d_model] before the final norm)."""
        activations, residual = self._read(tokens, self.hook_point, FINAL_RESIDUAL)
        return activations, residual

    @torch.no_grad()
    def losses(self, tokens: Tensor, activations: Tensor | None = None) -> Tensor:
        """[n_rows, seq_len - 1] cross-entropy of each next token, in nats.

        activations  [n_rows, seq_len, d_hook] to put in the place of those at the hook point
        """
        hooks = []
        if activations is not None:
            hooks = [(self.hook_point, lambda found, hook: activations.view_as(found))]
        logits = self.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        follows = logits.gather(2, tokens.roll(-1, 1)[:, :, None])[..., 0]
        losses: Tensor = (torch.logsumexp(logits, 2) - follows)[:, :-1]
        return losses

    def final_layer(self, tokens: Tensor) -> FinalLayer | None:
        """What comes after the hook point, where that is the final norm alone; None where more does.

        That it is this norm and nothing else is seen by holding its logits against the model's, on `tokens`
        [n_rows, seq_len].
        """
        last = int(self.bridge.cfg.n_layers) - 1
        if not LAST_HOOK.fullmatch(self.hook_point) or f"blocks.{last}." not in self.hook_point:
            return None
        layer = FinalLayer(self.W_U, self.bridge.b_U.detach(), float(self.bridge.cfg.eps))
        with torch.no_grad():
            logits = self.bridge.run_with_hooks(tokens, fwd_hooks=[])
            _, residual = self.activations_and_residual(tokens)
            difference = (layer.logits(residual) - logits).abs().max()
        return layer if float(difference) <= 1e-3 else None

    def _read(self, tokens: Tensor, *points: str) -> list[Tensor]:
        """What stands at some hook points; the pass ends at the last of them."""
        found: list[Tensor] = []

        def keep(activations: Tensor, hook: Any) -> None:
            found.append(activations.flatten(2))  # heads, where there are any, side by side
            if len(found) == len(points):
                raise _ReachedHook

        with suppress(_ReachedHook):
            self.bridge.run_with_hooks(tokens, fwd_hooks=[(point, keep) for point in points])
        # One NaN or infinity shows in the sum, which takes a fraction of looking at each
        if not all(torch.isfinite(activations.sum()) for activations in found):
            raise SourceError(
                f"{self.provenance.name}: activations at {self.hook_point} are NaN or infinite; the weights are damaged"
            )
        return found


def resolve_name(name: str) -> str:
    """The Hub repository that TransformerLens knows by this name; the name itself where it is none of its aliases."""
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((repository for repository, names in MODEL_ALIASES.items() if name in names), name)


def named_tokenizer(name: str) -> str:
    """The tokenizer that goes with a model: the one its configuration names, else the model's own place.

    raises  SourceError if a legacy repository's configuration cannot be read
    """
    repository = resolve_name(name)
    if Path(name).is_dir() or not repository.startswith(LEGACY_OWNERS):
        return repository
    config = hub.download(repository, LEGACY_FILES[:1])[0][LEGACY_FILES[0]]
    return str(_read_config(config).get("tokenizer_name") or repository)


def load_model(name: str, hook_point: str, tokenizer: Any, device: torch.device) -> HookedModel:
    """The model of a folder, of a legacy TransformerLens repository, or of any other name TransformerLens knows.

    tokenizer  the `transformers` tokenizer; handed on so that TransformerLens loads none of its own
    raises     SourceError if it cannot be read, has no such hook point, or the hook point's way to the logits is
               not linear
    """
    repository = resolve_name(name)
    if Path(name).is_dir():
        bridge, provenance = _boot_folder(Path(name), tokenizer)
    elif repository.startswith(LEGACY_OWNERS):
        bridge, provenance = _boot_legacy(repository, tokenizer)
    else:
        bridge, provenance = _boot_transformers(repository, tokenizer)
    if hook_point not in bridge.hook_dict:
        raise SourceError(
            f"{name} has no hook point {hook_point}; its MLP's is blocks.0.mlp.hook_post, for example"
        )
    bridge.enable_compatibility_mode(disable_warnings=True)
    bridge.eval().requires_grad_(False).to(device, print_details=False)
    W_out = _way_out(bridge, hook_point)
    W_U = bridge.W_U.detach()
    d_hook = W_U.shape[0] if W_out is None else W_out.shape[0]
    return HookedModel(bridge, hook_point, int(d_hook), W_out, W_U, provenance)


def _way_out(bridge: Any, hook_point: str) -> Tensor | None:
    """What takes the hook point's activations to the residual stream: nothing where they are in it."""
    W_out: Tensor
    if match := MLP_HOOK.fullmatch(hook_point):
        W_out = bridge.blocks[int(match[1])].mlp.W_out.detach()
        return W_out
    if match := HEADS_HOOK.fullmatch(hook_point):
        W_out = bridge.blocks[int(match[1])].attn.W_O.detach().flatten(0, 1)
        return W_out
    if RESIDUAL_HOOK.fullmatch(hook_point):
        return None
    raise SourceError(
        f"hook point {hook_point}: the way from there to the logits is not linear; "
        "give blocks.N.mlp.hook_post, blocks.N.attn.hook_z, or a residual-stream hook such as blocks.N.hook_resid_pre"
    )


def _boot_legacy(repository: str, tokenizer: Any) -> tuple[Any, Provenance]:
    """A repository in TransformerLens' own layout, by its own loader, once its files' hashes are known to hold.

    That loader asks the Hub for a list of files each time, so without the Hub the cached files are read here.
    """
    paths, provenance = hub.download(repository, LEGACY_FILES)
    if constants.HF_HUB_OFFLINE:
        return _boot_files(*paths.values()), provenance
    from transformer_lens.model_bridge import TransformerBridge

    with hub.hub_errors(repository), _weight_errors(repository):
        return TransformerBridge.boot_tl_legacy(repository, tokenizer=tokenizer), provenance


def _boot_transformers(name: str, tokenizer: Any) -> tuple[Any, Provenance]:
    """A model of `transformers` from the Hub, once the hashes of its files are known to hold."""
    paths, _ = hub.download(name, ["config.json"], optional=(WEIGHTS, WEIGHTS_INDEX))
    files = [
        "config.json",
        *([WEIGHTS] if WEIGHTS in paths else _shards(paths.get(WEIGHTS_INDEX), name)),
    ]
    _, provenance = hub.download(name, files)
    with hub.hub_errors(name):
        return _bridge_from_transformers(name, tokenizer), provenance


def _shards(index: Path | None, name: str) -> list[str]:
    """The index of a model in several files, and those files."""
    if index is None:
        raise SourceError(f"{name} holds no {WEIGHTS}: models are read from safetensors alone")
    return [WEIGHTS_INDEX, *sorted(set(_read_config(index)["weight_map"].values()))]


def _bridge_from_transformers(name: str, tokenizer: Any) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    with _weight_errors(name):
        return TransformerBridge.boot_transformers(name, tokenizer=tokenizer, dtype=torch.float32)


def _boot_folder(folder: Path, tokenizer: Any) -> tuple[Any, Provenance]:
    """A model on disk: in the legacy layout with its weights as safetensors, or as `transformers` saves it."""
    paths = [folder / "config.json", folder / "model.safetensors"]
    for path in paths:
        if not path.is_file():
            raise SourceError(
                f"{folder.name} holds no {path.name}: a model folder has config.json and model.safetensors"
            )
    provenance = local_provenance(folder.name, paths)
    if "model_type" in _read_config(paths[0]):
        return _bridge_from_transformers(str(folder), tokenizer), provenance
    return _boot_files(*paths), provenance


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise SourceError(f"{path.parent.name}/{path.name} is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise SourceError(f"{path.parent.name}/{path.name} is no JSON object")
    return values


def _boot_files(config_path: Path, weights_path: Path) -> Any:
    """A model from a legacy config.json and its weights under TransformerLens' names."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    with _weight_errors(f"{config_path.parent.name}/{weights_path.name}"):
        values = _read_config(config_path)
        names = ["d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab", "act_fn"]
        config = TransformerBridgeConfig(
            **{name: values[name] for name in names},
            normalization_type=values["normalization"],
            positional_embedding_type="standard",
            architecture="TransformerLensNative",
        )
        weights = {name: weight.float() for name, weight in read_tensors(weights_path).items()}
        bridge = TransformerBridge.boot_native(config)
        bridge.load_state_dict(convert_tl_checkpoint(weights, config), strict=True)
    return bridge


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
        reason = " ".join(str(error).split())[:200]
        raise SourceError(f"{name}: the model cannot be loaded: {reason}") from None
