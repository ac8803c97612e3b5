"""Pages compared with the data: the numbers and texts that they show."""

from __future__ import annotations

from collections.abc import Sequence

from sitegen.check.markup import Page
from sitegen.records import ContextRecord, FeatureRecord, NearMiss, TokenText
from sitegen.render.formats import grouped, percent, significant
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
    others = [context for other in data.others.values() for context in other.contexts]
    cells = [
        percent(record.density),
        grouped(record.n_active),
        significant(record.max_activation),
        significant(record.mean_active),
        "",  # The kind, which is in an element of its own
        *map(_context_cell, contexts),
        *[significant(effect.value) for effect in effects],
        *map(_context_cell, by_interval),
        *map(_miss_cell, data.evidence.near_misses),
        *map(_context_cell, others),
        *_relation_cells(record),
    ]
    findings = _differences("number", page.cells, cells)
    findings += _differences("kind", page.kinds, [record.kind])
    wanting = [phrase for phrase in _phrases(data) if phrase not in page.text]
    findings += [f"does not say {phrase!r}, as its JSON gives" for phrase in wanting]
    lines: list[ContextRecord | NearMiss] = [
        *contexts,
        *by_interval,
        *data.evidence.near_misses,
        *others,
    ]
    texts = [_text([vocabulary.tokens[token] for token in line.tokens]) for line in lines]
    findings += _differences("context", page.lines, texts)
    return findings + _differences(
        "token", page.tokens, [marked(effect.text) for effect in effects]
    )


def _text(tokens: Sequence[TokenText]) -> str:
    """The text of a context, as pages show it."""
    # Bytes form characters together. Grouping is slow, and needed for few contexts.
    if bytes in map(type, tokens):
        return "".join(group.text for group in group_tokens(tokens))
    return "".join(map(visible, tokens))


def _context_cell(context: ContextRecord) -> str:
    """What stands beside the text of a context."""
    copies = f" {TIMES}{context.copies}" if context.copies > 1 else ""
    return f"{significant(context.activation)} {context.row}/{context.position}{copies}"


def _miss_cell(miss: NearMiss) -> str:
    tokens = "token" if miss.n_matched == 1 else "tokens"
    return f"{miss.n_matched} {tokens} {miss.row}/{miss.position}"


def _phrases(data: FeatureData) -> list[str]:
    """Numbers that stand within sentences, each with the words around it."""
    record, match = data.record, data.record.match
    phrases = []
    loss_change = mean_of(peak_loss_changes(data))
    if loss_change is not None:
        phrases.append(f"the next token's loss by {significant(loss_change)} nats")
    if match is not None:
        phrases.append(f"decoder cosine {significant(match.decoder.value)}")
        if match.activation is not None:
            phrases.append(f"activation correlation {significant(match.activation.value)}")
    if record.rare_cosine is not None:
        phrases.append(f"rare direction: {significant(record.rare_cosine)};")
    return phrases


def _relation_cells(record: FeatureRecord) -> list[str]:
    """Similarities of similar features, and numbers of neurons."""
    near = record.neighbours
    cells = [significant(n.cosine) for n in [*near.decoder, *near.encoder]]
    cells += [significant(n.jaccard) for n in near.coactivation]
    cells += [str(n.n_shared) for n in near.contexts]
    if record.neurons is not None:
        cells += [significant(n.weight) for n in record.neurons.weights]
        cells += [significant(n.correlation) for n in record.neurons.correlated]
    return cells


def _differences(what: str, shown: list[str], expected: list[str]) -> list[str]:
    if len(shown) != len(expected):
        return [f"shows {len(shown)} {what}s where its JSON has {len(expected)}"]
    wrong = [(s, e) for s, e in zip(shown, expected, strict=True) if s != e]
    return [f"{what} {wrong[0][0]!r} where its JSON gives {wrong[0][1]!r}"] if wrong else []
