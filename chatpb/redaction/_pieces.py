"""Texts that came in pieces: joined, redacted as one, and cut again where they were cut."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final

#: How many equal characters on both sides end a change, at least.
_SAME: Final = 8
#: How far to look for them.
_NEAR: Final = 64
_FAR: Final = 4096
_STEP: Final = 1024


def joined(pieces: Sequence[bytes]) -> tuple[str, list[int]]:
    """The text of pieces, which may end within a character, and where each of them ends in it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts: list[str] = []
    ends: list[int] = []
    length = 0
    for piece in pieces:
        texts.append(decoder.decode(piece))
        length += len(texts[-1])
        ends.append(length)
    rest = decoder.decode(b"", True)
    if ends:
        ends[-1] += len(rest)
    return "".join(texts) + rest, ends


def cut(before: str, after: str, ends: Sequence[int]) -> list[str]:
    """Cuts a text that was changed into as many pieces as the one before.

    What was put in the place of several pieces is in the first of them. Joined, the pieces are the
    text, whatever was changed.

    Args:
        before: The text before the change.
        after: The text.
        ends: Where the pieces of the first one end.
    """
    runs = _runs(before, after)
    pieces: list[str] = []
    at = run = 0
    for end in ends[:-1]:
        while run < len(runs) and end > runs[run][0] + runs[run][2]:
            run += 1
        if run == len(runs):
            to = len(after)
        else:
            start, place, _ = runs[run]
            to = place + max(0, end - start)
        pieces.append(after[at:to])
        at = to
    pieces.append(after[at:])
    return pieces


def _runs(before: str, after: str) -> list[tuple[int, int, int]]:
    """What is the same in both texts: the places in each, and the length."""
    runs: list[tuple[int, int, int]] = []
    i = j = 0
    while True:
        same = _same(before, i, after, j)
        runs.append((i, j, same))
        i, j = i + same, j + same
        if i == len(before) or j == len(after):
            return runs
        for skip in range(_FAR):
            window = before[i + skip : i + skip + _SAME]
            if len(window) < _SAME:  # near the end: all that is left must be the same
                if not window or not after.endswith(window) or len(after) - len(window) < j:
                    continue
                found = len(after) - len(window)
            else:
                found = after.find(window, j, j + _NEAR + _SAME)
            if found >= 0:
                i, j = i + skip, found
                break
            if not window:
                return runs
        else:
            return runs


def _same(before: str, i: int, after: str, j: int) -> int:
    """How many characters from two places on are the same."""
    start = i
    while before[i : i + _STEP] == after[j : j + _STEP] and i < len(before):
        i, j = min(i + _STEP, len(before)), j + _STEP
    for one, other in zip(before[i : i + _STEP], after[j : j + _STEP], strict=False):
        if one != other:
            break
        i += 1
    return i - start
