"""docs/storage.md is enough to read a table: a reader that knows the schema and that page alone."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chatpb.table import to_batch
from chatpb.v1 import CompletionRecord, options_pb2
from support.random_records import random_record
from support.table_rows import same, serialized

Row = dict[str, Any]


class Reader:
    """Puts the values of a row back into its record."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._lists: dict[tuple[int, str], Iterator[Row]] = {}
        self._counts = iter(row["logprobs_counts"] or ())
        self._tokens = iter(tokens_of(row))

    def record(self) -> CompletionRecord:
        """The record."""
        record = CompletionRecord.FromString(self._row["record"])
        self._fill(record, self._row, "", (record.DESCRIPTOR,))
        return record

    def _fill(self, message: Any, columns: Row, prefix: str, around: tuple[Any, ...]) -> None:
        fields = sorted(message.DESCRIPTOR.fields, key=lambda field: field.number)
        for field in fields:
            name = option(field, "column")
            if option(field, "column_tokens") and self._row["logprobs"] is not None:
                for _ in range(next(self._counts)):
                    getattr(message, field.name).add().MergeFrom(next(self._tokens))
            elif name and not is_message(field) and columns.get(prefix + name) is not None:
                put(message, field, columns[prefix + name])
        inner = [
            field for field in fields if is_message(field) and field.message_type not in around
        ]
        for field in inner:
            if not field.is_repeated and message.HasField(field.name):
                below = prefix + option(field, "column_prefix")
                child = getattr(message, field.name)
                self._fill(child, columns, below, (*around, field.message_type))
        for field in inner:
            shared, name = option(field, "column_shared"), option(field, "column")
            if field.is_repeated and (shared or name):
                owner, name = (self._row, shared) if shared else (columns, prefix + name)
                structs = self._list(owner, name)
                for element in getattr(message, field.name):
                    self._fill(element, next(structs), "", (*around, field.message_type))

    def _list(self, owner: Row, name: str) -> Iterator[Row]:
        key = id(owner), name
        if key not in self._lists:
            values = owner.get(name)
            self._lists[key] = forever({}) if values is None else iter(values)
        return self._lists[key]


def forever(value: Row) -> Iterator[Row]:
    while True:
        yield value


def option(field: FieldDescriptor, name: str) -> Any:
    return field.GetOptions().Extensions[getattr(options_pb2, name)]


def is_message(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not field.message_type.GetOptions().map_entry


def put(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.message_type is not None:
        getattr(message, field.name).update({each["key"]: each["value"] for each in value})
    elif field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.enum_type is not None:
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        if value != json.loads(option(field, "json_unset") or "null"):
            number = field.enum_type.values_by_name[prefix + value.upper()].number
            setattr(message, field.name, number)
    else:
        setattr(message, field.name, value)


_TOKENS: Final = CompletionRecord().completion.choices.add().logprobs.content


def tokens_of(row: Row) -> list[Any]:
    """The tokens of a row, as messages."""
    rows = row["logprobs"] or []
    every = [*rows, *(each for token in rows for each in token["top_logprobs"] or ())]
    with_number = [each for each in every if each["logprob"] is not None]
    corrections = row["logprobs_corrections"] or [0] * len(with_number)
    for each, correction in zip(with_number, corrections, strict=True):
        single = np.float32(each["logprob"])
        number = float(str(single)) if row["logprobs_decimal"] else float(single)
        bits = struct.unpack("<q", struct.pack("<d", number))[0] + correction
        each["logprob"] = struct.unpack("<d", struct.pack("<q", bits))[0]
    ids: dict[Any, int] = {}
    for token in rows:
        for each in (token, *(token["top_logprobs"] or ())):
            key = each["token"], each["bytes"]
            if each["id"] is not None:
                ids[key] = each["id"]
            each["id"] = ids.get(key)
    found = []
    for token in rows:
        message = _TOKENS.add()
        fill_token(message, token)
        alternatives = list(token["top_logprobs"] or ())
        if token["rank"] is not None:
            alternatives.insert(token["rank"], token)
        for each in alternatives:
            # What a token repeats are its own fields, without the rest of its message.
            fill_token(message.top_logprobs.add(), each)
        found.append(message)
    return found


def fill_token(message: Any, row: Row) -> None:
    for name in ("token", "logprob", "bytes", "id"):
        if row[name] is not None:
            setattr(message, name, row[name])
    message.MergeFromString(row["rest"] or b"")


def test_a_reader_made_of_the_document_gives_the_records() -> None:
    rng = random.Random(5)
    records = [random_record(rng) for _ in range(150)]
    batch = to_batch(records)
    times = batch.column("start_time").cast(pa.int64())
    batch = batch.set_column(batch.schema.get_field_index("start_time"), "start_time", times)
    found = [Reader(row).record() for row in batch.to_pylist()]
    assert same([serialized(record) for record in records], [serialized(each) for each in found])
