"""What exports are made from: records, the vocabulary as plain text, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

from sitegen.labels import Label, kept_labels
from sitegen.output import OutputFolder
from sitegen.progress import Progress
from sitegen.records import ContextRecord, FeatureRecord, Histogram, LogitEffect
from sitegen.render.site import autoencoder_key
from sitegen.render.text import group_tokens, plain
from sitegen.store import examined, feature_files, read_bytes, read_manifest, read_vocab


class ExportSource:
    """A finished data folder.

    raises  StoreError if it is damaged, UsageError if the kept labels are of another subject
    """

    def __init__(self, output: OutputFolder) -> None:
        self.manifest: dict[str, Any] = read_manifest(output.data)
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
        """The layer of the hook point."""
        return int(self.manifest["config"]["model"]["hook_point"].split(".")[1])

    @property
    def model(self) -> str:
        """The model's name, without its owner."""
        name: str = self.manifest["sources"]["model"]["name"]
        return name.rpartition("/")[2]

    @property
    def name(self) -> str:
        """The autoencoder's: its layer and the preset that it was shown by."""
        return f"{self.layer}-{self.manifest['preset']}"

    def features(self, tool: str) -> Iterator[FeatureRecord]:
        """Every record, by feature number."""
        progress = Progress(f"export {tool}", len(self._paths), "features")
        for path in self._paths:
            yield examined(FeatureRecord, read_bytes(path), path)
            progress.advance(1)
        progress.finish()

    def batches(self, tool: str, n_features: int) -> Iterator[list[FeatureRecord]]:
        """The same, so many at a time."""
        records = self.features(tool)
        while batch := list(islice(records, n_features)):
            yield batch

    def tokens(self, context: ContextRecord) -> list[str]:
        """The text of each of a context's tokens.

        A character of several tokens stands whole at the one of them that the feature fires on most, and nothing at
        the others: so it can be read wherever it is shown, and the texts together are the context's.
        """
        texts = [""] * len(context.tokens)
        for group in group_tokens([self._vocab[token] for token in context.tokens], plain):
            held = context.activations[group.first : group.last + 1]
            texts[group.first + held.index(max(held))] = group.text
        return texts

    @staticmethod
    def effect_text(effect: LogitEffect) -> str:
        """The token that a logit effect is on."""
        return plain(effect.token)


def bin_middles(histogram: Histogram) -> list[float]:
    """The middle of each bin."""
    pairs = zip(histogram.edges[:-1], histogram.edges[1:], strict=True)
    return [(low + high) / 2 for low, high in pairs]
