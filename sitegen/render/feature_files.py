"""The files of the data that one feature's page is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sitegen.records import EvidenceRecord, FeatureRecord, OtherRecord
from sitegen.render.views import FeatureData
from sitegen.store import (
    as_record,
    evidence_path,
    examined_fields,
    feature_path,
    matched_features,
    other_path,
    parse_json,
    read_bytes,
)


@dataclass(frozen=True)
class FeatureFiles:
    """A feature's files as they stand on disk: its record, the evidence beside it, its matches in the other run."""

    folder: Path
    feature_id: int
    record: bytes
    fields: Any  # of the record, as its JSON has them
    evidence: bytes
    others: dict[int, bytes]

    @classmethod
    def read(cls, folder: Path, feature_id: int) -> FeatureFiles:
        """Those of one feature.

        raises  StoreError if one is missing or the record is no JSON
        """
        path = feature_path(folder, feature_id)
        record = read_bytes(path)
        fields = parse_json(record, path)
        matched = matched_features(fields)
        others = {other: read_bytes(other_path(folder, other)) for other in matched}
        evidence = read_bytes(evidence_path(folder, feature_id))
        return cls(folder, feature_id, record, fields, evidence, others)

    def contents(self) -> list[bytes]:
        """Every file's content."""
        return [self.record, self.evidence, *self.others.values()]

    def are_as_written(self, checksums: dict[str, str]) -> bool:
        """Whether every file is the very one that the sweep wrote, which fits its schema."""
        paths = [
            feature_path(self.folder, self.feature_id),
            evidence_path(self.folder, self.feature_id),
        ]
        paths += [other_path(self.folder, other) for other in self.others]
        names = (path.relative_to(self.folder).as_posix() for path in paths)
        return all(
            checksums.get(name) == hashlib.sha256(content).hexdigest()
            for name, content in zip(names, self.contents(), strict=True)
        )

    def examined(self) -> FeatureData:
        """The records.

        raises  StoreError if one is damaged or does not fit its schema
        """
        return self._made(examined_fields)

    def parsed(self) -> FeatureData:
        """The records, known to fit their schemas."""
        return self._made(as_record)

    def _made(self, make: Callable[..., Any]) -> FeatureData:
        folder, feature_id = self.folder, self.feature_id
        return FeatureData(
            make(FeatureRecord, self.fields, feature_path(folder, feature_id)),
            self._read(make, EvidenceRecord, self.evidence, evidence_path(folder, feature_id)),
            {
                other: self._read(make, OtherRecord, data, other_path(folder, other))
                for other, data in self.others.items()
            },
        )

    @staticmethod
    def _read(make: Callable[..., Any], kind: type, content: bytes, path: Path) -> Any:
        return make(kind, parse_json(content, path), path)
