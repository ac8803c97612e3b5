"""Pages as a browser reads them: structure, links, and the numbers and texts that they show."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

from sitegen.records import ContextRecord, FeatureRecord, NearMiss
from sitegen.render.formats import exact, significant
from sitegen.render.related import mean_of
from sitegen.render.text import group_tokens, marked
from sitegen.render.views import FeatureData, peak_loss_changes
from sitegen.render.vocabulary import Vocabulary

VOID_ELEMENTS = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}


@dataclass
class Page:
    """The parts of a page that are checked, as read from its markup.

    numbers  (value, text) of each <data> element
    lines    text of each context
    tokens   text of each token that heads a row of logit effects
    """

    doctype: str = ""
    language: str = ""
    charset: str = ""
    title: str = ""
    n_h1: int = 0
    n_main: int = 0
    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    numbers: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._open: list[str] = []
        self._taking: dict[str, list[str]] = {}
        self._value = ""

    def handle_decl(self, decl: str) -> None:
        self.page.doctype = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        page = self.page
        page.links += [given[name] for name in ("href", "src") if name in given]
        page.ids += [given["id"]] if "id" in given else []
        page.n_h1 += tag == "h1"
        page.n_main += tag == "main"
        if tag == "html":
            page.language = given.get("lang", "")
        elif tag == "meta":
            page.charset = given.get("charset", page.charset)
        elif tag in ("title", "data") or (tag == "code" and "th" in self._open):
            self._taking[tag] = []
            self._value = given.get("value", "") if tag == "data" else self._value
        elif tag == "p" and "li" in self._open:
            self._taking[tag] = []
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Ignore self-closing elements of SVG: nothing in them is checked."""

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.page.unclosed.append(tag)
        taken = self._taking.pop(tag, None)
        if taken is None:
            return
        text = "".join(taken)
        if tag == "title":
            self.page.title = text
        elif tag == "data":
            self.page.numbers.append((self._value, text))
        elif tag == "p":
            self.page.lines.append(text)
        else:
            self.page.tokens.append(text)

    def handle_data(self, data: str) -> None:
        for taken in self._taking.values():
            taken.append(data)


def read_page(text: str) -> Page:
    """A page's structure, links, numbers and lines, from its markup."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.page


def structure_findings(page: Page) -> list[str]:
    """Findings on the parts that every page must have."""
    claims = {
        "no doctype": page.doctype.lower() == "doctype html",
        "no language": bool(page.language),
        "no charset": page.charset.lower() == "utf-8",
        "no title": bool(page.title.strip()),
        f"{page.n_h1} h1 elements": page.n_h1 == 1,
        f"{page.n_main} main elements": page.n_main == 1,
        f"elements closed out of order: {', '.join(page.unclosed[:3])}": not page.unclosed,
        "an id that is used twice": len(page.ids) == len(set(page.ids)),
    }
    return [finding for finding, holds in claims.items() if not holds]


def link_target(page: str, link: str) -> tuple[str, str] | None:
    """(path below the site, anchor) of a link on a page; None for one that leaves the site or the folder."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or parts.path.startswith("/"):
        return None
    steps = page.split("/")[:-1] if parts.path else page.split("/")
    for step in unquote(parts.path).split("/"):
        if step == ".." and not steps:
            return None
        if step == "..":
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    return "/".join(steps), parts.fragment


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
    # The first five are shown in formats of their own: a whole number, a percentage, a rounded mean
    shown = [text for _, text in page.numbers][5:]
    findings += _differences("shown number", shown, [_shown(value) for value in facts[5:]])
    others = [context for other in data.others.values() for context in other.contexts]
    lines: list[ContextRecord | NearMiss] = [
        *contexts,
        *by_interval,
        *data.evidence.near_misses,
        *others,
    ]
    texts = [
        "".join(
            group.text
            for group in group_tokens([vocabulary.tokens[token] for token in line.tokens])
        )
        for line in lines
    ]
    findings += _differences("context", page.lines, texts)
    return findings + _differences(
        "token", page.tokens, [marked(effect.text) for effect in effects]
    )


def _shown(value: float) -> str:
    """A number as pages show it; counts are shown unchanged."""
    return str(value) if isinstance(value, int) else significant(value)


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
