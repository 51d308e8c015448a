"""Tokens, and how likely the builtin model found them."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Final

# A word with the space before it, digits or the marks of JSON by threes, other characters alone.
_TOKEN: Final = re.compile(r" ?[^\W\d_]{1,7}|\d{1,3}|[\[\]{}\":,]{1,3}|[^\w\s]|_|\s")

# More than the 20 alternatives that a request may ask for; two are no whole characters.
_ALTERNATIVES: Final = (
    *(b" the", b" a", b" and", b" of", b" to", b" in", b" it", b" is", b" that", b" for", b"ing"),
    *(b".", b"!", b"?", b":", b";", b"\n", b" 1", b" 42", b"'s", b"ed", " café".encode()),
    *(" naïve".encode(), " —".encode(), "東京".encode(), " Ω".encode(), "é".encode()),
    *(b"\xf0\x9f", b"\xe2\x80"),
)
_RANKS: Final = 21


def tokenize(text: str) -> list[bytes]:
    """Splits a text into tokens; one that is written in four bytes of UTF-8 becomes two tokens.

    Joined, they are the UTF-8 of the text.
    """
    tokens = []
    for match in _TOKEN.finditer(text):
        token = match.group().encode()
        if len(token) == 4 and len(match.group()) == 1:
            tokens += [token[:2], token[2:]]
        else:
            tokens.append(token)
    return tokens


def pieces(tokens: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """The text of the tokens in whole characters: each piece, and how many tokens it takes.

    The last piece is left out if it is not a whole character.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    count = 0
    for token in tokens:
        count += 1
        if text := decoder.decode(token):
            yield text, count
            count = 0


def logprobs(tokens: Sequence[bytes], rng: Random, top: int, greedy: bool) -> list[dict[str, Any]]:
    """OpenAI's log probabilities of tokens.

    Args:
        tokens: The tokens that were sampled.
        rng: The source of chance. What is drawn from it for a token does not depend on `top`.
        top: How many alternatives to give: the sampled token too, if it was likely enough.
        greedy: Whether always the most likely token was sampled.
    """
    return [_logprob(token, rng, top, greedy) for token in tokens]


def _logprob(token: bytes, rng: Random, top: int, greedy: bool) -> dict[str, Any]:
    unlikely, rank, start = rng.random(), 1 + int(rng.random() * 3), int(rng.random() * 1000)
    chosen = 0 if greedy or unlikely < 0.8 else rank
    others = (
        other
        for step in range(len(_ALTERNATIVES))
        if (other := _ALTERNATIVES[(start + step) % len(_ALTERNATIVES)]) != token
    )
    ranked = []
    rest = 1.0
    for position in range(_RANKS):
        # At least half of what is left, so that each is less likely than the one before.
        share = 0.5 + 0.45 * rng.random()
        other = token if position == chosen else next(others)
        ranked.append(_entry(other, math.log(rest * share)))
        rest *= 1 - share
    return {**ranked[chosen], "top_logprobs": ranked[:top]}


def _entry(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


def _text(token: bytes) -> str:
    try:
        return token.decode()
    except UnicodeDecodeError:  # a part of a character, spelled as OpenAI does
        return "".join(f"\\x{byte:02x}" for byte in token)
