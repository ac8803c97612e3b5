"""The sparse autoencoder: its checked weights, its architecture and its provenance."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sitegen.config import ModelConfig
from sitegen.errors import SourceError
from sitegen.maths.activation_functions import make_activation_function
from sitegen.maths.encoder import Encoder
from sitegen.maths.normalisation import Normalised, normalise
from sitegen.sources.architecture import Architecture, DeclaredSettings
from sitegen.sources.hook_points import is_declared_as, to_hook_point
from sitegen.sources.layouts.layout import Layout, Reading, expand_threshold, fold_input_scale
from sitegen.sources.layouts.plain import read_plain
from sitegen.sources.layouts.registry import find_source, recognise
from sitegen.sources.layouts.source import Source
from sitegen.sources.provenance import Provenance

if TYPE_CHECKING:
    from sitegen.sources.model import HookedModel

WEIGHT_NAMES = ("W_enc", "W_dec", "b_enc", "b_dec")
OPTIONAL_NAMES = ("threshold", "W_skip")


@dataclass(frozen=True)
class Autoencoder:
    """`f = ReLU((x - b_in) W_enc + b_enc)`, `x' = f W_dec + b_dec`; decoder rows keep the norms of the file.

    `b_in` is `b_dec` if the architecture subtracts it, otherwise 0. With thresholds it is a JumpReLU, with a k a TopK.
    The architecture may also normalise `x` before encoding; `x'` is
    then scaled back.

    A transcoder is read in the same way, but `x'` stands for the activations at another hook point, of width d_output;
    it may have a skip connection, which adds `x W_skip` to `x'`.
    """

    W_enc: Tensor  # [d_hook, d_hidden] float32
    W_dec: Tensor  # [d_hidden, d_output] float32
    b_enc: Tensor  # [d_hidden] float32
    b_dec: Tensor  # [d_output] float32
    provenance: Provenance
    threshold: Tensor | None = None  # [d_hidden] float32; only a JumpReLU has it
    W_skip: Tensor | None = None  # [d_hook, d_output] float32; only some transcoders have it
    architecture: Architecture = field(default_factory=Architecture)

    @property
    def d_hidden(self) -> int:
        """Number of features."""
        return int(self.b_enc.shape[0])

    @property
    def d_hook(self) -> int:
        """Width of the activations that it encodes."""
        return int(self.W_enc.shape[0])

    @property
    def d_output(self) -> int:
        """Width of the activations that it reconstructs: d_hook, except for a transcoder."""
        return int(self.b_dec.shape[0])

    @property
    def b_in(self) -> Tensor:
        """What is subtracted from the input, [d_hook] float32: `b_dec` or zeros."""
        if self.architecture.subtracts_b_dec:
            return self.b_dec
        return self.b_dec.new_zeros(self.d_hook)

    @property
    def activation_function(self) -> str:
        """Name of the activation function: ReLU, JumpReLU or TopK."""
        return activation_name(self.architecture, self.threshold is not None)

    def encoder(self, chosen: Tensor | None = None) -> Encoder:
        """Encoder of all features, or of the features `chosen` [n_chosen] int64, in rising order."""
        k, columns = self.architecture.k, slice(None) if chosen is None else chosen
        if k:
            # In a TopK every feature competes for the k largest, so all of them have to be computed
            columns = slice(None)
        b_enc = self.b_enc[columns]
        threshold = torch.zeros_like(b_enc) if self.threshold is None else self.threshold[columns]
        return Encoder(
            self.W_enc[:, columns],
            b_enc,
            self.b_in,
            make_activation_function(threshold, k),
            self.architecture.normalisation,
            chosen if k else None,
        )

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Compute the feature activations [n, d_hidden] for hook-point activations `x` [n, d_hook].

        This is a plain dense product, independent of the search that the sweep uses.
        """
        activations: Tensor = (self.normalise(x).x - self.b_in) @ self.W_enc + self.b_enc
        if self.threshold is not None:
            activations = torch.where(activations > self.threshold, activations, 0)
        activations = activations.relu_()
        if self.architecture.k:
            largest = activations.topk(self.architecture.k, 1)
            activations = torch.zeros_like(activations).scatter_(1, largest.indices, largest.values)
        return activations

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct `x` [n, d_hook], or the activations that a transcoder predicts from it.

        returns  (reconstruction [n, d_output], number of active features [n] int64)
        """
        activations = self.encode(x)
        return self.decode(activations @ self.W_dec, x), (activations > 0).sum(1)

    @torch.no_grad()
    def decode(self, products: Tensor, x: Tensor) -> Tensor:
        """Complete a reconstruction [n, d_output]: add the bias, undo the normalisation, and add the skip connection.

        products  [n, d_output] `f W_dec`
        x         [n, d_hook] the input
        """
        output = products + self.b_dec
        # A transcoder writes to another stream, whose scale the input's normalisation does not tell
        if self.architecture.normalisation != "none" and not self.architecture.is_transcoder:
            output = self.normalise(x).undone(output)
        return output if self.W_skip is None else output + x @ self.W_skip

    def output_scale(self, x: Tensor) -> Tensor:
        """Factor between `f W_dec` and what it adds to the reconstruction, [n] for inputs `x` [n, d_hook]."""
        if self.architecture.is_transcoder:
            return x.new_ones(len(x))
        return self.normalise(x).scale[:, 0]

    def normalise(self, x: Tensor) -> Normalised:
        """Normalise hook-point activations [n, d_hook] as the architecture asks."""
        return normalise(x, self.architecture.normalisation)


def activation_name(architecture: Architecture, has_threshold: bool) -> str:
    """Name of the activation function: ReLU, JumpReLU or TopK."""
    if architecture.k:
        return "TopK"
    return "JumpReLU" if has_threshold else "ReLU"


def load_autoencoder(
    source: str, repository: str, device: torch.device, declared: DeclaredSettings | None = None
) -> Autoencoder:
    """Load the autoencoder of a local file or folder, or of a version, file or folder of a Hub repository.

    source    run1, run2, a version number, or a file or folder in one of the known layouts
    declared  settings that the configuration declares
    raises    SourceError if it cannot be read, its architecture is not supported, or a weight is missing, extra,
              misshapen, not float or not finite
    """
    declared = declared or DeclaredSettings()
    found, layout = recognise(find_source(source, repository))
    weights, architecture = read_source(found, layout, declared)
    checked = check_weights(weights, architecture, found.name)
    on_device = {name: weight.to(device) for name, weight in checked.items()}
    return Autoencoder(**on_device, provenance=found.provenance(), architecture=architecture)


def read_source(source: Source, layout: Layout | None, declared: DeclaredSettings) -> Reading:
    """Read the weights and the architecture of a source, with declared settings applied.

    layout  of the source; None for a plain file
    raises  SourceError if they are not supported, or need a setting that is not declared
    """
    if layout is None:
        weights, architecture = read_plain(source, source.tensors(source.file), declared)
    elif layout.refusal:
        raise SourceError(f"{source.name}: {layout.refusal}")
    else:
        weights, architecture = layout.read(source, source.tensors(layout.weights_file(source)))
    return apply_declared(weights, architecture, declared, source.name)


def apply_declared(
    weights: dict[str, Tensor], architecture: Architecture, declared: DeclaredSettings, name: str
) -> tuple[dict[str, Tensor], Architecture]:
    """Apply the configuration's declared settings, which take precedence over those of the files.

    raises  SourceError if the declared activation function needs a k or thresholds that are not there
    """
    if declared.subtracts_b_dec is not None:
        architecture = replace(architecture, subtracts_b_dec=declared.subtracts_b_dec)
    if declared.normalisation:
        architecture = replace(architecture, normalisation=declared.normalisation)
    if architecture.lacks_input_scale and not declared.input_scale:
        raise SourceError(
            f"{name}: training scaled its input to an average length of sqrt(d_hook), and its files do not hold the "
            "factor: set autoencoder.input_scale to sqrt(d_hook) / average length, or save it again after calling "
            "SAELens' fold_activation_norm_scaling_factor"
        )
    if declared.input_scale:
        weights = fold_input_scale(weights, declared.input_scale)
    k = declared.k or architecture.k
    if declared.activation == "topk":
        if not k:
            raise SourceError(f"{name}: a TopK autoencoder needs its k: set autoencoder.k")
        return _without_threshold(weights), replace(architecture, k=k)
    if declared.activation in ("jumprelu", "batchtopk"):
        if "threshold" not in weights:
            raise SourceError(
                f"{name} holds no threshold, which {declared.activation} needs outside training: "
                'save it with its thresholds, or set autoencoder.activation = "topk" and autoencoder.k'
            )
        # Outside training a BatchTopK is a JumpReLU: its k is only the expected number of active features
        l0 = float(declared.k) or architecture.declared_l0
        return expand_threshold(weights), replace(architecture, k=0, declared_l0=l0)
    if declared.activation == "relu":
        return _without_threshold(weights), replace(architecture, k=0)
    if declared.k and "threshold" in weights:
        return weights, replace(architecture, declared_l0=float(declared.k))
    if declared.k and not architecture.k:
        raise SourceError(
            f'{name}: autoencoder.k is set, but it is no TopK: remove it, or set autoencoder.activation = "topk"'
        )
    return weights, replace(architecture, k=k)


def _without_threshold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name != "threshold"}


def check_weights(
    weights: dict[str, Tensor], architecture: Architecture, name: str
) -> dict[str, Tensor]:
    """Return the weights as float32, after checking their names, types, shapes and finiteness.

    Thresholds below 0 become 0.

    raises  SourceError that names the first fault
    """
    _require_names(weights, name)
    _require_shapes(weights, architecture, name)
    single = {key: weight.float() for key, weight in weights.items()}
    for key, weight in single.items():
        if weight.is_meta:
            # Only the file's header was read
            continue
        n_wrong = int((~torch.isfinite(weight)).sum())
        if n_wrong:
            raise SourceError(
                f"{name}: {key} holds {n_wrong} values that are NaN or infinite as float32; save the weights again"
            )
    if "threshold" in single:
        # JumpReLU activations are positive in any case, so a threshold below 0 acts as 0
        single["threshold"] = single["threshold"].clamp(min=0)
    return single


def _require_names(weights: dict[str, Tensor], name: str) -> None:
    """Raise SourceError unless all needed weights are there, and none that is not known."""
    missing = [key for key in WEIGHT_NAMES if key not in weights]
    extra = [key for key in weights if key not in (*WEIGHT_NAMES, *OPTIONAL_NAMES)]
    if missing or extra:
        faults = [f"lacks {', '.join(missing)}"] * bool(missing) + [
            f"has also {', '.join(extra)}"
        ] * bool(extra)
        raise SourceError(
            f"{name} {' and '.join(faults)}: an autoencoder file holds {', '.join(WEIGHT_NAMES)}, optionally "
            f"{', '.join(OPTIONAL_NAMES)}, and nothing else"
        )


def _require_shapes(weights: dict[str, Tensor], architecture: Architecture, name: str) -> None:
    """Raise SourceError unless the weights are float tensors whose shapes fit each other and the architecture."""
    for key, weight in weights.items():
        n_axes = 2 if key.startswith("W") else 1
        if not weight.is_floating_point() or weight.ndim != n_axes:
            shape = list(weight.shape)
            raise SourceError(
                f"{name}: {key} is {weight.dtype} {shape}; a float tensor with {n_axes} axes is expected"
            )
    d_hidden, d_output = len(weights["b_enc"]), len(weights["b_dec"])
    # Only a transcoder's input has a width of its own
    d_hook = weights["W_enc"].shape[0] if architecture.is_transcoder else d_output
    expected = {
        "W_enc": [d_hook, d_hidden],
        "W_dec": [d_hidden, d_output],
        "threshold": [d_hidden],
        "W_skip": [d_hook, d_output],
    }
    for key, shape in expected.items():
        if key in weights and list(weights[key].shape) != shape:
            raise SourceError(
                f"{name}: {key} has shape {list(weights[key].shape)}, but b_enc [{d_hidden}] and b_dec [{d_output}] "
                f"require {shape}"
            )
    if d_hidden == 0 or d_hook == 0:
        raise SourceError(
            f"{name}: the autoencoder is empty ({d_hidden} features, width {d_hook}); give another"
        )
    if "W_skip" in weights and not architecture.is_transcoder:
        raise SourceError(
            f"{name}: W_skip is a transcoder's skip connection, but it is read as an autoencoder; give the files "
            "that were saved together"
        )
    if architecture.k > d_hidden:
        raise SourceError(
            f"{name}: k is {architecture.k}, but the autoencoder has only {d_hidden} features; correct k"
        )


def with_hook_points(config: ModelConfig, autoencoder: Autoencoder) -> ModelConfig:
    """Fill in the hook points that the configuration leaves open, from the autoencoder's own settings.

    raises  SourceError if they are open there too, or the configuration contradicts the autoencoder's settings
    """
    name, architecture = autoencoder.provenance.name, autoencoder.architecture
    declared = to_hook_point(architecture.hook_point)
    declared_output = to_hook_point(architecture.output_hook_point)
    hook_point = config.hook_point or declared
    output_point = config.output_hook_point or declared_output
    if not hook_point:
        declares = (
            f"declares {architecture.hook_point!r}" if architecture.hook_point else "declares none"
        )
        raise SourceError(
            f"model.hook_point is not set, and {name} {declares}: set it to the hook point that the autoencoder reads"
        )
    if architecture.is_transcoder and not output_point:
        raise SourceError(
            f"{name} is a transcoder, and its files do not declare what it writes to: set model.output_hook_point, "
            "such as blocks.N.hook_mlp_out"
        )
    if output_point and not architecture.is_transcoder:
        raise SourceError(
            f"{name} is an autoencoder, which reconstructs what it reads: remove model.output_hook_point (a transcoder "
            "and an autoencoder cannot be compared)"
        )
    pairs = (
        ("hook_point", declared, architecture.hook_point, hook_point),
        ("output_hook_point", declared_output, architecture.output_hook_point, output_point),
    )
    for setting, known, written, configured in pairs:
        if known and not is_declared_as(known, configured):
            verb = "was trained on" if setting == "hook_point" else "writes to"
            raise SourceError(
                f"{name} {verb} {written}, not {'on ' if setting == 'hook_point' else ''}{configured}: "
                f"set model.{setting} = {known!r}"
            )
    return dataclasses.replace(config, hook_point=hook_point, output_hook_point=output_point)


def require_widths(autoencoder: Autoencoder, model: HookedModel) -> None:
    """Raise SourceError unless the autoencoder's widths are those of the model's hook points."""
    for verb, width, point, expected, setting in (
        ("reads", autoencoder.d_hook, model.hook_point, model.d_hook, "hook_point"),
        ("writes", autoencoder.d_output, model.output_point, model.d_output, "output_hook_point"),
    ):
        if width != expected:
            raise SourceError(
                f"{autoencoder.provenance.name} {verb} activations of width {width}, but {point} "
                f"has width {expected}: set model.name and model.{setting} to those that it was trained on"
            )


def hook_point_remarks(autoencoder: Autoencoder) -> list[str]:
    """One sentence if the settings declare a hook point by a name that cannot be compared; otherwise empty."""
    name = autoencoder.architecture.hook_point
    if not name or to_hook_point(name):
        return []
    return [
        f"{autoencoder.provenance.name} was trained on {name!r}, which is not a known name of a hook point: "
        "only the measured fit shows that model.hook_point is the right one"
    ]
