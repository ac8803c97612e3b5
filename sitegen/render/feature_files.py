"""The files of the data that one feature's page is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sitegen.records import EvidenceRecord, FeatureRecord, OtherRecord
from sitegen.render.views import FeatureData
from sitegen.store import decode, evidence_path, feature_path, other_path, read_bytes


@dataclass(frozen=True)
class FeatureFiles:
    """The files of one feature: its record, its evidence, and its matches in the second autoencoder."""

    folder: Path
    feature_id: int
    content: bytes
    record: FeatureRecord
    evidence: bytes
    others: dict[int, bytes]

    @classmethod
    def read(cls, folder: Path, feature_id: int) -> FeatureFiles:
        """Read the files of one feature.

        raises  StoreError if one is missing or the record does not fit its schema
        """
        path = feature_path(folder, feature_id)
        content = read_bytes(path)
        record = decode(FeatureRecord, content, path)
        others = {other: read_bytes(other_path(folder, other)) for other in _matched(record)}
        evidence = read_bytes(evidence_path(folder, feature_id))
        return cls(folder, feature_id, content, record, evidence, others)

    def contents(self) -> list[bytes]:
        """Every file's content."""
        return [self.content, self.evidence, *self.others.values()]

    def data(self) -> FeatureData:
        """Decode all records.

        raises  StoreError if one does not fit its schema
        """
        folder, feature_id = self.folder, self.feature_id
        evidence = decode(EvidenceRecord, self.evidence, evidence_path(folder, feature_id))
        others = {
            other: decode(OtherRecord, content, other_path(folder, other))
            for other, content in self.others.items()
        }
        return FeatureData(self.record, evidence, others)


def _matched(record: FeatureRecord) -> list[int]:
    """The features of the second autoencoder that a record names, each once."""
    if record.match is None:
        return []
    matches = [record.match.decoder, record.match.activation]
    return list(dict.fromkeys(match.feature_id for match in matches if match is not None))
