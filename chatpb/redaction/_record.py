"""Redacts the texts of a record: all strings of its messages that the schema does not mark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chatpb._metadata import MOST_BYTES
from chatpb.redaction._json import String, Text
from chatpb.redaction._pieces import cut, joined
from chatpb.redaction._redactor import RedactionError, Redactor
from chatpb.redaction._rules import Rules, rules_of
from chatpb.v1 import options_pb2
from chatpb.v1.completion_record_pb2 import CompletionRecord

_Key = tuple[Any, ...]
#: What takes the place of a piece that both alone and together with others has to be redacted.
_BOTH: Final = "[redacted]"
#: What takes the place of the last word of a text that may have been cut.
_CUT: Final = "[cut]"
_LAST_WORD: Final = re.compile(r"(?<!\S)\S+\Z")


class _Piece:
    """A string of a record, or a string in one that is JSON.

    Attributes:
        text: The string.
        data: Its bytes, which may end within a character.
        result: What comes in its place.
    """

    __slots__ = ("data", "put", "result", "text")

    def __init__(self, text: str, data: bytes | None, put: Callable[[str], None] | None) -> None:
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
    pieces: list[_Piece]
    ends: list[int]
    kind: Literal["alone", "joined", "grown"]


def redact_record(record: bytes, redactor: Redactor, *, is_cut: bool = False) -> bytes:
    """A record in binary form whose texts are redacted.

    Strings that the schema marks as metadata stay. What came in chunks is redacted as one text, and
    JSON stays JSON. What a redactor cannot read is left out: audio, the data of images and files in
    URLs, numbers of tokens, and fields that the schema does not know.

    Args:
        record: The record.
        redactor: The redactor.
        is_cut: Whether its chunks may end anywhere. Then the last word of each of their texts is
            left out: it may be the beginning of something that nobody can recognize.

    Raises:
        RedactionError: The redactor does not do what `Redactor` says.
        google.protobuf.message.DecodeError: The bytes are not a record.
    """
    message = CompletionRecord.FromString(record)
    message.DiscardUnknownFields()
    texts = _Texts(is_cut)
    texts.collect(message, (), joins=False)
    texts.redact(redactor)
    return message.SerializeToString(deterministic=True)


class _Texts:
    """The texts of a record.

    Args:
        is_cut: Whether the chunks may end anywhere.
    """

    def __init__(self, is_cut: bool) -> None:
        self._is_cut = is_cut
        self._groups: dict[_Key, tuple[bool, list[_Piece]]] = {}
        self._raw: list[tuple[Text, Callable[[str], None]]] = []
        self._after: list[Callable[[], None]] = []

    def collect(self, message: Message, path: _Key, *, joins: bool) -> None:
        """Takes the texts of a message, and takes out what cannot be redacted.

        Args:
            message: The message.
            path: Where it is. What has the same path belongs together.
            joins: Whether it is a part of a chunk.
        """
        for field, value in message.ListFields():
            rules = rules_of(field)
            where = (*path, field.number)
            if rules.kind == "opaque":
                message.ClearField(field.name)
            elif rules.kind == "map":
                self._collect_map(message, field, where)
            elif rules.kind == "message" and not rules.is_list:
                self.collect(value, where, joins=joins)
            elif rules.kind == "message":
                in_chunks = joins or rules.is_chunk
                for each, place in _elements(rules, value, in_chunks):
                    self.collect(each, (*where, *place), joins=in_chunks)
            elif rules.kind == "token":
                self._add_token(message, field.name, rules.other, where)
            elif rules.kind == "token bytes":
                if not getattr(message, rules.other):
                    self._add_token(message, rules.other, field.name, where)
            elif rules.kind == "text":
                self._collect_strings(message, field, value, where)

    def _collect_strings(
        self, message: Message, field: FieldDescriptor, value: Any, where: _Key
    ) -> None:
        rules = rules_of(field)
        if rules.is_list:
            for index, text in enumerate(value):
                if rules.is_content or len(text) > MOST_BYTES:
                    self._add((*where, index), text, _put_at(value, index))
        elif rules.is_content or len(value) > MOST_BYTES:
            if rules.is_json:
                self._add_raw(where, value, _put(message, field.name))
            else:
                is_pieces = rules.fold == options_pb2.FOLD_APPEND
                self._add(where, value, _put(message, field.name), is_pieces=is_pieces)

    def _collect_map(self, message: Message, field: FieldDescriptor, where: _Key) -> None:
        values = getattr(message, field.name)
        entry: Any = field.message_type
        value_field = entry.fields_by_name["value"]
        for name in sorted(values, key=str):
            if value_field.message_type is not None:
                self.collect(values[name], (*where, name), joins=False)
            elif value_field.type == FieldDescriptor.TYPE_STRING:
                self._add((*where, name), values[name], _put_item(values, name))
            if isinstance(name, str):
                self._add((*where, name, "name"), name, _rename(self._after, values, name))

    def _add(
        self, key: _Key, text: str, put: Callable[[str], None], *, is_pieces: bool = False
    ) -> _Piece:
        piece = _Piece(text, None, put)
        self._groups.setdefault(key, (is_pieces, []))[1].append(piece)
        return piece

    def _add_raw(self, key: _Key, value: str, put: Callable[[str], None]) -> None:
        """Adds JSON: each string in it is a piece."""
        text = Text(value)
        for part in text.parts:
            if isinstance(part, String) and not part.is_name:
                self._add((*key, *part.path), part.value, _override(part))
        self._raw.append((text, put))

    def _add_token(self, message: Any, name: str, bytes_name: str, where: _Key) -> None:
        """Adds a token, as its text and as its bytes: if either changes, it is another token."""
        text = getattr(message, name)
        data = getattr(message, bytes_name) if message.HasField(bytes_name) else text.encode()
        pieces = [_Piece(text, None, None), _Piece(text, data, None)]
        pieces[1].text = pieces[1].result = data.decode("utf-8", "replace")
        for kind, piece in enumerate(pieces):
            self._groups.setdefault((*where, kind), (True, []))[1].append(piece)

        def finish() -> None:
            changed = [piece.result for piece in reversed(pieces) if piece.result != piece.text]
            if changed:
                setattr(message, name, changed[0])
                for derived in _derived(message, name):
                    message.ClearField(derived)

        self._after.append(finish)

    def redact(self, redactor: Redactor) -> None:
        """Redacts all, and puts the results where the texts were.

        Raises:
            RedactionError: The redactor does not do what `Redactor` says.
        """
        wholes = [
            (whole, self._is_cut and is_pieces and key[0] == CompletionRecord.CHUNKS_FIELD_NUMBER)
            for key, (is_pieces, pieces) in self._groups.items()
            for whole in _wholes(pieces, is_pieces)
        ]
        texts = dict.fromkeys(text for whole, _ in wholes for text in whole.text.texts())
        for raw, _ in self._raw:
            texts.update(dict.fromkeys(raw.texts()))
        given = [text for text in texts if text]
        results = list(redactor(given))
        if len(results) != len(given) or not all(isinstance(each, str) for each in results):
            raise RedactionError("the redactor returned something else than as many texts")
        found = {"": "", **dict(zip(given, results, strict=True))}
        for whole, is_open in wholes:
            after = whole.text.redacted(found)
            _put_back(whole, _LAST_WORD.sub(_CUT, after) if is_open else after)
        for _, pieces in self._groups.values():
            for piece in pieces:
                if piece.put is not None and piece.result != piece.text:
                    piece.put(piece.result)
        for raw, put in self._raw:
            put(raw.redacted(found))
        for finish in self._after:
            finish()


def _wholes(pieces: list[_Piece], is_pieces: bool) -> Iterator[_Whole]:
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


def _grow(pieces: list[_Piece]) -> bool:
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


def _elements(rules: Rules, values: Any, in_chunks: bool) -> Iterator[tuple[Any, _Key]]:
    """Yields the elements of a list, and what tells those that belong together from others."""
    for index, value in enumerate(values):
        if rules.fold == options_pb2.FOLD_APPEND or rules.is_chunk:
            yield value, ()
        elif rules.fold == options_pb2.FOLD_BY_KEY and in_chunks:
            yield value, (_fold_key(value, index),)
        else:
            yield value, (index,)


def _fold_key(value: Any, index: int) -> Any:
    for field in value.DESCRIPTOR.fields:
        if field.GetOptions().Extensions[options_pb2.fold_key] and (
            not field.has_presence or value.HasField(field.name)
        ):
            return getattr(value, field.name)
    return index


def _derived(message: Any, name: str) -> tuple[str, ...]:
    """The fields that follow from the text of a token."""
    fields: Any = message.DESCRIPTOR.fields_by_name
    return rules_of(fields[name]).derived


def _put(message: Any, name: str) -> Callable[[str], None]:
    return lambda text: setattr(message, name, text)


def _put_at(values: Any, index: int) -> Callable[[str], None]:
    return lambda text: values.__setitem__(index, text)


def _put_item(values: Any, name: Any) -> Callable[[str], None]:
    return lambda text: values.__setitem__(name, text)


def _override(part: String) -> Callable[[str], None]:
    def put(text: str) -> None:
        part.override = text

    return put


def _rename(after: list[Callable[[], None]], values: Any, name: str) -> Callable[[str], None]:
    """Gives an entry of a map another name, when all values are there."""

    def put(text: str) -> None:
        def rename() -> None:
            if text not in values:
                values[text] = values[name]
            del values[name]

        after.append(rename)

    return put
