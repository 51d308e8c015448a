"""How the bytes of an answer are cut into writes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from support.http_upstream.answer import Answer, Mark, Repeat, Writes

BLOCK: Final = 1 << 16  # maximum bytes of a write


def pieces(answer: Answer) -> Iterator[bytes | Mark]:
    """The bytes of each write, and the marks between them."""
    dice = random.Random(answer.seed)
    joins = answer.writes in ("whole", "random")
    joined = bytearray()
    for step in answer.steps:
        if isinstance(step, bytes) and joins:
            joined += step
            continue
        yield from _cut(bytes(joined), answer.writes, dice)
        joined.clear()
        if isinstance(step, Mark):
            yield step
            continue
        for data in _repetitions(step, joins) if isinstance(step, Repeat) else (step,):
            yield from _cut(data, answer.writes, dice)
    yield from _cut(bytes(joined), answer.writes, dice)


def _repetitions(step: Repeat, joins: bool) -> Iterator[bytes]:
    """The same bytes repeatedly, many at once if they may be joined."""
    at_once = max(1, BLOCK // max(1, len(step.data))) if joins else 1
    block = step.data * at_once
    left = step.times
    while left is None or left >= at_once:
        yield block
        left = None if left is None else left - at_once
    yield step.data * left


def _cut(data: bytes, writes: Writes, dice: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        if writes == "bytes":
            size = 1
        elif writes == "random":
            size = dice.randrange(1, 2 << dice.randrange(13))
        else:
            size = BLOCK
        yield data[at : at + size]
        at += size
