"""Draw random features of the demo for a person to read: `python -m demo.training.draw out/demo/data`."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

SEED = 7
N_DRAWN = 20
LOW_DENSITY, HIGH_DENSITY = 2e-4, 2e-2
N_SHOWN = 10


def draw(data: Path) -> list[dict[str, Any]]:
    """`N_DRAWN` records of the density band, drawn with `SEED`, in order of their numbers."""
    records = [json.loads(path.read_text()) for path in sorted((data / "features").glob("*.json"))]
    band = [record for record in records if LOW_DENSITY <= record["density"] <= HIGH_DENSITY]
    print(
        f"{len(band)} of {len(records)} features have a density from {LOW_DENSITY} to {HIGH_DENSITY}"
    )
    return sorted(
        random.Random(SEED).sample(band, N_DRAWN), key=lambda record: int(record["feature_id"])
    )


def main() -> None:
    """Print each drawn feature's strongest contexts, some weaker ones, and the tokens that it promotes."""
    data = Path(sys.argv[1])
    vocab = json.loads((data / "vocab.json").read_text())
    for record in draw(data):
        print(f"\nfeature {record['feature_id']}, density {record['density']:.5f}")
        contexts = record["contexts"]
        samples = [
            context
            for context in contexts
            if context["group"] == "interval" and context["interval"] >= 3
        ]
        for context in [*contexts[:N_SHOWN], *samples[:N_SHOWN]]:
            tokens = [
                token if isinstance(token, str) else "?"
                for token in map(vocab.__getitem__, context["tokens"])
            ]
            at = context["position"] - context["start"]
            line = f"{''.join(tokens[:at])}[{tokens[at]}]{''.join(tokens[at + 1 :])}"
            print(f"  {context['activation']:7.3f}  {line!r}")
        print("  promotes", [effect["token"] for effect in record["logits"]["top"][:8]])


if __name__ == "__main__":
    main()
