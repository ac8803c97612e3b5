"""Pages compared with the data: the numbers and texts that they show."""

from __future__ import annotations

from collections.abc import Sequence

from sitegen.check.markup import Page
from sitegen.records import ContextRecord, FeatureRecord, NearMiss, TokenText
from sitegen.render.formats import exact, grouped, percent, significant
from sitegen.render.related import mean_of
from sitegen.render.text import group_tokens, marked, visible
from sitegen.render.views import FeatureData, peak_loss_changes
from sitegen.render.vocabulary import Vocabulary

TIMES = "\N{MULTIPLICATION SIGN}"


def feature_page_findings(page: Page, data: FeatureData, vocabulary: Vocabulary) -> list[str]:
    """Differences between what a feature's page shows and its records."""
    record = data.record
    contexts = [c for c in record.contexts if c.group == "top"]
    by_interval = sorted(
        (c for c in record.contexts if c.group == "interval"),
        key=lambda c: (-(c.interval or 0), c.rank),
    )
    effects = [*record.logits.top, *record.logits.bottom]
    loss_change = mean_of(peak_loss_changes(data))
    facts: list[float] = [
        record.feature_id,
        record.density,
        record.n_active,
        record.max_activation,
        record.mean_active,
        *[c.activation for c in contexts],
        *([] if loss_change is None else [loss_change]),
        *[effect.value for effect in effects],
        *[c.activation for c in by_interval],
        *_match_numbers(data),
        *_relation_numbers(record),
    ]
    findings = _differences(
        "number", [value for value, _ in page.numbers], [exact(value) for value in facts]
    )
    # The second and third are shown in formats of their own: a percentage, a count with separators
    shown = [_shown(value) for value in facts]
    shown[1:3] = percent(record.density), grouped(record.n_active)
    findings += _differences("shown number", [text for _, text in page.numbers], shown)
    findings += _differences(
        "kind", [kind for pair in page.kinds for kind in pair], [record.kind, record.kind]
    )
    others = [context for other in data.others.values() for context in other.contexts]
    lines: list[ContextRecord | NearMiss] = [
        *contexts,
        *by_interval,
        *data.evidence.near_misses,
        *others,
    ]
    texts = [_text([vocabulary.tokens[token] for token in line.tokens]) for line in lines]
    findings += _differences("context", page.lines, texts)
    findings += _differences("place of a context", page.places, [_place(line) for line in lines])
    return findings + _differences(
        "token", page.tokens, [marked(effect.text) for effect in effects]
    )


def _shown(value: float) -> str:
    """A number as pages show it; counts are shown unchanged."""
    return str(value) if isinstance(value, int) else significant(value)


def _text(tokens: Sequence[TokenText]) -> str:
    """The text of a context, as pages show it."""
    # Bytes form characters together. Grouping is slow, and needed for few contexts.
    if bytes in map(type, tokens):
        return "".join(group.text for group in group_tokens(tokens))
    return "".join(map(visible, tokens))


def _place(line: ContextRecord | NearMiss) -> str:
    """Row, position and number of copies of a context, as pages show them."""
    copies = line.copies if isinstance(line, ContextRecord) else 1
    return f"{line.row}/{line.position}" + (f" {TIMES}{copies}" if copies > 1 else "")


def _match_numbers(data: FeatureData) -> list[float]:
    """Numbers shown of each match in the second autoencoder: its similarities and its contexts' activations."""
    numbers: list[float] = []
    match = data.record.match
    for other in data.others.values():
        assert match is not None
        for measure in (match.decoder, match.activation):
            if measure is not None and measure.feature_id == other.feature_id:
                numbers.append(measure.value)
        numbers += [context.activation for context in other.contexts]
    return numbers


def _relation_numbers(record: FeatureRecord) -> list[float]:
    """Cosine with the rare direction, similarities of similar features, and numbers of neurons."""
    near = record.neighbours
    numbers: list[float] = [] if record.rare_cosine is None else [record.rare_cosine]
    numbers += [n.cosine for n in [*near.decoder, *near.encoder]]
    numbers += [n.jaccard for n in near.coactivation] + [n.n_shared for n in near.contexts]
    if record.neurons is not None:
        numbers += [n.weight for n in record.neurons.weights]
        numbers += [n.correlation for n in record.neurons.correlated]
    return numbers


def _differences(what: str, shown: list[str], expected: list[str]) -> list[str]:
    if len(shown) != len(expected):
        return [f"shows {len(shown)} {what}s where its JSON has {len(expected)}"]
    wrong = [(s, e) for s, e in zip(shown, expected, strict=True) if s != e]
    return [f"{what} {wrong[0][0]!r} where its JSON gives {wrong[0][1]!r}"] if wrong else []
