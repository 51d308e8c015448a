"""Records as rows of a table: record batches."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import pyarrow as pa
from google.protobuf.message import DecodeError, Message

from chatpb._errors import ConversionError, binary_of, iterator_of
from chatpb._mapping.canonical import canonical
from chatpb._mapping.convert import binary_to_json, json_to_binary
from chatpb._mapping.native import native_type, transcoder
from chatpb._mapping.schema import enum_words
from chatpb._record import message_types, record_field
from chatpb._stream.fold import fold
from chatpb._wire import embedded, spans
from chatpb.table._rows.assemble import assemble
from chatpb.table._rows.buffers import to_arrays, to_buffers
from chatpb.table._rows.columns import RECORD
from chatpb.table._rows.long import LONG, release
from chatpb.table._rows.plan import shredder
from chatpb.table._rows.shred import shred
from chatpb.table._rows.tree import KINDS, Kind
from chatpb.v1.chat_completion_chunk_pb2 import ChunkChoice
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb.v1.error_pb2 import ErrorResponse

_CHUNKS: Final = CompletionRecord.CHUNKS_FIELD_NUMBER
#: What the reference raises for rows that are not those of a table.
FAULTS: Final = (DecodeError, LookupError, TypeError, ValueError)


def to_batch(records: Iterable[bytes | CompletionRecord]) -> pa.RecordBatch:
    """Records to a record batch: one row for each record, nothing lost.

    The law: ``from_batch(to_batch(records))`` are the same messages, in binary form.

    Args:
        records: The records, as messages or in binary form.

    Returns:
        A batch with the columns of `SCHEMA`.

    Raises:
        ConversionError: Bytes are not the binary form of a record; the path is its index, such as
            ``$[3]``.
    """
    native = shredder()
    every = iterator_of(records, "an iterable of records")
    given = [each if isinstance(each, bytes) else binary_of(each) for each in every]
    # Each record is parsed once: the parse proves that it is one, and what chunks make is folded.
    parsed = (_parsed(data, index) for index, data in enumerate(given))
    if native is None:
        return shred([(record, _folded(record)) for record in parsed])
    folded = [_serialized(_folded(record)) for record in parsed]
    batch = _shred_natively(native, given, folded)
    if batch is not None:
        return batch
    again = (CompletionRecord.FromString(data) for data in given)
    return shred([(record, _folded(record)) for record in again])


def _shred_natively(
    native: Any, given: list[bytes], folded: list[bytes | None]
) -> pa.RecordBatch | None:
    """The rows that the native implementation makes; None if it declines."""
    found = native.shred(list(zip(given, folded, strict=True)))
    if isinstance(found, int):  # one that no serializer writes; the records after it may be too
        given[found:] = (canonical(CompletionRecord.FromString(data)) for data in given[found:])
        found = native.shred(list(zip(given, folded, strict=True)))
    return None if isinstance(found, int) else to_arrays(found, len(given))


def from_batch(batch: pa.RecordBatch) -> list[bytes]:
    """A record batch to the records that it was made of, in binary form.

    Args:
        batch: Rows with columns of `SCHEMA`, in any order; others are left out. A column, or a
            field of a struct, that is missing is the same as one that is null in all rows. Only
            the column ``record`` must be there.

    Raises:
        ConversionError: There is no column ``record``, or a row is not what `to_batch` makes; its
            path says which, such as ``$[3]``.
    """
    _need_record(batch)
    native = shredder()
    if native is not None:
        with suppress(pa.ArrowException):  # the reference reports what is wrong
            records: list[bytes] | None = native.assemble(len(batch), to_buffers(batch))
            if records is not None:
                return records
    found: list[bytes] = []
    try:
        batch.validate(full=True)  # else offsets and indices may lie outside of what they point to
        found.extend(map(canonical, assemble(batch)))
    except (pa.ArrowException, *FAULTS) as error:
        reason = f"the row is not one of a table: {error}"
        raise ConversionError(reason, f"$[{len(found)}]") from error
    return found


def from_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """The records of record batches; only the caller has a record, and nobody its rows.

    Raises:
        ConversionError: As for `from_batch`.
    """
    for batch in batches:
        records = from_batch(batch)
        is_long = batch.nbytes >= LONG
        del batch
        if is_long:
            release()
        records.reverse()
        while records:
            yield records.pop()


def _need_record(batch: pa.RecordBatch) -> None:
    if RECORD not in batch.schema.names:
        raise ConversionError(f"the rows do not have the column {RECORD}")


def _converting(message_type: type[Message]) -> tuple[Any, int | None]:
    """What converts JSON and rows natively, and its number for the type; (None, None) if none does.

    Chunks, which make the columns of a completion, are for what folds them.
    """
    kind = native_type(message_type) if transcoder is not None else None
    if kind is None or record_field(message_type) == _CHUNKS:
        return None, None
    return shredder(), kind


def json_to_batch(
    texts: Sequence[bytes], message_type: type[Message] = ChatCompletion
) -> pa.RecordBatch:
    """JSON texts to a record batch: one row for each, whose record holds that message alone.

    The same as to convert each and to make a record of it, in one pass.

    Args:
        texts: JSON objects, as for `chatpb.from_json`.
        message_type: What they are: completions, requests, errors or, each of one chunk, chunks.

    Raises:
        ConversionError: A text is not one JSON object. Its path begins with the place of the text,
            such as ``$[3]``.
    """
    number = record_field(message_type)
    native, kind = _converting(message_type)
    if native is not None:
        found = native.shred_json(transcoder, kind, number, texts)
        if not isinstance(found, int):
            return to_arrays(found, len(texts))
    records = []
    for index, text in enumerate(texts):
        try:
            records.append(embedded(number, [json_to_binary(text, message_type)]))
        except ConversionError as error:
            raise error.below(index) from None
    return to_batch(records)


class LineShapes(NamedTuple):
    """The names of JSON members that show what an object is.

    Attributes:
        request: In an exchange, the member with the request.
        response: In an exchange, the member with the response. Without a request next to it, the
            other members are the request.
        body: In an HTTP message, the member with a request or a response.
        others: Other members that no request has, and that are no labels.
    """

    request: str
    response: str
    body: str
    others: Sequence[str]


class Rows(NamedTuple):
    """What becomes of some lines.

    Attributes:
        batch: The rows; None if the lines need a closer look.
        size: The bytes of the lines that made them.
        lines: The number of the first line after them, from 0.
        end: The place of its first byte, or the end of the text.
    """

    batch: pa.RecordBatch | None
    size: int
    lines: int
    end: int


def lines_to_batches(
    text: bytes, shapes: LineShapes, rows: int = 1, size: int = 0
) -> Iterator[Rows]:
    """Makes rows of those lines of JSON of which it is certain what they are.

    Those are completions that say that they are completions, requests, exchanges of a request and a
    completion or an error, whose other members are labels, and objects with the fields of a record
    without chunks. They are converted together, with
    no Python for a single one of them. Everything else is left to the caller, as are lines that
    cannot be read.

    Args:
        text: The lines. White space around them is no part of them. Empty ones make no row.
        shapes: How to tell what they are.
        rows: How many rows a batch has at least. Lines that make fewer are left to the caller,
        size: unless they have that many bytes.

    Yields:
        All lines, in order. A batch has the rows of the records that its lines become one by one.
    """
    native = shredder()
    if native is None:
        if text:
            yield Rows(None, 0, text.count(b"\n") + 1, len(text))
        return
    completion, request = _member(ChatCompletion), _member(ChatCompletionRequest)
    kind = ChatCompletion.DESCRIPTOR.fields_by_number[ChatCompletion.OBJECT_FIELD_NUMBER]
    number = ChatCompletionRequest.MESSAGES_FIELD_NUMBER
    messages = ChatCompletionRequest.DESCRIPTOR.fields_by_number[number].name
    number = ChunkChoice.DELTA_FIELD_NUMBER
    delta = ChunkChoice.DESCRIPTOR.fields_by_number[number].name
    given = (
        completion,
        (kind.number, kind.name.encode()),
        request,
        messages.encode(),
        _member(ErrorResponse),
        ErrorResponse.DESCRIPTOR.fields_by_number[ErrorResponse.ERROR_FIELD_NUMBER].name.encode(),
        CompletionRecord.LABELS_FIELD_NUMBER,
        (shapes.request.encode(), shapes.response.encode()),
        shapes.body.encode(),
        [name.encode() for name in shapes.others],
        _record_fields(),
        [f'"{name}"'.encode() for name in (messages, delta)],
    )
    found = native.shred_lines(transcoder, given, text, rows, size)
    del text  # which may take most of the memory
    for buffers, count, *place in found:
        yield Rows(None if buffers is None else to_arrays(buffers, count), *place)


@functools.cache
def _record_fields() -> list[tuple[bytes, int, str, int, list[tuple[bytes, int]]]]:
    """The fields of a record, for the native implementation; those of kind "other" are left."""
    types = message_types()
    found = []
    for field in CompletionRecord.DESCRIPTOR.fields:
        kind, words = "other", []
        place = native_type(types[field.name]) if field.name in types else None
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            kind = str(Kind.MAP)
        elif field.is_repeated:
            pass
        elif place is not None:
            kind = "message"
        elif field.type in KINDS:
            kind = str(KINDS[field.type])
            if field.enum_type is not None:
                names = enum_words(field.enum_type).words.items()
                words = [(word.encode(), number) for number, word in names]
        found.append((field.name.encode(), field.number, kind, place or 0, words))
    return found


def _member(message_type: type[Message]) -> tuple[Any, int]:
    return native_type(message_type), record_field(message_type)


def batch_to_lines(batch: pa.RecordBatch, message_type: type[Message] = ChatCompletion) -> bytes:
    """A record batch to JSON lines: the message of that type of each record that has one.

    The same as to make the records and to write their messages, in one pass.

    Raises:
        ConversionError: As for `from_batch` and `chatpb.binary_to_json`. Values of other messages
            in the records are not always checked.
    """
    _need_record(batch)
    number = record_field(message_type)
    native, kind = _converting(message_type)
    if native is not None:
        with suppress(pa.ArrowException):  # the reference reports what is wrong
            buffers = to_buffers(batch)
            lines: bytes | None = native.assemble_lines(
                transcoder, kind, number, len(batch), buffers
            )
            if lines is not None:
                return lines
    return b"".join(
        binary_to_json(record[span.value : span.end], message_type) + b"\n"
        for record in from_batch(batch)
        for span in spans(record)
        if span.number == number
    )


def _parsed(data: bytes, index: int) -> CompletionRecord:
    try:
        return CompletionRecord.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        name = CompletionRecord.DESCRIPTOR.full_name
        raise ConversionError(f"not the binary form of a {name}", f"$[{index}]") from None


def _folded(record: CompletionRecord) -> ChatCompletion | None:
    """The completion that the chunks of a record make; None if they make none."""
    if not record.chunks or record.HasField("completion"):
        return None
    try:
        return fold(record.chunks)
    except ConversionError:
        return None


def _serialized(message: ChatCompletion | None) -> bytes | None:
    return None if message is None else canonical(message)
