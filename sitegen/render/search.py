"""The search index: words in the contexts shown, and tokens that features are active on, promote or suppress."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from sitegen.file_names import TOKENS_SCRIPTS, WORDS_SCRIPTS
from sitegen.records import FeatureRecord, TokenText
from sitegen.render.scripts import call
from sitegen.render.vocabulary import Vocabulary

# A word is in the file WORD_FACTOR * (its first character) + (its second), modulo N_WORD_FILES
N_WORD_FILES, WORD_FACTOR = 256, 31
TOKENS_PER_FILE = 256
LONGEST_WORD = 40
# static/js/search.js splits a query in the same way
WORD = re.compile(r"\w{2,}")

# By token id: feature index, number, feature index, number …
Postings = dict[int, list[float]]


@dataclass
class SearchIndex:
    """The features that each word and token leads to, by their index in the data, rising.

    words       by word: feature index, number of its contexts with the word, …
    active      the numbers are top contexts that peak on the token
    promotes    the numbers are logit effects
    suppresses  the numbers are logit effects
    """

    words: dict[str, list[int]] = field(default_factory=dict)
    active: Postings = field(default_factory=dict)
    promotes: Postings = field(default_factory=dict)
    suppresses: Postings = field(default_factory=dict)

    def add(self, index: int, record: FeatureRecord, vocabulary: Vocabulary) -> None:
        """Add a feature. Features must be added in order of their index."""
        words: Counter[str] = Counter()
        for context in record.contexts:
            text = vocabulary.plain_text(context.tokens).lower()
            words.update(set(WORD.findall(text)))
        for word, n in words.items():
            if len(word) <= LONGEST_WORD:
                self.words.setdefault(word, []).extend((index, n))
        top = (context for context in record.contexts if context.group == "top")
        peaks = Counter(context.tokens[context.position - context.start] for context in top)
        for token_id, n in peaks.items():
            self.active.setdefault(token_id, []).extend((index, n))
        effects = ((self.promotes, record.logits.top), (self.suppresses, record.logits.bottom))
        for postings, of in effects:
            for effect in of:
                value = float(f"{effect.value:.4g}")
                postings.setdefault(effect.id, []).extend((index, value))

    def merge(self, other: SearchIndex) -> None:
        """Append features that come after all features added so far."""
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
            # Lists, not an object keyed by word: in a script the key "__proto__" would set the prototype
            value = {"word": words, "features": [_steps(self.words[word]) for word in words]}
            yield call(WORDS_SCRIPTS.name(number), orjson.dumps(value))
        for first in range(0, len(tokens), TOKENS_PER_FILE):
            ids = range(first, min(first + TOKENS_PER_FILE, len(tokens)))
            value = {
                name: {str(i): getattr(self, name)[i] for i in ids if i in getattr(self, name)}
                for name in ("active", "promotes", "suppresses")
            }
            yield call(TOKENS_SCRIPTS.name(first // TOKENS_PER_FILE), orjson.dumps(value))


def word_file(word: str) -> int:
    """Number of the file that holds a word; words with the same first two characters are in the same file."""
    return (WORD_FACTOR * ord(word[0]) + ord(word[1])) % N_WORD_FILES


def _steps(postings: list[int]) -> list[int]:
    """Postings with each feature index replaced by its distance from the one before, which has fewer digits."""
    steps, former = list(postings), 0
    for at in range(0, len(postings), 2):
        steps[at] -= former
        former = postings[at]
    return steps
