"""Texts from many places: redacted at once, those that belong together as one, and put back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from chatpb.redaction._json import Number, String, Text
from chatpb.redaction._pieces import cut, joined
from chatpb.redaction._redactor import RedactionError, Redactor

Key = tuple[Any, ...]
"""Where a text is. What has the same place belongs together."""

#: What takes the place of a piece that both alone and together with others has to be redacted.
_BOTH: Final = "[redacted]"
#: What takes the place of the last word of a text that may have been cut.
_CUT: Final = "[cut]"
_LAST_WORD: Final = re.compile(r"(?<!\S)\S+\Z")
#: So many integers at one place in lists may be the bytes of a text, or the numbers of its tokens.
_NUMBERS: Final = 6


class Piece:
    """A string of a record, or a string in one that is JSON.

    Attributes:
        text: The string.
        data: Its bytes, which may end within a character.
        result: What comes in its place.
    """

    __slots__ = ("data", "put", "result", "text")

    def __init__(
        self, text: str, data: bytes | None = None, put: Callable[[str], None] | None = None
    ) -> None:
        self.text = text
        self.data = text.encode("utf-8", "surrogatepass") if data is None else data
        self.put = put
        self.result = text


class _Whole(NamedTuple):
    """A text that is redacted as one.

    Attributes:
        text: What of it is redacted.
        before: The text.
        pieces: What it is made of.
        ends: Where each piece ends in it.
        kind: Whether it is one piece, several one after the other, or the last of several that
            each repeat those before.
    """

    text: Text
    before: str
    pieces: list[Piece]
    ends: list[int]
    kind: Literal["alone", "joined", "grown"]


class Gathered:
    """Texts, and what puts others in their place.

    Args:
        is_open: Tells by the place of a text that may be in pieces whether they may end anywhere.
            Then its last word is left out.

    Attributes:
        after: What is called when all texts are put back.
    """

    def __init__(self, is_open: Callable[[Key], bool] | None = None) -> None:
        self.after: list[Callable[[], None]] = []
        self._is_open = is_open or (lambda _: False)
        self._groups: dict[Key, tuple[bool, list[Piece]]] = {}
        self._json: list[tuple[Text, Callable[[str], None]]] = []
        self._numbers: dict[Key, list[Number]] = {}
        self._values: set[Key] = set()  # the places of strings in JSON

    def add(
        self, key: Key, text: str, put: Callable[[str], None], *, is_pieces: bool = False
    ) -> None:
        """Adds a text."""
        self.add_piece(key, Piece(text, None, put), is_pieces=is_pieces)

    def add_piece(self, key: Key, piece: Piece, *, is_pieces: bool) -> None:
        """Adds a text, or what is one with others of the same place.

        Args:
            key: Where it is.
            piece: The text.
            is_pieces: Whether it is nothing without the others.
        """
        self._groups.setdefault(key, (is_pieces, []))[1].append(piece)

    def add_json(
        self, key: Key, value: str, put: Callable[[str], None], *, has_lists: bool = False
    ) -> None:
        """Adds JSON. Its strings that differ only in the indices of lists belong together.

        Args:
            key: Where it is.
            value: The JSON.
            put: Puts other JSON in its place.
            has_lists: Whether long lists of integers may be texts, and are left out.
        """
        text = Text(value)
        names = Counter(
            part.path[:-1] for part in text.parts if isinstance(part, String) and part.is_name
        )
        for part in text.parts:
            if isinstance(part, String):
                place = _without_indices(part.path)
                if part.is_name:
                    if names[part.path[:-1]] > 1:
                        continue  # names of one object do not belong together
                    place = (*place[:-1], part.is_name)
                else:
                    self._values.add((*key, *place))
                self.add((*key, *place), part.value, _override(part))
            elif isinstance(part, Number) and has_lists and part.is_listed:
                self._numbers.setdefault((*key, *_without_indices(part.path)), []).append(part)
        self._json.append((text, put))

    def _may_go_on(self, key: Key, whole: _Whole) -> bool:
        """Whether a text may be the beginning of a longer one."""
        is_pieces, pieces = self._groups[key]
        is_last = whole.kind != "alone" or len(pieces) == 1
        return is_last and (is_pieces or key in self._values) and self._is_open(key)

    def redact(self, redactor: Redactor) -> None:
        """Redacts all, and puts the results where the texts were.

        Raises:
            RedactionError: The redactor does not do what `Redactor` says.
        """
        wholes = [
            (whole, self._may_go_on(key, whole))
            for key, (is_pieces, pieces) in self._groups.items()
            for whole in _wholes(pieces, is_pieces)
        ]
        texts = dict.fromkeys(text for whole, _ in wholes for text in whole.text.texts())
        for raw, _ in self._json:
            texts.update(dict.fromkeys(raw.texts()))
        given = [text for text in texts if text]
        results = list(redactor(given))
        if len(results) != len(given) or not all(isinstance(each, str) for each in results):
            raise RedactionError("the redactor did not return one text for each text")
        found = {"": "", **dict(zip(given, results, strict=True))}
        for whole, is_open in wholes:
            after = whole.text.redacted(found)
            _put_back(whole, _LAST_WORD.sub(_CUT, after) if is_open else after)
        for _, pieces in self._groups.values():
            for piece in pieces:
                if piece.put is not None and piece.result != piece.text:
                    piece.put(piece.result)
        for numbers in self._numbers.values():
            if len(numbers) >= _NUMBERS:
                for number in numbers:
                    number.override = "0"
        for raw, put in self._json:
            put(raw.redacted(found))
        for finish in self.after:
            finish()


def _wholes(pieces: list[Piece], is_pieces: bool) -> Iterator[_Whole]:
    """Yields what pieces are redacted as: together, and alone if they may be texts of their own."""
    if len(pieces) > 1 and not is_pieces and _grow(pieces):
        last = pieces[-1].text
        yield _Whole(Text(last), last, pieces, [len(piece.text) for piece in pieces], "grown")
        return
    if len(pieces) > 1:
        text, ends = joined([piece.data for piece in pieces])
        yield _Whole(Text(text), text, pieces, ends, "joined")
    if len(pieces) == 1 or not is_pieces:
        for piece in pieces:
            yield _Whole(Text(piece.text), piece.text, [piece], [len(piece.text)], "alone")


def _grow(pieces: list[Piece]) -> bool:
    """Whether each piece is the whole text so far."""
    return all(after.text.startswith(before.text) for before, after in pairwise(pieces))


def _put_back(whole: _Whole, after: str) -> None:
    """Cuts a redacted text into the pieces that it was made of."""
    if after == whole.before:
        return
    if whole.kind == "alone":
        [piece] = whole.pieces
        if piece.result == piece.text:
            piece.result = after
        elif piece.result != after:
            piece.result = _BOTH
        return
    results = cut(whole.before, after, whole.ends)
    so_far = ""
    start = 0
    for piece, end, result in zip(whole.pieces, whole.ends, results, strict=True):
        so_far += result
        if whole.kind == "grown":
            piece.result = so_far
        elif result != whole.before[start:end]:  # else it stays, even if it is half a character
            piece.result = result
        start = end


def _without_indices(path: Key) -> Key:
    return tuple(None if isinstance(step, int) else step for step in path)


def _override(part: String) -> Callable[[str], None]:
    def put(text: str) -> None:
        part.override = text

    return put
