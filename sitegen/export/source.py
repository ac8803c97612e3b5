"""The source of all exports: records, the vocabulary as plain text, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from sitegen.labels import Label, kept_labels
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.records import ContextRecord, FeatureRecord, Histogram, LogitEffect
from sitegen.render.digests import autoencoder_key
from sitegen.render.text import group_tokens, plain
from sitegen.store import decode, feature_files, read_bytes, read_manifest, read_vocab


class ExportSource:
    """The records and labels of a finished output folder.

    raises  StoreError if the data is damaged, UsageError if the kept labels belong to another autoencoder
    """

    def __init__(self, output: OutputFolder) -> None:
        self.manifest = read_manifest(output.data)
        self._vocab = read_vocab(output.data)
        self._paths = feature_files(output.data)
        ids = {int(path.stem) for path in self._paths}
        labels = kept_labels(output.labels, autoencoder_key(self.manifest), ids)
        by_feature = groupby(labels, key=lambda label: label.feature)
        self.labels: dict[int, list[Label]] = {
            feature: list(group) for feature, group in by_feature
        }

    @property
    def layer(self) -> int:
        """Layer of the hook point."""
        return int(self.manifest.config.model.hook_point.split(".")[1])

    @property
    def model(self) -> str:
        """Name of the model, without its owner."""
        name = self.manifest.sources["model"].name
        return name.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Name of the autoencoder: its layer and its preset."""
        return f"{self.layer}-{self.manifest.preset}"

    def features(self, tool: str) -> Iterator[FeatureRecord]:
        """Read every record, in order of features; `tool` is for the progress line."""
        progress = Progress(f"exporting for {tool}", len(self._paths), "features")
        for path in self._paths:
            yield decode(FeatureRecord, read_bytes(path), path)
            progress.advance(1)
        progress.finish()

    def batches(self, tool: str, n_features: int) -> Iterator[list[FeatureRecord]]:
        """Read every record, `n_features` at a time."""
        records = self.features(tool)
        while batch := list(islice(records, n_features)):
            yield batch

    def tokens(self, context: ContextRecord) -> list[str]:
        """Get the text of each token of a context.

        A character that consists of several tokens is given to the one of them with the largest activation, and the
        others get an empty text. So it is readable wherever it is shown, and the texts together are the context's text.
        """
        texts = [""] * len(context.tokens)
        for group in group_tokens([self._vocab[token] for token in context.tokens], plain):
            activations = context.activations[group.first : group.last + 1]
            texts[group.first + activations.index(max(activations))] = group.text
        return texts

    @staticmethod
    def effect_text(effect: LogitEffect) -> str:
        """Get the text of a logit effect's token."""
        return plain(effect.text)


def bin_middles(histogram: Histogram) -> list[float]:
    """Compute the middle of each bin."""
    pairs = zip(histogram.edges[:-1], histogram.edges[1:], strict=True)
    return [(low + high) / 2 for low, high in pairs]
