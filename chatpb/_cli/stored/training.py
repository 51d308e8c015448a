"""Rows with a column of messages, as Hugging Face ``datasets`` and programs that train take them.

Each row has ``messages``, a list of objects with ``role`` and ``content``, and with the other
members of `messages.MESSAGE` where a message has them. The content is text. ``tools`` are the tools
of the request as a JSON text: their JSON schemas have no common type. Then come the columns and
labels that were asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet

from chatpb._cli.failure import USAGE_ERROR, CliError, at
from chatpb._cli.stored.conversation import Chosen, Tree, UnfitError
from chatpb._cli.stored.messages import (
    MESSAGE,
    arrow_type,
    converted,
    fitting,
    kept,
    with_values,
)
from chatpb._errors import ConversionError
from chatpb._mapping.text import dump
from chatpb.table import SCHEMA, to_batch
from chatpb.table._rows.long import LONG, apart, let_go, release
from chatpb.v1 import CompletionRecord

if TYPE_CHECKING:
    from chatpb._cli.stored.records import Stored

_Item = TypeVar("_Item")

# The most rows and bytes, about: of records that are read at once, of rows in a row group.
_BLOCK: Final = (1000, 16 << 20)
_GROUP: Final = (50_000, 64 << 20)
_KEPT: Final = ("messages", "messages.role", "messages.content")
_OWN: Final = ("messages", "tools", "choice")


class Training:
    """Makes the rows.

    Args:
        chosen: Which records and answers; what is left out is counted there.
        columns: The names of columns of tables that the rows have too.
        labels: The keys of labels, each of which becomes a column.

    Raises:
        CliError: There is no such column, or it is not a number, a text or a time.
    """

    def __init__(self, chosen: Chosen, columns: Sequence[str], labels: Sequence[str]) -> None:
        for name in columns:
            _check_column(name)
        names = (*_OWN, *columns, *labels)
        for name in (*columns, *labels):
            if names.count(name) > 1:
                raise CliError(f"{name}: there would be two columns of this name", USAGE_ERROR)
        self._chosen = chosen
        self._columns = list(columns)
        self._labels = labels
        schema = pa.schema([("messages", arrow_type([MESSAGE])), ("tools", pa.string())])
        if chosen.all_choices:
            schema = schema.append(pa.field("choice", pa.int32()))
        for name in columns:
            schema = schema.append(pa.field(name, _plain(SCHEMA.field(name).type)))
        for key in labels:
            schema = schema.append(pa.field(key, pa.string()))
        self._schema = schema

    def lines(self, found: Iterable[Stored]) -> Iterator[bytes]:
        """The rows as JSON texts of one line each.

        Members without a value are left out, except the content of a message.

        Raises:
            CliError: A record has no JSON form.
        """
        for rows in self._rows(found):
            while rows:  # each may take most of the memory
                yield _line(rows.pop(0))

    def write_parquet(self, found: Iterable[Stored], out: BinaryIO) -> None:
        """Writes the rows as a Parquet file, without columns and members that no row has.

        Raises:
            CliError: A record has no JSON form.
            OSError: The file cannot be written.
        """
        seen = {*_KEPT, *self._columns, *self._labels}
        has_long = False
        # The rows wait in a temporary file until it is known which members they have.
        with TemporaryFile() as waiting:
            with pa.ipc.new_stream(waiting, self._schema) as stream:
                for rows in self._rows(found):
                    batch = pa.RecordBatch.from_pylist(rows, schema=self._schema)
                    rows.clear()
                    for name in batch.schema.names:
                        seen.update(with_values(batch.column(name), name))
                    for piece in apart(batch):
                        has_long |= piece.nbytes >= LONG
                        stream.write_batch(piece)
                        del piece
                    del batch
            release()
            waiting.seek(0)
            fields = [field for field in self._schema if field.name in seen]
            schema = pa.schema(
                [field.with_type(kept(field.type, field.name, seen)) for field in fields]
            )
            with (
                pa.ipc.open_stream(waiting) as stream,
                pa.parquet.ParquetWriter(
                    out,
                    schema,
                    compression="zstd",
                    use_dictionary=not has_long,  # all three have copies of each value
                    write_statistics=not has_long,
                    data_page_version="2.0" if has_long else "1.0",
                ) as writer,
            ):
                batches = map(partial(_cast, schema), let_go(stream))
                for group in _blocks(batches, lambda batch: (batch.num_rows, batch.nbytes), _GROUP):
                    writer.write_table(pa.Table.from_batches(group))
                    del group[:]

    def _rows(self, found: Iterable[Stored]) -> Iterator[list[Tree]]:
        for some in _blocks(found, lambda each: (1, len(each.data)), _BLOCK):
            values = list(self._values([each.data for each in some]))
            rows: list[Tree] = []
            for own in values:
                data, place = some.pop(0)
                given = [data]
                del data
                try:
                    rows += self._of_record(given, own)
                except ConversionError as error:
                    raise at(place, error) from None
            self._chosen.written += len(rows)
            yield rows
            del rows

    def _values(self, some: list[bytes]) -> Iterator[Tree]:
        """The values of the columns and labels of records."""
        rows: list[Tree] = [{}] * len(some)
        if self._columns:
            rows = to_batch(some).select(self._columns).to_pylist()
        for data, row in zip(some, rows, strict=True):
            labels = CompletionRecord.FromString(data).labels if self._labels else {}
            yield {**row, **{key: labels[key] for key in self._labels if key in labels}}

    def _of_record(self, given: list[bytes], values: Tree) -> Iterator[Tree]:
        for request, messages, choice in self._chosen.conversations(given):
            try:
                row: Tree = {"messages": [converted(message) for message in messages]}
                tools = request.get("tools")
                row["tools"] = fitting(dump(tools), str) if tools else None
            except UnfitError as unfit:
                self._chosen.left_out[str(unfit)] += 1
                continue
            if self._chosen.all_choices:
                row["choice"] = choice
            yield row | values


def _blocks(
    found: Iterable[_Item], size: Callable[[_Item], tuple[int, int]], limits: tuple[int, int]
) -> Iterator[list[_Item]]:
    """Items in blocks, each of which ends when it has that many rows or bytes.

    An item of many bytes is alone. The items can be taken out of a block: nothing else has them.
    """
    block: list[_Item] = []
    rows = count = 0
    for item in found:
        more_rows, more_bytes = size(item)
        if block and more_bytes >= LONG:
            yield block
            block, rows, count = [], 0, 0
        block.append(item)
        del item
        rows, count = rows + more_rows, count + more_bytes
        if rows >= limits[0] or count >= limits[1]:
            yield block
            block, rows, count = [], 0, 0
    if block:
        yield block


def _line(row: Tree) -> bytes:
    messages = [{"content": None, **_set(each)} for each in row["messages"]]
    return orjson.dumps({**_set(row), "messages": messages})


def _cast(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(schema.names).cast(schema)


def _check_column(name: str) -> None:
    """Checks that a column can be a column of rows.

    Raises:
        CliError: It cannot.
    """
    if name not in SCHEMA.names:
        near = difflib.get_close_matches(name, SCHEMA.names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CliError(f"no column {name}{hint}", USAGE_ERROR)
    kind = SCHEMA.field(name).type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise CliError(f"{name}: only numbers, texts and times can be columns here", USAGE_ERROR)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _set(value: Any) -> Any:
    """A value without members that are null."""
    if isinstance(value, dict):
        return {name: _set(below) for name, below in value.items() if below is not None}
    return [_set(below) for below in value] if isinstance(value, list) else value
