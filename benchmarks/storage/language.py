"""Text in a made-up language, whose words are as frequent as those of real text.

The word of rank n is about n times as rare as the first, frequent words are short, and some follow
each other more often than chance would have it. Real text repeats itself in more ways than that:
where it compresses better, the rest of a document counts for more.
"""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Final

from common.documents import Draw

_SYLLABLES: Final = """
    al an ar be con de der dis en er es for gen hal ing in ion ist ka ker lan le ment mo na ner on
    or pa per pre ra re ri sen ser son sta ter the ti tion ve ver yl a e i o u st ch th sh qu ou ea
"""
_FLATTEN: Final = 2.7  # Mandelbrot's: the first words are less frequent than Zipf's law has them
_FAVOURITES: Final = 6


def zipf(rng: random.Random, words: list[str]) -> Draw:
    """Different words, the first of the list the likeliest."""
    weights = cumulated(len(words))

    def draw(count: int) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < count:
            more = rng.choices(words, cum_weights=weights, k=count - len(found))
            found.update(dict.fromkeys(more))
        return list(found)

    return draw


def cumulated(count: int) -> list[float]:
    """The cumulative weights of that many ranks."""
    return list(accumulate(1 / (rank + _FLATTEN) for rank in range(1, count + 1)))


def ranked(rng: random.Random, words: list[str]) -> list[str]:
    """Words in an order in which short ones tend to come first."""
    return sorted(words, key=lambda word: len(word) ** 1.5 * rng.random())


class Language:
    """A language that a generator of random numbers makes up, and speaks.

    Args:
        rng: The generator.
        size: How many words there are.
    """

    def __init__(self, rng: random.Random, size: int = 40_000) -> None:
        words: set[str] = set()
        parts = _SYLLABLES.split()
        while len(words) < size:
            words.add("".join(rng.choices(parts, k=rng.choice((1, 2, 2, 3, 3, 3, 4, 4)))))
        self._rng = rng
        self._words = ranked(rng, sorted(words))
        self._weights = cumulated(size)
        self._next = {word: self.words(_FAVOURITES) for word in self._words}

    def words(self, count: int) -> list[str]:
        """Words that have nothing to do with each other."""
        return self._rng.choices(self._words, cum_weights=self._weights, k=count)

    def phrase(self, count: int) -> list[str]:
        """Words that tend to follow each other."""
        found = self.words(count)
        for at in range(1, count):
            if self._rng.random() < 0.25:
                found[at] = self._next[found[at - 1]][int(self._rng.random() ** 2 * _FAVOURITES)]
        return found

    def sentence(self) -> str:
        """A sentence."""
        rng = self._rng
        words = self.phrase(max(2, round(rng.lognormvariate(2.5, 0.5))))
        for at in range(3, len(words) - 2):
            if rng.random() < 0.08:
                words[at] += rng.choice((",", ",", ",", ";", ":"))
            elif rng.random() < 0.02:
                words[at] = rng.choice((f"**{words[at]}**", f"`{words[at]}`", f'"{words[at]}"'))
            elif rng.random() < 0.02:
                words[at] = str(round(rng.lognormvariate(4, 2)))
        return " ".join(words).capitalize() + rng.choice(".......?!")

    def text(self, length: int) -> str:
        """Paragraphs, headings, lists and code of about that many characters."""
        rng = self._rng
        blocks: list[str] = []
        while length > 0:
            kind = rng.random() if blocks else 1
            if kind < 0.12:
                block = "\n".join(f"- {self.sentence()}" for _ in range(rng.randint(2, 6)))
            elif kind < 0.2:
                block = "\n".join(f"{n}. {self.sentence()}" for n in range(1, rng.randint(3, 7)))
            elif kind < 0.28:
                block = "## " + " ".join(self.phrase(rng.randint(1, 5))).capitalize()
            elif kind < 0.32:
                block = self._code()
            else:
                block = self.sentence()
                while len(block) < length and rng.random() < 0.75:
                    block += " " + self.sentence()
            blocks.append(block)
            length -= len(block)
        return "\n\n".join(blocks)

    def _code(self) -> str:
        lines = [
            " " * 4 * self._rng.randint(0, 2) + "{} = {}({}, {})".format(*self.words(4))
            for _ in range(self._rng.randint(2, 9))
        ]
        return "\n".join(("```python", *lines, "```"))
