"""Redacts the texts of a record: all strings of its messages that the schema does not mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chatpb._metadata import MOST_BYTES
from chatpb.redaction._gathered import Gathered, Key, Piece
from chatpb.redaction._redactor import Redactor
from chatpb.redaction._rules import Rules, rules_of
from chatpb.v1 import options_pb2
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb.v1.residue_pb2 import Residue


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
    gathered = Gathered(is_open=_is_chunks if is_cut else None)
    _Texts(gathered).collect(message, (), joins=False)
    gathered.redact(redactor)
    return message.SerializeToString(deterministic=True)


class _Texts:
    """The texts of a record.

    Args:
        gathered: What they are gathered in.
    """

    def __init__(self, gathered: Gathered) -> None:
        self._gathered = gathered

    def collect(self, message: Message, path: Key, *, joins: bool) -> None:
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
        self, message: Message, field: FieldDescriptor, value: Any, where: Key
    ) -> None:
        rules = rules_of(field)
        if rules.is_list:
            for index, text in enumerate(value):
                if rules.is_content or len(text) > MOST_BYTES:
                    self._gathered.add((*where, index), text, _put_at(value, index))
        elif rules.is_content or len(value) > MOST_BYTES:
            if rules.is_json:
                is_residue = message.DESCRIPTOR is Residue.DESCRIPTOR
                put = _put(message, field.name)
                self._gathered.add_json(where, value, put, has_lists=is_residue)
            else:
                is_pieces = rules.fold == options_pb2.FOLD_APPEND
                self._gathered.add(where, value, _put(message, field.name), is_pieces=is_pieces)

    def _collect_map(self, message: Message, field: FieldDescriptor, where: Key) -> None:
        values = getattr(message, field.name)
        entry: Any = field.message_type
        value_field = entry.fields_by_name["value"]
        for name in sorted(values, key=str):
            if value_field.message_type is not None:
                self.collect(values[name], (*where, name), joins=False)
            elif value_field.type == FieldDescriptor.TYPE_STRING:
                self._gathered.add((*where, name), values[name], _put_item(values, name))
            if isinstance(name, str):
                self._gathered.add(
                    (*where, name, "name"), name, _rename(self._gathered.after, values, name)
                )

    def _add_token(self, message: Any, name: str, bytes_name: str, where: Key) -> None:
        """Adds a token, as its text and as its bytes: if either changes, it is another token."""
        text = getattr(message, name)
        data = getattr(message, bytes_name) if message.HasField(bytes_name) else text.encode()
        pieces = [Piece(text), Piece(data.decode("utf-8", "replace"), data)]
        for kind, piece in enumerate(pieces):
            self._gathered.add_piece((*where, kind), piece, is_pieces=True)

        def finish() -> None:
            changed = [piece.result for piece in reversed(pieces) if piece.result != piece.text]
            if changed:
                setattr(message, name, changed[0])
                for derived in _derived(message, name):
                    message.ClearField(derived)

        self._gathered.after.append(finish)


def _is_chunks(key: Key) -> bool:
    return bool(key[0] == CompletionRecord.CHUNKS_FIELD_NUMBER)


def _elements(rules: Rules, values: Any, in_chunks: bool) -> Iterator[tuple[Any, Key]]:
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


def _rename(after: list[Callable[[], None]], values: Any, name: str) -> Callable[[str], None]:
    """Gives an entry of a map another name, when all values are there."""

    def put(text: str) -> None:
        def rename() -> None:
            if text not in values:
                values[text] = values[name]
            del values[name]

        after.append(rename)

    return put
