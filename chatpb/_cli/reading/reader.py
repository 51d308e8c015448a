"""From one file that is not a log to records."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from chatpb import _endings
from chatpb._cli.failure import CliError
from chatpb._cli.reading.bulk import Run, runs
from chatpb._cli.reading.exchange import UnknownShapeError, described, is_exchange
from chatpb._cli.reading.input import explained
from chatpb._cli.reading.kinds import Kind, converted, known_kind, loaded
from chatpb._cli.reading.sniff import Format
from chatpb._cli.reading.source import Block, Record, Source
from chatpb._cli.reading.streams import Made, MadeRows, Stream, Streams
from chatpb._errors import ConversionError
from chatpb._record import holds, record_of
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionList,
    ErrorResponse,
)

if TYPE_CHECKING:
    from chatpb._cli.reading.collect import Collector

_UNKNOWN: Final = "not a completion, chunk, request, error or exchange"


class UnknownError(CliError):
    """JSON of an unknown shape, or of one that no record can contain."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text} (--skip-unknown leaves such input out)")


class Reader:
    """Makes records of one file that is not a log.

    Attributes:
        end: For JSON lines, the offset of the first byte after those that were read.
    """

    def __init__(self, collector: Collector, source: Source, end: int = 0) -> None:
        self.end = end
        self._collector = collector
        self._source = source

    def records(self) -> Iterator[Made | MadeRows]:
        form = self._source.format
        if form is Format.SSE:
            yield from self._events()
        elif form is Format.JSONL:
            yield from self._lines()
        else:
            for record in self._read():
                yield from self._message(record)

    def _read(self) -> Iterator[Record]:
        try:
            yield from self._source.records()
        except CliError as failure:
            self._collector.failed(failure)

    def _events(self) -> Iterator[Made]:
        stream = Stream()
        for record in self._read():
            try:
                kind: Kind = ChatCompletionChunk
                if record.is_error:
                    kind, record = ErrorResponse, replace(record, data=record.error)
                stream.add(kind, self._collector.binary(record, kind), len(record.data))
            except CliError as failure:
                self._collector.failed(failure)
        if stream.messages:
            yield stream.made()

    def _lines(self) -> Iterator[Made | MadeRows]:
        streams = Streams()
        for block in self._blocks():
            for rows, part in runs(block) if self._is_exact else [Run(None, block)]:
                if rows is not None:
                    yield rows
                    self.end = part.end
                elif not (yield from self._one_by_one(part, streams)):
                    yield from streams.close()
                    return
        yield from streams.close()

    def _blocks(self) -> Iterator[Block]:
        try:
            yield from self._source.blocks()
        except CliError as failure:
            self._collector.failed(failure)

    @property
    def _is_exact(self) -> bool:
        return not self._collector.reading.allow_nan

    def _one_by_one(self, block: Block, streams: Streams) -> Generator[Made, None, bool]:
        """The records of lines; the result is whether the lines after them should be read."""
        for record in block.records():
            try:
                yield from self._line(record, streams)
            except CliError as failure:
                may_grow = record.is_cut and not self._source.is_compressed
                if may_grow and not isinstance(failure, UnknownError):
                    self._collector.note(f"{failure.text}; left for when the line is whole")
                    return False
                self._collector.failed(failure)
            self.end = record.end
        return True

    def _line(self, record: Record, streams: Streams) -> Iterator[Made]:
        found = converted(record.data)
        if found is not None:
            kind, data, stream = found
            if kind is ChatCompletionChunk:
                yield from streams.add(data, stream, len(record.data))
            else:
                yield Made(record_of([(kind, data)]), len(record.data))
            return
        shape = self._shape(record, is_first=not streams.is_in_one)
        if shape is None:
            return
        if isinstance(shape, Made):
            yield shape
        elif shape is ChatCompletionChunk:
            data = self._collector.binary(record, shape)
            stream = ChatCompletionChunk.FromString(data).id
            yield from streams.add(data, stream, len(record.data))
        elif shape is ErrorResponse:
            yield streams.end_with(self._collector.binary(record, shape), len(record.data))
        else:
            yield from self._made(record, shape)

    def _message(self, record: Record) -> Iterator[Made]:
        try:
            shape = self._shape(record)
            if isinstance(shape, Made):
                yield shape
            elif shape is not None:
                yield from self._made(record, shape)
        except CliError as failure:
            self._collector.failed(failure)

    def _shape(self, record: Record, *, is_first: bool = False) -> Kind | Made | None:
        """The kind of a record of a file, or what it becomes if it is an exchange.

        None is a line of a batch, which waits for others.

        Args:
            record: The record.
            is_first: As in `known_kind`.

        Raises:
            CliError: It is not JSON, or JSON of an unknown shape.
        """
        if record.source.is_binary:
            return ChatCompletion
        try:
            value = loaded(record.data)
            if isinstance(value, dict) and is_exchange(value):
                return self._collector.exchange(record, value)
        except ConversionError as error:
            raise explained(record, error) from None
        except UnknownShapeError as unknown:
            raise UnknownError(f"{record.place}: {_UNKNOWN}: {unknown}") from None
        in_stream = record.source.holds_many
        name = _endings.bare(record.source.name)
        kind = known_kind(value, name, in_stream=in_stream, is_first=is_first)
        if kind is None:
            raise UnknownError(f"{record.place}: {_UNKNOWN}: {described(value)}")
        return kind

    def _made(self, record: Record, kind: Kind) -> Iterator[Made]:
        if kind is ChatCompletionList:
            page = ChatCompletionList.FromString(self._collector.binary(record, kind))
            for item in page.data:
                data = item.SerializeToString(deterministic=True)
                yield Made(record_of([(ChatCompletion, data)]), None)
        elif holds(kind):
            data = self._collector.binary(record, kind)
            json_bytes = None if record.source.is_binary else len(record.data)
            yield Made(record_of([(kind, data)]), json_bytes)
        else:
            what = f"a {kind.DESCRIPTOR.name}, which a record cannot contain"
            raise UnknownError(f"{record.place}: {what}")
