"""The computing stage: sources to a data folder. Everything with torch in it is behind this module."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import sitegen
from sitegen.analysis.assemble import Records
from sitegen.analysis.findings import find_all
from sitegen.analysis.fit import measure_fit
from sitegen.analysis.live import LiveRefusalError, live_model
from sitegen.config import Config
from sitegen.errors import UsageError
from sitegen.files import whole_folder
from sitegen.finished import inputs_key, note_finished, remarks_if_finished
from sitegen.output import OutputFolder
from sitegen.parts import KeptParts
from sitegen.progress import announce
from sitegen.records import KINDS, Fit, LiveModel, PublishedNumber, TokenText
from sitegen.sources.autoencoder import unrecognised_hook_point
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sources.text_defaults import differences
from sitegen.space import require_space
from sitegen.store import StoreWriter
from sitegen.sweep.driver import Engine, JobSlice, sweep, sweep_slice
from sitegen.sweep.state import SweepState
from sitegen.verify.numbers import verify
from sitegen.verify.source import published_presets, read_published

LIBRARIES = (
    "torch",
    "transformer_lens",
    "transformers",
    "tokenizers",
    "datasets",
    "huggingface_hub",
    "numpy",
    "scipy",
    "scikit-learn",
    "openTSNE",
)


@dataclass(frozen=True)
class Computed:
    """What a sweep and its analysis came to."""

    n_features: int
    is_kept: bool  # it was there already, from the same inputs
    remarks: list[str]  # on what was left out, and on what readers should know of the rows


def compute_data(config: Config, output: OutputFolder, engine: Engine = sweep) -> Computed:
    """Sweeps and analyses a subject and writes `data/`, whole or not at all.

    engine  what gives the statistics of all rows
    raises  SitegenError for sources and options that do not fit, OSError where the disk refuses
    """
    announce("sources")
    inputs = load_inputs(config)
    config = inputs.config
    key = inputs_key(_facts(inputs, config))
    former = remarks_if_finished(output, key)
    if former is not None:
        return Computed(len(inputs.feature_ids), True, former)
    require_space(output, config, len(inputs.feature_ids), len(inputs.rows.tokens))
    parts = KeptParts(output.sweep, key)
    fit = parts.get("fit", Fit, lambda: measure_fit(inputs, config))
    state = engine(inputs, config, output.sweep)
    found = find_all(state, fit, inputs, config, read_published(config.preset), parts)
    vocab = token_texts(inputs)
    records = Records(found, inputs, config, vocab)
    live, why_not = _live_model(inputs, state, config)
    with whole_folder(output.data) as folder:
        store = StoreWriter(folder)
        n_of_kind: dict[str, int] = dict.fromkeys(KINDS, 0)
        for record, evidence in records.features():
            store.add(record)
            store.add_evidence(evidence)
            n_of_kind[record.kind] += 1
        for other in records.others():
            store.add_other(other)
        for rows in records.rows():
            store.add_rows(rows)
        if live is not None:
            store.add_live(live)
        manifest = _manifest(config, inputs, state, n_of_kind)
        manifest["live"] = {"is_there": live is not None, "why_not": why_not}
        store.finish(manifest, vocab, records.overview())
    remarks = []
    if fit.objection:
        remarks.append(f"the pages say that the autoencoder may not fit: {fit.objection}")
    remarks += unrecognised_hook_point(inputs.autoencoder)
    remarks += differences(
        config.corpus, inputs.rows.delimiters, inputs.autoencoder, inputs.tokenizer
    )
    if config.live.precision != "none" and why_not:
        remarks.append(f"no text can be tried on the pages: {why_not}")
    note_finished(output, key, remarks)
    parts.remove()
    return Computed(len(inputs.feature_ids), False, remarks)


def _facts(inputs: Inputs, config: Config) -> dict[str, Any]:
    """All that `data/` is a function of, beside this package's code."""
    return {
        "config": config.as_dict(),
        "sources": _sources(inputs),
        "rows": inputs.rows.key,
        "device": str(inputs.device.type),
        "versions": _versions(),
    }


def compute_slice(config: Config, output: OutputFolder, job_slice: JobSlice) -> int:
    """Sweeps a share of a subject's shards, to be merged later; returns how many.

    raises  as `compute_data` does
    """
    announce("sources")
    inputs = load_inputs(config)
    require_space(output, inputs.config, len(inputs.feature_ids), len(inputs.rows.tokens))
    measure_fit(inputs, inputs.config)
    return sweep_slice(inputs, inputs.config, output.sweep, job_slice)


def _live_model(inputs: Inputs, state: SweepState, config: Config) -> tuple[LiveModel | None, str]:
    """(the model that pages run, or why there is none)."""
    try:
        return live_model(inputs, state.counts.max_activation, config), ""
    except LiveRefusalError as refusal:
        return None, str(refusal)


def verify_published(config: Config) -> list[PublishedNumber]:
    """The numbers that were published of a preset's subject, computed again.

    raises  UsageError if there are none, SitegenError for sources that cannot be read
    """
    published = read_published(config.preset)
    if published is None:
        known = ", ".join(published_presets())
        raise UsageError(f"no numbers are published of {config.preset}: give {known}")
    announce("sources")
    inputs = load_inputs(config)
    measure_fit(inputs, inputs.config)
    return list(verify(inputs, inputs.config, published))


def token_texts(inputs: Inputs) -> list[TokenText]:
    """[d_vocab] what each of the model's ids stands for: text, bytes that are no whole character, or None."""
    table = inputs.tokenizer.token_bytes()[: inputs.model.d_vocab]
    texts: list[TokenText] = [None if token is None else _text_if_whole(token) for token in table]
    return texts + [None] * (inputs.model.d_vocab - len(texts))


def _text_if_whole(token: bytes) -> TokenText:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return token


def _manifest(
    config: Config, inputs: Inputs, state: SweepState, n_of_kind: dict[str, int]
) -> dict[str, Any]:
    n_rows, seq_len = inputs.rows.tokens.shape
    settings = config.as_dict()
    settings["sweep"]["device"] = inputs.device.type
    return {
        "preset": config.preset,
        "config": settings,
        "sources": _sources(inputs),
        "model": {
            "processing": list(inputs.model.processing),
            "left_out": list(inputs.model.output.left_out),
        },
        "autoencoder": {
            "activation_function": inputs.autoencoder.activation_function,
            "k": inputs.autoencoder.architecture.k,
            "subtracts_b_dec": inputs.autoencoder.architecture.subtracts_b_dec,
            "normalisation": inputs.autoencoder.architecture.normalisation,
            "logit_effects": inputs.model.output.formula,
        },
        "rows": inputs.rows.delimiters.sentence(inputs.tokenizer),
        "row_delimiters": dataclasses.asdict(inputs.rows.delimiters),
        "counts": {
            "n_features": len(inputs.feature_ids),
            "d_hidden": inputs.autoencoder.d_hidden,
            "d_hook": inputs.model.d_hook,
            "d_vocab": inputs.model.d_vocab,
            **dataclasses.asdict(inputs.rows.documents),
            "n_rows": n_rows,
            "seq_len": seq_len,
            "n_positions": state.counts.n_positions,
            "n_of_kind": n_of_kind,
        },
        "error_bound": {
            "precision": config.sweep.precision,
            "n_examined": state.error_bound.n_examined,
            "n_active": int(state.counts.n_active.sum()),
            "largest_error": state.error_bound.largest_error,
            "says": "Every entry of the encoder's product that, with the bound on its rounding error added, is above 0 "
            "was computed again in float32; so no dropped entry is above 0 or could have stood in a list. "
            "largest_error is the largest difference found, as a share of its bound.",
        },
        "special_ids": list(inputs.special_ids),
        "versions": _versions(),
    }


def _sources(inputs: Inputs) -> dict[str, Any]:
    """Where everything that was read came from."""
    read = {
        "model": inputs.model.provenance,
        "autoencoder": inputs.autoencoder.provenance,
        "tokenizer": inputs.tokenizer.provenance,
        "corpus": inputs.rows.provenance,
    }
    if inputs.other is not None:
        read["other"] = inputs.other.provenance
    return {name: dataclasses.asdict(provenance) for name, provenance in read.items()}


def _versions() -> dict[str, str]:
    """Of everything that numbers may depend on."""
    return {
        "sitegen": sitegen.__version__,
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }
