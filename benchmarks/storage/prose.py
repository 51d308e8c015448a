"""Sentences of real English: the documentation that botocore ships, about 20 MB of it."""

from __future__ import annotations

import gzip
import html
import json
import random
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Final

_TAG: Final = re.compile(r"<[^>]+>")
_BLOCK: Final = re.compile(r"</?(?:p|li|note|important|ul|ol|dl|dt|dd|pre|h\d)\b[^>]*>")
_SENTENCE: Final = re.compile(r"(?<=[.!?]) (?=[A-Z])")
_SHORTEST: Final = 40
_TOGETHER: Final = 25  # sentences that stay in their order


class Prose:
    """Sentences, each of which is given once before any is given again.

    Those that follow each other in the documentation follow each other here, for a while.

    Args:
        rng: What decides the order.
        share: How much of the documentation is read.
    """

    def __init__(self, rng: random.Random, share: float = 1) -> None:
        data = Path(str(files("botocore"))) / "data"
        services = sorted({path.parents[1] for path in data.glob("*/*/service-2.json.gz")})
        services = rng.sample(services, max(1, round(len(services) * share)))
        newest = (max(service.glob("*/service-2.json.gz")) for service in services)
        found = list(dict.fromkeys(chain.from_iterable(map(_sentences, newest))))
        runs = [found[at : at + _TOGETHER] for at in range(0, len(found), _TOGETHER)]
        rng.shuffle(runs)
        self._sentences = list(chain.from_iterable(runs))
        self._at = 0

    def text(self, length: int) -> str:
        """Whole sentences, with that many characters or a few more."""
        taken: list[str] = []
        while length > 0:
            taken.append(self._sentences[self._at % len(self._sentences)])
            self._at += 1
            length -= len(taken[-1]) + 1
        return " ".join(taken)


def _sentences(path: Path) -> Iterator[str]:
    for page in _pages(json.loads(gzip.decompress(path.read_bytes()))):
        for block in _BLOCK.split(page):
            text = " ".join(html.unescape(_TAG.sub("", block)).split())
            for sentence in _SENTENCE.split(text):
                if len(sentence) >= _SHORTEST and sentence[-1] in ".!?":
                    yield sentence


def _pages(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "documentation" and isinstance(member, str):
                yield member
            else:
                yield from _pages(member)
    elif isinstance(value, list):
        for member in value:
            yield from _pages(member)
