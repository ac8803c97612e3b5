"""The computing stage: inputs to a data folder. All code that needs torch is imported through this module."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec

import sitegen
from sitegen.analysis.assemble import Records
from sitegen.analysis.findings import find_all
from sitegen.analysis.fit import measure_fit
from sitegen.analysis.live import LiveRefusalError, live_model
from sitegen.config import Config
from sitegen.errors import UsageError
from sitegen.files import whole_folder
from sitegen.finished import inputs_key, note_finished, remarks_if_finished
from sitegen.memory import require_memory
from sitegen.output import OutputFolder
from sitegen.parts import KeptParts
from sitegen.progress import announce, tell
from sitegen.records import (
    KINDS,
    AutoencoderRecord,
    Counts,
    ErrorBoundRecord,
    Fit,
    Kind,
    LiveModel,
    LiveRecord,
    Manifest,
    ModelRecord,
    PublishedNumber,
    RowDelimitersRecord,
    SourceFileRecord,
    SourceName,
    SourceRecord,
    TokenText,
)
from sitegen.sources.autoencoder import hook_point_remarks
from sitegen.sources.inputs import Inputs, load_inputs
from sitegen.sources.provenance import Provenance
from sitegen.sources.text_defaults import text_differences
from sitegen.space import describe_large_site, require_space
from sitegen.store import SCHEMA_VERSION, StoreWriter
from sitegen.sweep.driver import Engine, JobSlice, sweep, sweep_slice
from sitegen.sweep.state import SweepResult
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
    """Outcome of a sweep and its analysis.

    n_features  number of features in the data
    is_kept     whether the data was already complete from the same inputs, so that nothing was computed
    remarks     sentences for the user: what was left out, and how the rows differ from those of training
    """

    n_features: int
    is_kept: bool
    remarks: list[str]


def compute_data(config: Config, output: OutputFolder, engine: Engine = sweep) -> Computed:
    """Sweep and analyse the inputs of a configuration and write `data/`, whole or not at all.

    engine  function that computes the statistics of all rows
    raises  SitegenError for inputs and options that do not fit, OSError if the disk refuses a write
    """
    announce("sources")
    inputs = load_inputs(config)
    config = inputs.config
    key = inputs_key(_input_facts(inputs, config))
    earlier_remarks = remarks_if_finished(output, key)
    if earlier_remarks is not None:
        return Computed(len(inputs.feature_ids), True, earlier_remarks)
    _require_resources(inputs, config, output)
    parts = KeptParts(output.sweep, key)
    fit = parts.get("fit", Fit, lambda: measure_fit(inputs, config))
    swept = engine(inputs, config, output.sweep).result()
    found = find_all(swept, fit, inputs, config, read_published(config.preset), parts)
    vocab = token_texts(inputs)
    records = Records(found, inputs, config, vocab)
    live, why_not = _live_model(inputs, swept, config)
    with whole_folder(output.data) as folder:
        store = StoreWriter(folder)
        n_of_kind: dict[Kind, int] = dict.fromkeys(KINDS, 0)
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
        shown = LiveRecord(live is not None, why_not)
        manifest = _manifest(config, inputs, swept, n_of_kind, shown)
        store.finish(manifest, vocab, records.overview())
    remarks = []
    if fit.objection:
        remarks.append(f"the pages warn that the autoencoder may not fit: {fit.objection}")
    remarks += hook_point_remarks(inputs.autoencoder)
    remarks += text_differences(
        config.corpus, inputs.rows.delimiters, inputs.autoencoder, inputs.tokenizer
    )
    if config.live.precision != "none" and why_not:
        remarks.append(f"the pages cannot run the model on a reader's text: {why_not}")
    # Only now is the run noted as finished, and the parts that would have resumed it are no longer needed
    note_finished(output, key, remarks)
    parts.remove()
    return Computed(len(inputs.feature_ids), False, remarks)


def _require_resources(inputs: Inputs, config: Config, output: OutputFolder) -> None:
    """Say before anything is computed how large a large run is; raise SpaceError if disk or memory cannot hold it."""
    n_features, autoencoder = len(inputs.feature_ids), inputs.autoencoder
    large_site = describe_large_site(config, n_features)
    if large_site:
        tell(large_site)
    require_space(output, config, n_features, len(inputs.rows.tokens))
    on_cpu = inputs.device.type == "cpu"
    require_memory(config, n_features, autoencoder.d_hidden, autoencoder.d_hook, on_cpu)


def _input_facts(inputs: Inputs, config: Config) -> dict[str, Any]:
    """Everything except this package's code that determines `data/`."""
    return {
        "config": dataclasses.asdict(config.published(inputs.device.type)),
        "sources": msgspec.to_builtins(_sources(inputs)),
        "rows": inputs.rows.key,
        "versions": _versions(),
    }


def compute_slice(config: Config, output: OutputFolder, job_slice: JobSlice) -> int:
    """Sweep one job slice, to be merged with the others later; return its number of shards.

    raises  as `compute_data` does
    """
    announce("sources")
    inputs = load_inputs(config)
    _require_resources(inputs, inputs.config, output)
    measure_fit(inputs, inputs.config)
    return sweep_slice(inputs, inputs.config, output.sweep, job_slice)


def _live_model(inputs: Inputs, swept: SweepResult, config: Config) -> tuple[LiveModel | None, str]:
    """Make the model that pages run.

    returns  (model, "") or (None, the reason why there is none)
    """
    if config.live.precision == "none":
        return None, "live.precision is none"
    try:
        return live_model(inputs, swept.max_activation, config), ""
    except LiveRefusalError as refusal:
        return None, str(refusal)


def verify_published(config: Config) -> list[PublishedNumber]:
    """Compute a preset's published numbers again.

    raises  UsageError if it has none, SitegenError for inputs that cannot be read
    """
    published = read_published(config.preset)
    if published is None:
        presets = ", ".join(published_presets())
        raise UsageError(
            f"{config.preset} has no published numbers to verify; give one of the presets that have: {presets}"
        )
    announce("sources")
    inputs = load_inputs(config)
    measure_fit(inputs, inputs.config)
    return list(verify(inputs, inputs.config, published))


def token_texts(inputs: Inputs) -> list[TokenText]:
    """Texts [d_vocab] of the model's ids: text, bytes that are not whole characters, or None for an unused id."""
    table = inputs.tokenizer.token_bytes()[: inputs.model.d_vocab]
    texts: list[TokenText] = [None if token is None else _text_if_whole(token) for token in table]
    return texts + [None] * (inputs.model.d_vocab - len(texts))


def _text_if_whole(token: bytes) -> TokenText:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return token


def _manifest(
    config: Config, inputs: Inputs, swept: SweepResult, n_of_kind: dict[Kind, int], live: LiveRecord
) -> Manifest:
    n_rows, seq_len = inputs.rows.tokens.shape
    architecture, documents = inputs.autoencoder.architecture, inputs.rows.documents
    delimiters = inputs.rows.delimiters
    return Manifest(
        schema_version=SCHEMA_VERSION,
        preset=config.preset,
        config=config.published(inputs.device.type),
        sources=_sources(inputs),
        model=ModelRecord(list(inputs.model.processing), list(inputs.model.output.left_out)),
        autoencoder=AutoencoderRecord(
            activation_function=inputs.autoencoder.activation_function,
            k=architecture.k,
            is_transcoder=architecture.is_transcoder,
            has_skip_connection=inputs.autoencoder.W_skip is not None,
            subtracts_b_dec=architecture.subtracts_b_dec,
            normalisation=architecture.normalisation,
            logit_effects=inputs.model.output.formula,
        ),
        rows=delimiters.sentence(inputs.tokenizer),
        row_delimiters=RowDelimitersRecord(delimiters.bos_id, delimiters.separator_id),
        counts=Counts(
            n_features=len(inputs.feature_ids),
            d_hidden=inputs.autoencoder.d_hidden,
            d_hook=inputs.model.d_hook,
            d_output=inputs.model.d_output,
            d_vocab=inputs.model.d_vocab,
            n_documents=documents.n_documents,
            n_empty=documents.n_empty,
            n_null=documents.n_null,
            n_rows=n_rows,
            seq_len=seq_len,
            n_positions=swept.n_positions,
            n_of_kind=n_of_kind,
        ),
        error_bound=ErrorBoundRecord(
            precision=config.sweep.precision,
            n_examined=swept.n_examined,
            n_active=int(swept.n_active.sum()),
            largest_error=swept.largest_error,
            says="Every entry of the encoder's product that, with the bound on its rounding error added, is above 0 "
            "was computed again in float32; so no dropped entry is above 0 or could have stood in a list. "
            "largest_error is the largest difference found, as a share of its bound.",
        ),
        special_ids=list(inputs.special_ids),
        live=live,
        versions=_versions(),
    )


def _sources(inputs: Inputs) -> dict[SourceName, SourceRecord]:
    """Where each of the inputs came from."""
    read: dict[SourceName, Provenance] = {
        "model": inputs.model.provenance,
        "autoencoder": inputs.autoencoder.provenance,
        "tokenizer": inputs.tokenizer.provenance,
        "corpus": inputs.rows.provenance,
    }
    if inputs.second is not None:
        read["other"] = inputs.second.provenance
    return {
        name: SourceRecord(
            provenance.name,
            provenance.revision,
            [SourceFileRecord(file.name, file.sha256) for file in provenance.files],
        )
        for name, provenance in read.items()
    }


def _versions() -> dict[str, str]:
    """Versions of everything that the numbers may depend on."""
    return {
        "sitegen": sitegen.__version__,
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }
