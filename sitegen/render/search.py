"""What readers search by: words in shown contexts, tokens that features fire on, promote or suppress."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from sitegen.records import FeatureRecord, TokenText
from sitegen.render.scripts import call
from sitegen.render.vocabulary import Vocabulary

N_WORD_FILES = 256
TOKENS_PER_FILE = 256
LONGEST_WORD = 40
WORD = re.compile(r"\w{2,}")  # static/js/search.js takes a query apart in the same way

Postings = dict[int, list[float]]  # feature, number, feature, number …, under a token's id


@dataclass
class SearchIndex:
    """Where words and tokens lead; features stand by their place in the data, rising."""

    words: dict[str, list[int]] = field(default_factory=dict)  # place, contexts, place, contexts …
    active: Postings = field(default_factory=dict)  # place, top contexts that peak on the token …
    promotes: Postings = field(default_factory=dict)  # place, logit effect …
    suppresses: Postings = field(default_factory=dict)

    def add(self, place: int, record: FeatureRecord, vocabulary: Vocabulary) -> None:
        """Takes in one feature; each comes after those that stand before it."""
        words: Counter[str] = Counter()
        for context in record.contexts:
            text = vocabulary.plain_text(context.tokens).lower()
            words.update(set(WORD.findall(text)))
        for word, n in words.items():
            if len(word) <= LONGEST_WORD:
                self.words.setdefault(word, []).extend((place, n))
        top = (context for context in record.contexts if context.group == "top")
        peaks = Counter(context.tokens[context.position - context.start] for context in top)
        for token_id, n in peaks.items():
            self.active.setdefault(token_id, []).extend((place, n))
        effects = ((self.promotes, record.logits.top), (self.suppresses, record.logits.bottom))
        for postings, of in effects:
            for effect in of:
                value = float(f"{effect.value:.4g}")
                postings.setdefault(effect.id, []).extend((place, value))

    def merge(self, other: SearchIndex) -> None:
        """Takes in features that come after those taken in so far."""
        for name in ("words", "active", "promotes", "suppresses"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for key, postings in theirs.items():
                if key in mine:
                    mine[key] += postings
                else:
                    mine[key] = postings

    def scripts(self, tokens: list[TokenText]) -> Iterator[tuple[str, bytes]]:
        """(file name, content) of every file that a search loads."""
        files: list[list[str]] = [[] for _ in range(N_WORD_FILES)]
        for word in sorted(self.words):
            files[word_file(word)].append(word)
        for number, words in enumerate(files):
            # Lists, not an object: in a script "__proto__" is no key like others
            value = {"word": words, "features": [_steps(self.words[word]) for word in words]}
            yield call(f"words/{number}", orjson.dumps(value))
        for first in range(0, len(tokens), TOKENS_PER_FILE):
            ids = range(first, min(first + TOKENS_PER_FILE, len(tokens)))
            value = {
                name: {str(i): getattr(self, name)[i] for i in ids if i in getattr(self, name)}
                for name in ("active", "promotes", "suppresses")
            }
            yield call(f"tokens/{first // TOKENS_PER_FILE}", orjson.dumps(value))


def word_file(word: str) -> int:
    """The file that holds a word: all words that begin with the same two characters stand in one."""
    return (31 * ord(word[0]) + ord(word[1])) % N_WORD_FILES


def _steps(postings: list[int]) -> list[int]:
    """The places as steps from one to the next, which are short numbers."""
    steps, former = list(postings), 0
    for at in range(0, len(postings), 2):
        steps[at] -= former
        former = postings[at]
    return steps
