"""How much of a call is recorded: the levels, and what a caller wishes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

Keep = Literal["all", "metadata", "none"]
"""All of a call; no texts; or nothing."""

#: From the most to the least.
KEEPS: Final[tuple[Keep, ...]] = get_args(Keep)
#: With this header, or metadata over gRPC, a caller asks that less is kept. Upstreams get it too.
RECORD_HEADER: Final = "x-chatpb-record"


def least(*keeps: Keep) -> Keep:
    """The level of several that keeps the least."""
    return max(keeps, key=KEEPS.index)


def wished(metadata: Iterable[tuple[str, str | bytes]] | None) -> Keep:
    """How much a caller wishes to be recorded at most.

    If the header is repeated, or has several values, the one that keeps the least counts. A value
    that is not known counts as ``none``: the header can only ask for less.

    Args:
        metadata: The caller's metadata, with names in lower case.
    """
    wish: Keep = "all"
    for name, value in metadata or ():
        if name == RECORD_HEADER:
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            for word in text.split(","):
                wish = least(wish, _keep_of(word.strip().lower()))
    return wish


def _keep_of(word: str) -> Keep:
    for keep in KEEPS:
        if keep == word:
            return keep
    return "none"
