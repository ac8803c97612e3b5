"""Check that the autoencoder fits the activations at the hook point.

A dashboard of the wrong activations looks as plausible as one of the right activations. So before the sweep, the share
of variance that the reconstruction leaves unexplained is measured on a few rows: as configured, and for every other
candidate (hook point, processing of the model, settings of the autoencoder) that the files and the model allow. A run
whose autoencoder fits another candidate clearly better is refused.

source  docs/fit.md
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sitegen.config import NO_PROCESSING, NORMALISATIONS, Config
from sitegen.errors import SourceError
from sitegen.progress import announce
from sitegen.records import Fit, FitCandidate
from sitegen.sources.autoencoder import Autoencoder
from sitegen.sources.hook_points import canonical_point
from sitegen.sources.inputs import Inputs
from sitegen.sources.model import HookedModel, layer_and_point, load_model
from sitegen.sources.output_projection import HEADS_HOOK, MLP_HOOK
from sitegen.sweep.reader import row_ranges

# Tokens on which the configured candidate, and those that come near it, are measured
N_TOKENS = 2048
# Tokens on which every other candidate is measured first
N_FIRST_TOKENS = 512
TOKENS_AT_ONCE = 256
# A candidate is clearly better if its unexplained variance is at most this share of the configured candidate's. The
# residual stream of a neighbouring layer can be explained nearly as well as the right one: shares of 0.8 and more were
# measured.
CLEARLY_BETTER = 0.7
# Candidates with up to this many times the least unexplained variance cannot be told apart, so all of them are named
AS_GOOD = 1.05
# A candidate with at most this share of the configured candidate's unexplained variance on the first tokens is measured
# on all tokens
WORTH_ALL_TOKENS = 1.0
# Largest plausible share of the features that are active on an average token
DENSEST = 0.25
# A declared number that is missed by this factor is an objection
FAR_OFF = 2.0
# Variance along the mean over d_hook, divided by the average variance of a direction. The reconstructions of an
# autoencoder that was trained on centred activations have nearly none there; those of one that was trained on other
# activations have about as much as in other directions.
NEARLY_NONE = 0.1
AS_IN_OTHER_DIRECTIONS = 0.5
POINTS = (
    "hook_resid_pre",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)
# With the norm's gain, and without it
MLP_INPUTS = ("mlp.hook_in", "ln2.hook_normalized")


@dataclass(frozen=True)
class Candidate:
    """One way of reading activations: the activations, and an autoencoder to which they are given.

    name    in messages and on pages
    remedy  what makes it the configured candidate, as a command: "set ..."
    x       [n_tokens, d_hook]
    target  [n_tokens, d_output] what the reconstruction is compared with; `x` itself but for a transcoder
    """

    name: str
    remedy: str
    autoencoder: Autoencoder
    x: Tensor
    target: Tensor


@dataclass(frozen=True)
class Figures:
    """Measurements of one candidate."""

    # Squared error over squared distance of the activations from their mean
    unexplained: float
    l0: float
    n_tokens: int


@dataclass(frozen=True)
class Nearby:
    """Activations on which the autoencoder may have been trained, [n_tokens, d_hook] each.

    configured   at the configured hook point of the model as it was loaded
    target       [n_tokens, d_output] at its output point
    unprocessed  the model without any processing of its weights
    activations  of the unprocessed model, by hook point; empty where only the configured activations are possible
    targets      of the unprocessed model, by hook point: what a transcoder that reads there would reconstruct; empty
                 for autoencoders
    """

    configured: Tensor
    target: Tensor
    unprocessed: HookedModel
    activations: dict[str, Tensor]
    targets: dict[str, Tensor]


def measure_fit(inputs: Inputs, config: Config) -> Fit:
    """Measure the configured candidate and all others on the first rows, without special tokens and first tokens.

    In many models the activation on a row's first token is many times as long as all others, so it would dominate every
    measure.

    returns  the measurements of the first autoencoder; all autoencoders are checked, on the same activations
    raises   SourceError if there is an objection to the configured candidate of one of them, unless
             autoencoder.accept_poor_fit is set
    """
    announce("fit")
    tokens, is_text = _first_tokens(inputs, config)
    nearby = _read_nearby(inputs, config, tokens, is_text)
    fits = [_measure(autoencoder, inputs, config, nearby) for autoencoder in inputs.autoencoders]
    return fits[0]


def _measure(autoencoder: Autoencoder, inputs: Inputs, config: Config, nearby: Nearby) -> Fit:
    """Measure one of the inputs' autoencoders.

    raises  SourceError as `measure_fit` does
    """
    point = config.model.hook_point
    configured = Candidate("as configured", "", autoencoder, nearby.configured, nearby.target)
    found = measure(configured, N_TOKENS)
    others = []
    for candidate in _alternatives(inputs.model, configured, nearby):
        figures = measure(candidate, N_FIRST_TOKENS)
        if figures.unexplained <= WORTH_ALL_TOKENS * found.unexplained:
            figures = measure(candidate, N_TOKENS)
        others.append((candidate, figures))
    reason = find_objection(autoencoder, config, found, others)
    reason = reason or _find_objection_by_mean(inputs.model, configured)
    if reason and not config.autoencoder.accept_poor_fit:
        raise SourceError(
            f"{autoencoder.provenance.name} does not fit {point} of {inputs.model.provenance.name}: {reason}; "
            "or set autoencoder.accept_poor_fit = true to go on"
        )
    candidates = [(configured, found), *others]
    return Fit(
        explained_variance=1 - found.unexplained,
        l0=found.l0,
        n_tokens=found.n_tokens,
        objection=reason,
        candidates=[
            FitCandidate(candidate.name, 1 - figures.unexplained, figures.l0, figures.n_tokens)
            for candidate, figures in candidates
        ],
    )


def find_objection(
    autoencoder: Autoencoder,
    config: Config,
    found: Figures,
    others: list[tuple[Candidate, Figures]],
) -> str:
    """Find a reason against the configured candidate, with the remedy; empty if there is none.

    found   measurements of the configured candidate
    others  all other candidates with their measurements
    """
    least = min((figures.unexplained for _, figures in others), default=float("inf"))
    # This comes first: even if the configured candidate explains nothing, a candidate that explains something is the
    # most useful thing to name
    if least <= CLEARLY_BETTER * found.unexplained and least < 1:
        as_good = [one for one, figures in others if figures.unexplained <= AS_GOOD * least]
        return (
            f"a better fit is {' or '.join(one.name for one in as_good)}, {least:.2g} of the variance unexplained "
            f"against {found.unexplained:.2g}: {', or '.join(one.remedy for one in as_good)}"
        )
    # `not <`, because NaN is an objection too
    if not found.unexplained < 1:
        return (
            f"its reconstruction explains none of the variance ({found.unexplained:.3g} of it remains unexplained): "
            "configure the model, hook point and settings with which it was trained"
        )
    if found.l0 == 0 or found.l0 > DENSEST * autoencoder.d_hidden:
        amount = "none" if found.l0 == 0 else f"{found.l0:,.1f}"
        return (
            f"on average, {amount} of its {autoencoder.d_hidden:,} features are active on a token, so its activation "
            "function is probably another: set autoencoder.activation, and give its k or thresholds"
        )
    declared_l0 = (
        config.autoencoder.l0 or autoencoder.architecture.declared_l0 or autoencoder.architecture.k
    )
    if declared_l0 and not declared_l0 / FAR_OFF <= found.l0 <= declared_l0 * FAR_OFF:
        return (
            f"on average, {found.l0:,.1f} features are active on a token, but {declared_l0:,g} are declared: "
            "configure the model, hook point and settings with which it was trained"
        )
    declared = config.autoencoder.explained_variance
    if declared and 1 - found.unexplained < declared / FAR_OFF:
        return (
            f"it explains {1 - found.unexplained:.2f} of the variance, but {declared:g} is declared: "
            "configure the model, hook point and settings with which it was trained"
        )
    return ""


@torch.no_grad()
def _find_objection_by_mean(model: HookedModel, configured: Candidate) -> str:
    """Find out from the direction that centring removes whether the weights must be centred or not; empty if right.

    The mean over the entries of the residual stream is one direction of d_hook. Often its share of the variance is so
    small that the explained variance is nearly the same for centred and other activations. The variance of the
    reconstruction in this direction shows on which of them the autoencoder was trained.
    """
    is_outside_stream = MLP_HOOK.fullmatch(model.output_point) or HEADS_HOOK.fullmatch(
        model.output_point
    )
    # The normalisation layer_norm centres the autoencoder's input in any case
    is_centred = configured.autoencoder.architecture.normalisation == "layer_norm"
    if is_outside_stream or is_centred or not model.output.centres:
        return ""
    parts = torch.split(configured.x[:N_TOKENS], TOKENS_AT_ONCE)
    reconstruction = torch.cat([configured.autoencoder.reconstruct(part)[0] for part in parts])
    in_activations = _variance_along_mean(configured.target[:N_TOKENS])
    in_reconstruction = _variance_along_mean(reconstruction)
    step = "center_writing_weights"
    if step in model.processing and in_reconstruction > NEARLY_NONE:
        rest = [name for name in model.processing if name != step] or [NO_PROCESSING]
        return (
            "its reconstruction varies along the mean over the residual stream's entries, which centred weights "
            f"remove, so it was not trained on centred weights: set model.processing = {json.dumps(rest)}"
        )
    is_centred_alone = in_activations > AS_IN_OTHER_DIRECTIONS and in_reconstruction < NEARLY_NONE
    if step not in model.processing and is_centred_alone:
        return (
            "the activations vary along the mean over the residual stream's entries, but its reconstruction does not, "
            "so it was trained on centred weights: set model.processing = "
            f"{json.dumps([*model.processing, step])}"
        )
    return ""


def _variance_along_mean(x: Tensor) -> float:
    """Compute the variance along the mean over d_hook, divided by the average variance of a direction.

    x  [n, d_hook] activations or reconstructions
    """
    # The mean's unit direction is (1, ..., 1) / sqrt(d_hook), so the variance along it is d_hook times the variance of
    # the mean. The average variance of a direction is the total variance divided by d_hook.
    whole = x.double().var(0).sum()
    return float(x.double().mean(1).var() * x.shape[1] ** 2 / whole) if whole > 0 else 0.0


@torch.no_grad()
def measure(candidate: Candidate, n_tokens: int) -> Figures:
    """Measure unexplained variance and L0 of a candidate on the first `n_tokens` tokens."""
    x, target = candidate.x[:n_tokens], candidate.target[:n_tokens]
    mean = target.double().mean(0)
    error = variance = n_active = 0.0
    parts = (torch.split(tensor, TOKENS_AT_ONCE) for tensor in (x, target))
    for part, expected in zip(*parts, strict=True):
        reconstruction, active = candidate.autoencoder.reconstruct(part)
        error += float((expected.double() - reconstruction.double()).square().sum())
        variance += float((expected.double() - mean).square().sum())
        n_active += float(active.sum())
    unexplained = error / variance if variance else float("inf")
    return Figures(unexplained, n_active / max(len(x), 1), len(x))


def _first_tokens(inputs: Inputs, config: Config) -> tuple[Tensor, Tensor]:
    """Get the tokens on which candidates are measured.

    returns  ([n_rows, seq_len] ids of the first rows, [n_rows * seq_len] bool: whether a token is text and not the
             first of its row)
    """
    seq_len = inputs.rows.tokens.shape[1]
    # Half as many again as N_TOKENS, rounded up to rows: some of them are left out
    n_rows = min(-(-N_TOKENS * 3 // (2 * seq_len)), len(inputs.rows.tokens))
    tokens = inputs.ids(range(n_rows))
    special = torch.tensor(inputs.special_ids, device=tokens.device, dtype=tokens.dtype)
    is_text = ~torch.isin(tokens, special)
    is_text[:, 0] = False
    return tokens, is_text.flatten()


def _activations(
    model: HookedModel, tokens: Tensor, points: tuple[str, ...], block_rows: int
) -> dict[str, Tensor]:
    """Read the activations at some hook points, [n_tokens, width] each; those that the model never calls are absent."""
    parts: dict[str, list[Tensor]] = {}
    for rows in row_ranges(0, len(tokens), block_rows):
        for point, found in model.activations_at(tokens[rows.start : rows.stop], points).items():
            parts.setdefault(point, []).append(found.flatten(0, 1))
    return {point: torch.cat(found) for point, found in parts.items()}


def _read_nearby(inputs: Inputs, config: Config, tokens: Tensor, is_text: Tensor) -> Nearby:
    """Read the activations at the configured hook point and at those around it.

    tokens   [n_rows, seq_len]
    is_text  [n_rows * seq_len] bool: the tokens to keep
    """
    model, point = inputs.model, config.model.hook_point

    def read_text(source: HookedModel, points: tuple[str, ...]) -> dict[str, Tensor]:
        found = _activations(source, tokens, points, inputs.block_rows)
        return {name: x[is_text] for name, x in found.items()}

    read = read_text(model, (point, model.output_point))
    configured, target = read[point], read[model.output_point]
    points = _points_of_width(model, tokens, model.d_hook)
    # No processing changes an MLP's neurons, so there is nothing else to read
    if points == (point,) and model.reads_neurons:
        return Nearby(configured, target, model, {}, {})
    unprocessed = model
    # Processing cannot be undone, so the model is loaded again. Loading may change the tokenizer's settings,
    # so it gets a copy.
    if model.processing:
        tokenizer = copy.deepcopy(inputs.tokenizer.tokenizer)
        unprocessed = load_model(
            config.model.name, point, tokenizer, inputs.device, output_point=model.output_point
        )
    activations = read_text(unprocessed, points)
    targets: dict[str, Tensor] = {}
    if model.is_transcoded:
        written = {name: _output_of(model, name) for name in activations}
        found = read_text(unprocessed, tuple(dict.fromkeys(written.values())))
        targets = {name: found[output] for name, output in written.items() if output in found}
        activations = {name: x for name, x in activations.items() if name in targets}
    return Nearby(configured, target, unprocessed, activations, targets)


def _output_of(model: HookedModel, point: str) -> str:
    """Name what a transcoder that reads at a point would reconstruct: its output point, moved to the point's layer."""
    return f"blocks.{layer_and_point(point)[0]}.{layer_and_point(model.output_point)[1]}"


def _alternatives(model: HookedModel, configured: Candidate, nearby: Nearby) -> Iterator[Candidate]:
    """Generate all other candidates that the files and the model allow."""
    yield from _other_encoders(configured)
    yield from _other_activations(model, configured, nearby)


def _other_encoders(configured: Candidate) -> Iterator[Candidate]:
    """Generate candidates with the same activations and other settings of the autoencoder."""
    yield from _other_inputs(configured)
    autoencoder = configured.autoencoder
    architecture = autoencoder.architecture
    if autoencoder.threshold is not None or architecture.k:
        plain = dataclasses.replace(architecture, k=0)
        yield dataclasses.replace(
            configured,
            name="a ReLU without threshold or k",
            remedy='set autoencoder.activation = "relu"',
            autoencoder=dataclasses.replace(autoencoder, threshold=None, architecture=plain),
        )
    yield from _other_skip_connections(configured)
    if autoencoder.d_hidden == autoencoder.d_hook == autoencoder.d_output:
        for name, part, shape in (
            ("encoder", "W_enc", "[d_hook, d_hidden]"),
            ("decoder", "W_dec", "[d_hidden, d_hook]"),
        ):
            turned = getattr(autoencoder, part).T.contiguous()
            yield dataclasses.replace(
                configured,
                name=f"the {name} transposed",
                remedy=f"save the autoencoder with {part} as {shape}",
                autoencoder=dataclasses.replace(autoencoder, **{part: turned}),
            )


def _other_inputs(configured: Candidate) -> Iterator[Candidate]:
    """Generate candidates with `b_dec` subtracted or not, and with other normalisations or scales of the input."""
    autoencoder, x = configured.autoencoder, configured.x
    architecture = autoencoder.architecture
    for subtracts in (architecture.subtracts_b_dec, not architecture.subtracts_b_dec):
        is_changed = subtracts != architecture.subtracts_b_dec
        if is_changed and (architecture.is_transcoder or not bool(autoencoder.b_dec.any())):
            continue
        words, settings = [], []
        if is_changed:
            words.append("b_dec subtracted" if subtracts else "b_dec not subtracted")
            settings.append(f"autoencoder.subtracts_b_dec = {str(subtracts).lower()}")
        for kind in NORMALISATIONS:
            changed = dataclasses.replace(
                architecture, subtracts_b_dec=subtracts, normalisation=kind
            )
            if changed == architecture:
                continue
            other, setting = [], []
            if kind != architecture.normalisation:
                is_none = kind == "none"
                other = ["inputs not normalised" if is_none else f"inputs normalised by {kind}"]
                setting = [f'autoencoder.normalisation = "{kind}"']
            yield dataclasses.replace(
                configured,
                name=" and ".join([*words, *other]),
                remedy=f"set {' and '.join([*settings, *setting])}",
                autoencoder=dataclasses.replace(autoencoder, architecture=changed),
            )
        if architecture.normalisation == "none" and len(x):
            length = float(torch.linalg.vector_norm(x, dim=1).mean())
            scale = x.shape[1] ** 0.5 / max(length, 1e-30)
            scaled = [*settings, f"autoencoder.input_scale = {scale:.6g}"]
            changed = dataclasses.replace(architecture, subtracts_b_dec=subtracts)
            yield Candidate(
                " and ".join([*words, "inputs scaled to an average length of sqrt(d_hook)"]),
                f"set {' and '.join(scaled)}",
                dataclasses.replace(autoencoder, architecture=changed),
                x * scale,
                configured.target * scale,
            )


def _other_skip_connections(configured: Candidate) -> Iterator[Candidate]:
    """Generate candidates of a transcoder without its skip connection, and with the transposed one."""
    autoencoder = configured.autoencoder
    if autoencoder.W_skip is None:
        return
    yield dataclasses.replace(
        configured,
        name="no skip connection",
        remedy="save the transcoder without W_skip",
        autoencoder=dataclasses.replace(autoencoder, W_skip=None),
    )
    if autoencoder.d_hook == autoencoder.d_output:
        turned = autoencoder.W_skip.T.contiguous()
        yield dataclasses.replace(
            configured,
            name="the skip connection transposed",
            remedy="save the transcoder with its skip connection transposed",
            autoencoder=dataclasses.replace(autoencoder, W_skip=turned),
        )


def _other_activations(
    model: HookedModel, configured: Candidate, nearby: Nearby
) -> Iterator[Candidate]:
    """Generate candidates with other activations: nearby hook points, of the model with and without processing."""
    for point, x in nearby.activations.items():
        for step, changed in _process(nearby.unprocessed, point, x).items():
            is_as_configured = step == _step_at(model, point)
            if point == model.hook_point and is_as_configured:
                continue
            settings = _point_settings(model, point)
            if not is_as_configured:
                settings.append(f'model.processing = ["{step}"]')
            name = point if step == NO_PROCESSING else f"{point} after {step}"
            if step == NO_PROCESSING and not is_as_configured:
                name = f"{point} of the unprocessed model"
            yield Candidate(
                name,
                f"set {' and '.join(settings)}",
                configured.autoencoder,
                changed,
                nearby.targets.get(point, changed),
            )


def _point_settings(model: HookedModel, point: str) -> list[str]:
    """List the settings that make another hook point the configured one."""
    settings = [] if point == model.hook_point else [f'model.hook_point = "{point}"']
    if model.is_transcoded and _output_of(model, point) != model.output_point:
        settings.append(f'model.output_hook_point = "{_output_of(model, point)}"')
    return settings


def _step_at(model: HookedModel, point: str) -> str:
    """Get the step of the model's processing that changes the activations at a hook point, or `NO_PROCESSING`."""
    step = "fold_value_biases" if HEADS_HOOK.fullmatch(point) else "center_writing_weights"
    is_applied = step in model.processing and not MLP_HOOK.fullmatch(point)
    return step if is_applied and (model.output.centres or "bias" in step) else NO_PROCESSING


def _process(model: HookedModel, point: str, x: Tensor) -> dict[str, Tensor]:
    """Compute what each step of processing would make of the activations at a hook point.

    model    without processing
    x        [n, width] activations of that model
    returns  [n, width] activations by step; under `NO_PROCESSING`, `x`
    """
    found = {NO_PROCESSING: x}
    if HEADS_HOOK.fullmatch(point):
        bias = getattr(model.bridge.blocks[layer_and_point(point)[0]].attn, "b_V", None)
        if bias is not None and bool(bias.any()):
            # A row's attention weights sum to 1, so the value biases add a constant to each head's output. Heads that
            # share keys and values share their bias.
            heads = bias.detach().reshape(-1, bias.shape[-1])  # [n_key_value_heads, d_head]
            n_repeats = x.shape[1] // heads.numel()
            found["fold_value_biases"] = x - heads.repeat_interleave(n_repeats, 0).flatten()
    elif model.output.centres and not MLP_HOOK.fullmatch(point):
        found["center_writing_weights"] = x - x.mean(1, keepdim=True)
    return found


def _points_of_width(model: HookedModel, tokens: Tensor, width: int) -> tuple[str, ...]:
    """Find the hook points of one width in the configured layer and its two neighbours.

    A transcoder may also read an MLP's input, behind its norm.

    Of several hook points with the same activations, one is returned: the configured one, or else the first.
    """
    layer = model.layer_and_point[0]
    layers = range(max(layer - 1, 0), min(layer + 2, model.n_layers))
    points = (*POINTS, *MLP_INPUTS) if model.is_transcoded else POINTS
    named = [f"blocks.{number}.{point}" for number in layers for point in points]
    first: dict[str, str] = {canonical_point(model.hook_point): model.hook_point}
    for point in named:
        first.setdefault(canonical_point(point), point)
    activations = model.activations_at(tokens[:1], tuple(first.values()))
    return tuple(point for point, x in activations.items() if x.shape[-1] == width)
