"""Strings that come in pieces."""

from __future__ import annotations

import base64
import binascii

from chatpb._mapping.schema import BASE64, Field


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
                return "".join(self)
            return base64.b64encode(b"".join(pieces)).decode()
        return "".join(self)


class Name:
    """A name that comes in pieces, again, or longer than before."""

    def __init__(self, first: str) -> None:
        self._pieces = [first]
        self._length = len(first)

    def add(self, piece: str) -> None:
        """Adds the next piece, in time that depends only on its length, on average."""
        if len(piece) >= self._length and piece.startswith(self.finish()):
            self._pieces, self._length = [piece], len(piece)
        else:
            self._pieces.append(piece)
            self._length += len(piece)

    def finish(self) -> str:
        """The name."""
        return "".join(self._pieces)
