"""Strings that come in pieces."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from chatpb._mapping.schema import BASE64, Field

_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_FIRST_HALF: Final = re.compile("[\ud800-\udbff]\\Z")


def joined(pieces: Iterable[str]) -> str:
    """Joins strings by UTF-16 code units: two surrogates that meet become a character."""
    text = "".join(pieces)
    if text.isascii() or not _PAIR.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def begins(text: str, start: str) -> bool:
    """Whether a string begins with another one, by UTF-16 code units."""
    if text.startswith(start):
        return True
    if not _FIRST_HALF.search(start):
        return False
    units, first = (s.encode("utf-16-le", "surrogatepass") for s in (text, start))
    return units.startswith(first)


class Text(list[str]):
    """Pieces of a string, one after the other."""

    def __init__(self, first: str, field: Field | None) -> None:
        super().__init__([first])
        self.is_base64 = field is not None and field.encoding == BASE64

    def finish(self) -> str:
        """The string."""
        if self.is_base64 and len(self) > 1:
            try:
                pieces = [base64.b64decode(piece, validate=True) for piece in self]
            except (binascii.Error, ValueError):
                return joined(self)
            return base64.b64encode(b"".join(pieces)).decode()
        return joined(self)


def _units(text: str) -> int:
    """The number of UTF-16 code units of a string."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


class Name:
    """A name that comes in pieces, again, or longer than before."""

    def __init__(self, first: str) -> None:
        self._pieces = [first]
        self._units = _units(first)

    def add(self, piece: str) -> None:
        """Adds the next piece, in time that depends only on its length, on average."""
        units = _units(piece)
        if units >= self._units and begins(piece, self.finish()):
            self._pieces, self._units = [piece], units
        else:
            self._pieces.append(piece)
            self._units += units

    def finish(self) -> str:
        """The name."""
        return joined(self._pieces)
