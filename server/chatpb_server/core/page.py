"""The text of an HTML page, with which proxies and gateways answer in place of a server."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

#: How many bytes of a page are looked at: its title and its headline are at the beginning.
_LOOKED_AT: Final = 4096
#: What is not text. What does not end goes to the end, so that nothing is looked at twice.
_HIDDEN: Final = re.compile(
    r"<(script|style)\b.*?(</\1[^<>]*>|\Z)|<!--.*?(-->|\Z)", re.IGNORECASE | re.DOTALL
)
_TAG: Final = re.compile(r"<[^<>]*(>|\Z)")


def text_of_page(page: bytes) -> str:
    """The texts at the beginning of a page, without those that only repeat the one before."""
    visible = _HIDDEN.sub("<>", page[:_LOOKED_AT].decode(errors="replace"))
    texts: list[str] = []
    for piece in _TAG.sub("\0", visible).split("\0"):
        text = " ".join(unescape(piece).split())
        if text and texts[-1:] != [text]:
            texts.append(text)
    return "; ".join(texts)
