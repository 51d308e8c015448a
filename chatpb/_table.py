"""Records as rows of a table: record batches, and how they are written to Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute
from google.protobuf.message import DecodeError, Message

from chatpb._buffers import shredder, to_arrays, to_buffers
from chatpb._columns import SCHEMA, TOKENS_COLUMN
from chatpb._convert import binary_to_json, json_to_binary
from chatpb._errors import ConversionError
from chatpb._fold import fold
from chatpb._implementation import native_type, transcoder
from chatpb._record import record_field
from chatpb._shred import assemble, shred
from chatpb._wire import embedded, joined, spans
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord

_PAGE_BYTES: Final = 4 << 20  # long pages compress better
_DICTIONARY_BYTES: Final = 64 << 20  # all tokens of a row group find room
_SAMPLE: Final = 10_000
_TOKENS_LEVEL: Final = 3
_SHORT: Final = 64  # bytes: identifiers, of which many begin alike
_CHUNKS: Final = CompletionRecord.CHUNKS_FIELD_NUMBER
#: What rows that no table has make the reference raise.
_FAULTS: Final = (DecodeError, LookupError, TypeError, ValueError)


def to_batch(records: Iterable[bytes | CompletionRecord]) -> pa.RecordBatch:
    """Records to a record batch: one row for each record, nothing lost.

    The law: ``from_batch(to_batch(records))`` are the same messages, in binary form.

    Args:
        records: The records, as messages or in binary form.

    Returns:
        A batch with the columns of `SCHEMA`.

    Raises:
        ConversionError: Bytes are not the binary form of a record; its path says which, such as
            ``$[3]``.
    """
    given = [each if isinstance(each, bytes) else each.SerializeToString() for each in records]
    folded = [_folded(_parsed(data, index)) for index, data in enumerate(given)]
    native = _shred_natively(given, folded)
    if native is not None:
        return native
    parsed = [_parsed(data, index) for index, data in enumerate(given)]
    makings = [None if data is None else ChatCompletion.FromString(data) for data in folded]
    return shred(list(zip(parsed, makings, strict=True)))


def _shred_natively(given: list[bytes], folded: list[bytes | None]) -> pa.RecordBatch | None:
    """What the native implementation gives; None if it declines or is not there."""
    native = shredder()
    if native is None:
        return None
    found = native.shred(list(zip(given, folded, strict=True)))
    if isinstance(found, int):  # in a form that no serializer writes; those behind it may be too
        given[found:] = (
            _parsed(data, found + index).SerializeToString(deterministic=True)
            for index, data in enumerate(given[found:])
        )
        found = native.shred(list(zip(given, folded, strict=True)))
    return None if isinstance(found, int) else to_arrays(found, len(given))


def from_batch(batch: pa.RecordBatch) -> list[bytes]:
    """A record batch to the records that it was made of, in binary form.

    Args:
        batch: Rows with all columns of `SCHEMA`, in any order; others are left out.

    Raises:
        ConversionError: A column is missing, or a row is not what `to_batch` makes; its path says
            which, such as ``$[3]``.
    """
    _need_columns(batch)
    native = shredder()
    found: list[bytes] = []
    try:
        if native is not None:
            records: list[bytes] | None = native.assemble(len(batch), to_buffers(batch))
            if records is not None:
                return records
        found.extend(record.SerializeToString(deterministic=True) for record in assemble(batch))
    except (pa.ArrowException, *_FAULTS) as error:
        reason = f"the row is not one of a table: {error}"
        raise ConversionError(reason, f"$[{len(found)}]") from error
    return found


def _need_columns(batch: pa.RecordBatch) -> None:
    missing = [name for name in SCHEMA.names if name not in batch.schema.names]
    if missing:
        raise ConversionError(
            f"the rows lack the column {missing[0]}; records are read from all columns"
        )


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
    native, kind = shredder(), native_type(message_type) if transcoder is not None else None
    if native is not None and kind is not None and number != _CHUNKS:  # which would be folded
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


def batch_to_json(
    batch: pa.RecordBatch, message_type: type[Message] = ChatCompletion
) -> list[bytes | None]:
    """A record batch to the JSON of the message of that type in each record, where it has one.

    The same as to make the records and to write their messages, in one pass.

    Raises:
        ConversionError: As for `from_batch` and `chatpb.binary_to_json`.
    """
    _need_columns(batch)
    number = record_field(message_type)
    native, kind = shredder(), native_type(message_type) if transcoder is not None else None
    if native is not None and kind is not None and number != _CHUNKS:
        found: list[bytes | None] | None
        try:
            buffers = to_buffers(batch)
        except pa.ArrowException:
            found = None  # the reference says what is wrong
        else:
            found = native.assemble_json(transcoder, kind, number, len(batch), buffers)
        if found is not None:
            return found
    texts: list[bytes | None] = []
    for record in from_batch(batch):
        held = any(span.number == number for span in spans(record))
        texts.append(binary_to_json(joined(record, number), message_type) if held else None)
    return texts


def parquet_options(batch: pa.RecordBatch, *, level: int = 3) -> dict[str, Any]:
    """How rows are written to Parquet, as arguments for `pyarrow.parquet.ParquetWriter`.

    Args:
        batch: Rows like those that are to be written: columns whose values often recur in them get
            a dictionary.
        level: The level of zstd, from 1 to 22; for tokens, which gain nothing by more, 3 at most.
    """
    with_dictionary, encodings, levels, with_statistics = [], {}, {}, []
    for path, values in _leaves(batch):
        is_of_tokens = path.startswith(f"{TOKENS_COLUMN}.")
        # The numbers of tokens are noise below their first bits, at any level.
        levels[path] = min(level, _TOKENS_LEVEL) if is_of_tokens else level
        if not is_of_tokens:
            with_statistics.append(path)
        kind = values.type
        if pa.types.is_float32(kind):
            encodings[path] = "BYTE_STREAM_SPLIT"
        elif _recurs(values):
            with_dictionary.append(path)
        elif pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
            is_rising = pa.types.is_int64(kind) or pa.types.is_timestamp(kind)
            encodings[path] = "DELTA_BINARY_PACKED" if is_rising else "BYTE_STREAM_SPLIT"
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            is_short = len(values) and values.nbytes / len(values) < _SHORT
            encodings[path] = "DELTA_BYTE_ARRAY" if is_short else "DELTA_LENGTH_BYTE_ARRAY"
    return {
        "compression": "zstd",
        "compression_level": levels,
        "use_dictionary": with_dictionary,
        "column_encoding": encodings,
        "data_page_size": _PAGE_BYTES,
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
        "write_statistics": with_statistics,
        "store_schema": False,  # readers would take dictionaries for another type
    }


def _leaves(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """The columns as Parquet has them: their paths, and their values."""
    todo = [(name, batch.column(name)) for name in reversed(batch.schema.names)]
    while todo:
        path, values = todo.pop()
        if pa.types.is_map(values.type):
            todo.append((f"{path}.key_value.value", values.items))
            todo.append((f"{path}.key_value.key", values.keys))
        elif pa.types.is_list(values.type):
            todo.append((f"{path}.list.element", values.flatten()))
        elif pa.types.is_struct(values.type):
            names = [field.name for field in values.type]
            inner = zip(names, values.flatten(), strict=True)
            todo += [(f"{path}.{name}", part) for name, part in reversed(list(inner))]
        else:
            yield path, values


def _recurs(values: pa.Array) -> bool:
    """Whether values recur so often that a dictionary of them makes them shorter."""
    if pa.types.is_dictionary(values.type):
        return True
    sample = values.drop_null()[:_SAMPLE]
    if pa.types.is_boolean(values.type):
        return False
    return len(sample) == 0 or pa.compute.count_distinct(sample).as_py() < len(sample) / 2


def _parsed(data: bytes, index: int) -> CompletionRecord:
    try:
        return CompletionRecord.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        name = CompletionRecord.DESCRIPTOR.full_name
        raise ConversionError(f"not the binary form of a {name}", f"$[{index}]") from None


def _folded(record: CompletionRecord) -> bytes | None:
    """The completion that the chunks of a record make; None if they make none."""
    if not record.chunks or record.HasField("completion"):
        return None
    try:
        return fold(record.chunks).SerializeToString(deterministic=True)
    except ConversionError:
        return None
