"""Whether the autoencoder explains what is read at the hook point, and whether something else would suit it better.

A dashboard of the wrong activations looks as plausible as a right one. So before the sweep the share of variance that
the reconstruction leaves unexplained is measured on a few rows: as configured, and for every other reading that the
files or the model allow. A run whose autoencoder fits another reading better is refused.
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
from sitegen.sources.autoencoder import Autoencoder, same_point
from sitegen.sources.inputs import Inputs
from sitegen.sources.model import HookedModel, layer_and_point, load_model
from sitegen.sources.output_projection import HEADS_HOOK, MLP_HOOK
from sitegen.sweep.shards import row_ranges

N_TOKENS = 2048  # that the configured reading, and others that come near it, are measured on
N_FIRST_TOKENS = 512  # that every other reading is measured on
TOKENS_AT_ONCE = 256
# Another reading is taken to be the right one if it leaves so much of what the configured one leaves, or less. A
# neighbouring layer's stream can be explained nearly as well as the right one: measured, 0.8 and more.
CLEARLY_BETTER = 0.7
# Times the least unexplained: readings that cannot be told apart, all of which are named
AS_GOOD = 1.05
WORTH_A_LOOK = 1.0  # of the configured one's, on the first tokens, from which all tokens decide
DENSEST = 0.25  # of all features, active on a token
FAR_OFF = 2.0  # times what is declared
# Variance along the mean over d_hook, over that in any direction on average. An autoencoder that was trained on centred
# activations reconstructs next to none; one that was trained on others, about as much as in other directions.
NEXT_TO_NONE = 0.1
AS_IN_OTHERS = 0.5
POINTS = (
    "hook_resid_pre",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)


@dataclass(frozen=True)
class Candidate:
    """A reading to measure: activations, and an autoencoder to put them through.

    name    as a message and the pages call it
    remedy  what to set for it to be the configured one
    x       [n_tokens, d_hook]
    """

    name: str
    remedy: str
    autoencoder: Autoencoder
    x: Tensor


@dataclass(frozen=True)
class Figures:
    """What one reading comes to."""

    unexplained: float  # squared error over squared distance from the mean
    l0: float
    n_tokens: int


@dataclass(frozen=True)
class Nearby:
    """Activations that an autoencoder may have been trained on, [n_tokens, d_hook] each.

    configured   at the hook point, of the model as it was loaded
    unprocessed  the model without any processing of its weights
    activations  of that, at each hook point around; none where nothing but the configured ones can be meant
    """

    configured: Tensor
    unprocessed: HookedModel
    activations: dict[str, Tensor]


def measure_fit(inputs: Inputs, config: Config) -> Fit:
    """The configured reading and its alternatives, over the first rows; special and first tokens are left out.

    The first token of a row has an activation of many times the others' length in many models, and no measure would
    see anything else. A second autoencoder is held against the same activations.

    raises  SourceError if the configured reading is not the right one, unless autoencoder.accept_poor_fit is set
    """
    announce("fit")
    tokens, is_text = _first_tokens(inputs, config)
    nearby = _nearby(inputs, config, tokens, is_text)
    fit = _fit_of(inputs, config, nearby)
    if inputs.other is not None:
        _fit_of(dataclasses.replace(inputs, autoencoder=inputs.other, other=None), config, nearby)
    return fit


def _fit_of(inputs: Inputs, config: Config, nearby: Nearby) -> Fit:
    """That of the subject's first autoencoder."""
    point = config.model.hook_point
    configured = Candidate("as configured", "", inputs.autoencoder, nearby.configured)
    found = measure(configured, N_TOKENS)
    others = []
    for candidate in _alternatives(inputs, configured, nearby):
        figures = measure(candidate, N_FIRST_TOKENS)
        if figures.unexplained <= WORTH_A_LOOK * found.unexplained:
            figures = measure(candidate, N_TOKENS)
        others.append((candidate, figures))
    reason = objection(inputs.autoencoder, config, found, others)
    reason = reason or _objection_by_the_mean(inputs, configured)
    if reason and not config.autoencoder.accept_poor_fit:
        raise SourceError(
            f"{inputs.autoencoder.provenance.name} does not fit {point} of {inputs.model.provenance.name}: {reason}; "
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


def objection(
    autoencoder: Autoencoder,
    config: Config,
    found: Figures,
    others: list[tuple[Candidate, Figures]],
) -> str:
    """Why the configured reading is not taken to be the right one, and what to do; empty if it is."""
    least = min((figures.unexplained for _, figures in others), default=float("inf"))
    # Even where nothing is explained, a reading that explains something is the most useful thing to name
    if least <= CLEARLY_BETTER * found.unexplained and least < 1:
        as_good = [one for one, figures in others if figures.unexplained <= AS_GOOD * least]
        return (
            f"a better fit is {' or '.join(one.name for one in as_good)}, {least:.2g} of the variance unexplained "
            f"against {found.unexplained:.2g}: set {' or '.join(one.remedy for one in as_good)}"
        )
    if not found.unexplained < 1:
        return (
            f"its reconstruction explains nothing ({found.unexplained:.3g} of the variance is left): "
            "give the model, hook point and settings that it was trained with"
        )
    if found.l0 == 0 or found.l0 > DENSEST * autoencoder.d_hidden:
        return (
            f"{found.l0:,.1f} of its {autoencoder.d_hidden:,} features are active on a token on average: give its "
            "activation function with autoencoder.activation, and its k or thresholds"
        )
    declared_l0 = (
        config.autoencoder.l0 or autoencoder.architecture.declared_l0 or autoencoder.architecture.k
    )
    if declared_l0 and not declared_l0 / FAR_OFF <= found.l0 <= declared_l0 * FAR_OFF:
        return (
            f"{found.l0:,.1f} features are active on a token on average where {declared_l0:,g} are declared: "
            "give the model, hook point and settings that it was trained with"
        )
    declared = config.autoencoder.explained_variance
    if declared and 1 - found.unexplained < declared / FAR_OFF:
        return (
            f"it explains {1 - found.unexplained:.2f} of the variance where {declared:g} is declared: "
            "give the model, hook point and settings that it was trained with"
        )
    return ""


@torch.no_grad()
def _objection_by_the_mean(inputs: Inputs, configured: Candidate) -> str:
    """Why the model should be processed otherwise, from the one direction that centring takes away; empty if it fits.

    The mean over a stream's entries is one direction of d_hook, often with so small a share of the variance that the
    variance explained does not tell centred activations from others. What the reconstruction does there tells.
    """
    model = inputs.model
    is_elsewhere = MLP_HOOK.fullmatch(model.hook_point) or HEADS_HOOK.fullmatch(model.hook_point)
    # layer_norm centres what the autoencoder is given in any case
    is_centred = inputs.autoencoder.architecture.normalisation == "layer_norm"
    if is_elsewhere or is_centred or not model.output.centres:
        return ""
    parts = torch.split(configured.x[:N_TOKENS], TOKENS_AT_ONCE)
    written = torch.cat([configured.autoencoder.reconstruct(part)[0] for part in parts])
    there, here = _variance_along_mean(configured.x[:N_TOKENS]), _variance_along_mean(written)
    step = "center_writing_weights"
    if step in model.processing and here > NEXT_TO_NONE:
        rest = [name for name in model.processing if name != step] or [NO_PROCESSING]
        return (
            "its reconstruction varies along the mean over the stream's entries, which centred weights take away: it "
            f"was not trained on them; set model.processing = {json.dumps(rest)}"
        )
    if step not in model.processing and there > AS_IN_OTHERS and here < NEXT_TO_NONE:
        return (
            "its reconstruction never varies along the mean over the stream's entries, as one that was trained on "
            f"centred weights: set model.processing = {json.dumps([*model.processing, step])}"
        )
    return ""


def _variance_along_mean(x: Tensor) -> float:
    """Of [n, d_hook] activations, along the mean over d_hook, over the average variance in a direction."""
    whole = x.double().var(0).sum()
    return float(x.double().mean(1).var() * x.shape[1] ** 2 / whole) if whole > 0 else 0.0


@torch.no_grad()
def measure(candidate: Candidate, n_tokens: int) -> Figures:
    """Unexplained variance and L0 of a reading over the first `n_tokens` tokens."""
    x = candidate.x[:n_tokens]
    mean = x.double().mean(0)
    error = variance = n_active = 0.0
    for part in torch.split(x, TOKENS_AT_ONCE):
        reconstruction, active = candidate.autoencoder.reconstruct(part)
        error += float((part.double() - reconstruction.double()).square().sum())
        variance += float((part.double() - mean).square().sum())
        n_active += float(active.sum())
    unexplained = error / variance if variance else float("inf")
    return Figures(unexplained, n_active / max(len(x), 1), len(x))


def _first_tokens(inputs: Inputs, config: Config) -> tuple[Tensor, Tensor]:
    """([n_rows, seq_len] ids of the first rows, [n_rows * seq_len] bool: which are text and not a row's first)."""
    seq_len = inputs.rows.tokens.shape[1]
    n_rows = min(-(-N_TOKENS * 3 // (2 * seq_len)), len(inputs.rows.tokens))
    tokens = inputs.ids(range(n_rows))
    special = torch.tensor(inputs.special_ids, device=tokens.device, dtype=tokens.dtype)
    is_text = ~torch.isin(tokens, special)
    is_text[:, 0] = False
    return tokens, is_text.flatten()


def _activations(
    model: HookedModel, tokens: Tensor, points: tuple[str, ...], config: Config
) -> dict[str, Tensor]:
    """[n_tokens, width] at each of some hook points; those that nothing passes are left out."""
    parts: dict[str, list[Tensor]] = {}
    for rows in row_ranges(0, len(tokens), config.sweep.batch_rows):
        for point, found in model.seen(tokens[rows.start : rows.stop], points).items():
            parts.setdefault(point, []).append(found.flatten(0, 1))
    return {point: torch.cat(found) for point, found in parts.items()}


def _nearby(inputs: Inputs, config: Config, tokens: Tensor, is_text: Tensor) -> Nearby:
    """What there is to read at the configured hook point and around it.

    tokens   [n_rows, seq_len]
    is_text  [n_rows * seq_len] bool: which of them are kept
    """
    model, point = inputs.model, config.model.hook_point

    def kept(read: HookedModel, points: tuple[str, ...]) -> dict[str, Tensor]:
        found = _activations(read, tokens, points, config)
        return {name: x[is_text] for name, x in found.items()}

    configured = kept(model, (point,))[point]
    points = _points_of_width(model, tokens, model.d_hook)
    if points == (point,) and model.reads_neurons:  # which no processing changes
        return Nearby(configured, model, {})
    unprocessed = model
    if model.processing:  # which cannot be undone
        lent = copy.deepcopy(inputs.tokenizer.tokenizer)
        unprocessed = load_model(config.model.name, point, lent, inputs.device)
    return Nearby(configured, unprocessed, kept(unprocessed, points))


def _alternatives(inputs: Inputs, configured: Candidate, nearby: Nearby) -> Iterator[Candidate]:
    """What else the files and the model allow."""
    yield from _other_encoders(configured)
    yield from _other_activations(inputs, nearby)


def _other_encoders(configured: Candidate) -> Iterator[Candidate]:
    """The same activations through other settings: b_dec subtracted or not, normalised otherwise, another function."""
    own, x = configured.autoencoder, configured.x
    architecture = own.architecture
    for subtracts in (architecture.subtracts_b_dec, not architecture.subtracts_b_dec):
        if subtracts != architecture.subtracts_b_dec and not bool(own.b_dec.any()):
            continue
        words, settings = [], []
        if subtracts != architecture.subtracts_b_dec:
            words.append("b_dec subtracted" if subtracts else "b_dec not subtracted")
            settings.append(f"autoencoder.subtracts_b_dec = {str(subtracts).lower()}")
        for kind in NORMALISATIONS:
            changed = dataclasses.replace(
                architecture, subtracts_b_dec=subtracts, normalisation=kind
            )
            if changed != architecture:
                other = (
                    [] if kind == architecture.normalisation else [f"inputs normalised by {kind}"]
                )
                if other and kind == "none":
                    other = ["inputs not normalised"]
                remedy = [f'autoencoder.normalisation = "{kind}"'] if other else []
                yield Candidate(
                    " and ".join([*words, *other]),
                    " and ".join([*settings, *remedy]),
                    dataclasses.replace(own, architecture=changed),
                    x,
                )
        if architecture.normalisation == "none" and len(x):
            length = float(torch.linalg.vector_norm(x, dim=1).mean())
            yield Candidate(
                " and ".join([*words, "inputs scaled to an average length of sqrt(d_hook)"]),
                "nothing here, but save the autoencoder with that scale folded into its weights",
                dataclasses.replace(
                    own, architecture=dataclasses.replace(architecture, subtracts_b_dec=subtracts)
                ),
                x * (x.shape[1] ** 0.5 / max(length, 1e-30)),
            )
    if own.threshold is not None or architecture.k:
        yield Candidate(
            "a ReLU without threshold or k",
            'autoencoder.activation = "relu"',
            dataclasses.replace(
                own, threshold=None, architecture=dataclasses.replace(architecture, k=0)
            ),
            x,
        )
    if own.d_hidden == own.d_hook:
        yield Candidate(
            "the encoder transposed",
            "nothing here, but save the autoencoder with W_enc as [d_hook, d_hidden]",
            dataclasses.replace(own, W_enc=own.W_enc.T.contiguous()),
            x,
        )
        yield Candidate(
            "the decoder transposed",
            "nothing here, but save the autoencoder with W_dec as [d_hidden, d_hook]",
            dataclasses.replace(own, W_dec=own.W_dec.T.contiguous()),
            x,
        )


def _other_activations(inputs: Inputs, nearby: Nearby) -> Iterator[Candidate]:
    """The same autoencoder on other activations: hook points nearby, of processed weights and of unprocessed ones."""
    model = inputs.model
    for point, x in nearby.activations.items():
        for step, changed in _as_processed(nearby.unprocessed, point, x).items():
            is_as_set = step == _step_at(model, point)
            if point == model.hook_point and is_as_set:
                continue
            settings = [] if point == model.hook_point else [f'model.hook_point = "{point}"']
            if not is_as_set:
                settings.append(f'model.processing = ["{step}"]')
            name = point if step == NO_PROCESSING else f"{point} after {step}"
            if step == NO_PROCESSING and not is_as_set:
                name = f"{point} of the unprocessed model"
            yield Candidate(name, " and ".join(settings), inputs.autoencoder, changed)


def _step_at(model: HookedModel, point: str) -> str:
    """What of the model's processing changes the activations at a point, if it has any part in them."""
    step = "fold_value_biases" if HEADS_HOOK.fullmatch(point) else "center_writing_weights"
    is_there = step in model.processing and not MLP_HOOK.fullmatch(point)
    return step if is_there and (model.output.centres or "bias" in step) else NO_PROCESSING


def _as_processed(model: HookedModel, point: str, x: Tensor) -> dict[str, Tensor]:
    """[n, width] activations of a point as they are in the unprocessed model, and as processing would leave them."""
    found = {NO_PROCESSING: x}
    if HEADS_HOOK.fullmatch(point):
        bias = getattr(model.bridge.blocks[layer_and_point(point)[0]].attn, "b_V", None)
        if bias is not None and bool(bias.any()):
            heads = bias.detach().reshape(-1, bias.shape[-1])  # [n_key_value_heads, d_head]
            n_repeats = x.shape[1] // heads.numel()
            found["fold_value_biases"] = x - heads.repeat_interleave(n_repeats, 0).flatten()
    elif model.output.centres and not MLP_HOOK.fullmatch(point):
        found["center_writing_weights"] = x - x.mean(1, keepdim=True)
    return found


def _points_of_width(model: HookedModel, tokens: Tensor, width: int) -> tuple[str, ...]:
    """The hook points of a width in the configured layer and its neighbours, each place once."""
    layer = model.layer_and_point[0]
    layers = range(max(layer - 1, 0), min(layer + 2, model.n_layers))
    named = [f"blocks.{number}.{point}" for number in layers for point in POINTS]
    first: dict[str, str] = {same_point(model.hook_point): model.hook_point}
    for point in named:
        first.setdefault(same_point(point), point)
    there = model.seen(tokens[:1], tuple(first.values()))
    return tuple(point for point, found in there.items() if found.shape[-1] == width)
