"""From files to the records of a table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import chatpb
from chatpb import _endings
from chatpb._cli.failure import CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.reading.compressed import Advance, is_log
from chatpb._cli.reading.exchange import UnknownShapeError, described, is_exchange, record_in
from chatpb._cli.reading.input import STDIN, Reading, explained, open_source, walk
from chatpb._cli.reading.kinds import Kind, converted, known_kind, loaded
from chatpb._cli.reading.known import Known
from chatpb._cli.reading.sniff import ENDINGS, READABLE, Format
from chatpb._cli.reading.source import Record, Source
from chatpb._cli.reading.streams import Made, Stream, Streams
from chatpb._errors import ConversionError
from chatpb._mapping.text import parse
from chatpb._record import holds, record_of
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionList,
    ChatCompletionRequest,
    ErrorResponse,
)

_ANSWERS: Final = (_endings.ERROR, _endings.JSON, *ENDINGS)
_ENDINGS: Final = (_endings.LOG, *READABLE)
_HEAD: Final = 4096
_UNKNOWN: Final = "not a completion, chunk, request, error or exchange"


@dataclass
class Collector:
    """Makes records of files, except of what is known already.

    Attributes:
        known: Which input is in the table already. What is read now is added to it.
        reading: How JSON is read.
        skip_damage: Whether to go on after input that cannot be read.
        skip_unknown: Whether to go on after JSON of an unknown shape.
        advance: Called with the number of bytes read, as they are read.
        note: Called with a text that the user should see.
        keys: The file of keys of logs, if there is one.
        skipped: How many times something could not be read.
        unknown: How many JSON values had an unknown shape.
    """

    known: Known
    reading: Reading
    skip_damage: bool
    skip_unknown: bool
    advance: Advance
    note: Callable[[str], None]
    keys: LogKeys | None = None
    skipped: int = 0
    unknown: int = 0
    _files: set[tuple[int, int]] = field(default_factory=set)
    _joined: set[str] = field(default_factory=set)

    def records(self, names: Sequence[str]) -> Iterator[Made]:
        """The records of files.

        Raises:
            CliError: Something cannot be read.
            LogError: A log is damaged.
        """
        requests = []
        for path in names:
            if path == STDIN:
                with open_source(path, self.reading) as source:
                    yield from self._of_source(source)
            elif _endings.bare(path).endswith(_endings.REQUEST) and not is_log(path):
                requests.append(path)
            else:
                yield from self._file(path)
        for path in requests:
            if os.path.abspath(path) not in self._joined:
                yield from self._file(path)

    def _file(self, path: str) -> Iterator[Made]:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in self._files:
            return
        self._files.add((found.st_dev, found.st_ino))
        if self.reading.form is None and is_log(path):
            if found.st_size:
                yield from self._log(path)
            return
        try:
            with open_source(path, self.reading) as source:
                form = source.format
        except CliError as failure:
            self.failed(failure)
            return
        is_whole = form is not Format.JSONL or source.is_compressed
        skipped = self.known.meet(path, whole=is_whole)
        lines, end = skipped or (0, 0)
        self.advance(end)
        if skipped is not None and end == found.st_size:
            return
        reading = replace(self.reading, form=form)
        with open_source(path, reading, self.advance, skipped=(lines, end)) as source:
            reader = _Reader(self, source, lines, end)
            if skipped is None:
                yield from self._with_request(path, reader.records())
            else:
                yield from reader.records()
        if skipped is not None:
            self.known.forget()
        end = found.st_size if is_whole else reader.end
        if end:  # an empty file has nothing to recognise it by
            self.known.take(path, end, reader.lines)

    def _of_source(self, source: Source) -> Iterator[Made]:
        return _Reader(self, source, 0, 0).records()

    def _with_request(self, path: str, records: Iterator[Made]) -> Iterator[Made]:
        """The records of an answer; a single one with the request from the file next to it."""
        first, second = next(records, None), next(records, None)
        if first is None:
            return
        beside = None if second is not None else _request_beside(path)
        if beside is not None:
            request = self._request(beside)
            if request is not None:
                size = None if first.json_bytes is None else first.json_bytes + request[1]
                first = Made(record_of([(ChatCompletionRequest, request[0])]) + first.data, size)
        yield first
        if second is not None:
            yield second
            yield from records

    def _request(self, path: str) -> tuple[bytes, int] | None:
        with open_source(path, replace(self.reading, form=Format.JSON)) as source:
            for record in source.records():
                try:
                    data = self.binary(record, ChatCompletionRequest)
                except CliError as failure:
                    self.failed(failure)
                    return None
                self._joined.add(os.path.abspath(path))
                if self.known.meet(path, whole=True) is None:
                    self.known.take(path, os.path.getsize(path), 0)
                return data, len(record.data)
        return None

    def _log(self, path: str) -> Iterator[Made]:
        from chatpb.log import LogReader, Position, header

        file_id = header(path).file_id or _first_bytes(path)
        known = self.known.log(file_id)
        start = None if known is None else Position(Path(path), *known)
        at = 0

        def damaged(damage: object) -> None:
            self.skipped += not getattr(damage, "is_torn", False)
            self.note(str(damage))

        with LogReader(
            path,
            start=start,
            skip_damage=self.skip_damage,
            on_damage=damaged,
            keys=None if self.keys is None else self.keys.file,
        ) as reader:
            for data, position in reader:
                if position.frame_offset > at:
                    self.advance(position.frame_offset - at)
                    at = position.frame_offset
                yield Made(data, None)
                following = position.next
                self.known.take_log(file_id, following.frame_offset, following.index)
        self.advance(os.path.getsize(path) - at)

    def binary(self, record: Record, kind: Kind) -> bytes:
        """A record of a file in binary form.

        Raises:
            CliError: The record cannot be read.
        """
        try:
            if not record.source.is_binary:
                return chatpb.json_to_binary(record.data, kind, allow_nan=self.reading.allow_nan)
            chatpb.binary_to_json(record.data, kind, allow_nan=True, ignore_unknown_fields=True)
        except ConversionError as error:
            raise explained(record, error) from None
        return record.data

    def failed(self, failure: CliError) -> None:
        """Goes on after a failure, if `skip_damage` is set.

        Raises:
            CliError: It is not set.
        """
        if isinstance(failure, _UnknownError) and self.skip_unknown:
            self.unknown += 1
            return
        if not self.skip_damage:
            raise failure
        self.skipped += 1
        self.note(f"left out: {failure.text}")


class _UnknownError(CliError):
    """JSON of an unknown shape, or of one that no record can contain."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text} (--skip-unknown leaves such input out)")


class _Reader:
    """Makes records of one file that is not a log.

    Attributes:
        lines: How many lines of the file have been read.
        end: The offset of the first byte after them.
    """

    def __init__(self, collector: Collector, source: Source, lines: int, end: int) -> None:
        self.lines = lines
        self.end = end
        self._collector = collector
        self._source = source

    def records(self) -> Iterator[Made]:
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

    def _lines(self) -> Iterator[Made]:
        streams = Streams()
        for record in self._read():
            try:
                yield from self._line(record, streams)
            except CliError as failure:
                may_grow = record.is_cut and not self._source.is_compressed
                if may_grow and not isinstance(failure, _UnknownError):
                    self._collector.note(f"{failure.text}; left for when the line is whole")
                    break
                self._collector.failed(failure)
            self.lines += 1
            self.end = record.end
        yield from streams.close()

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
            else:
                yield from self._made(record, shape)
        except CliError as failure:
            self._collector.failed(failure)

    def _shape(self, record: Record, *, is_first: bool = False) -> Kind | Made:
        """The kind of a record of a file, or what it becomes if it is an exchange.

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
                allow_nan = self._collector.reading.allow_nan
                exact = parse(record.data, allow_nan=allow_nan)
                return Made(record_in(exact, allow_nan=allow_nan), len(record.data))
        except ConversionError as error:
            raise explained(record, error) from None
        except UnknownShapeError as unknown:
            raise _UnknownError(f"{record.place}: {_UNKNOWN}: {unknown}") from None
        in_stream = record.source.holds_many
        name = _endings.bare(record.source.name)
        kind = known_kind(value, name, in_stream=in_stream, is_first=is_first)
        if kind is None:
            raise _UnknownError(f"{record.place}: {_UNKNOWN}: {described(value)}")
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
            raise _UnknownError(f"{record.place}: {what}")


def files(names: Sequence[str]) -> list[str]:
    """The named files, and in named directories the files that can be read.

    Raises:
        CliError: There is no such file.
    """
    return list(walk(names, _ENDINGS))


def _first_bytes(path: str) -> str:
    """An identifier for a log whose header has none."""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read(_HEAD)).hexdigest()


def _request_beside(path: str) -> str | None:
    """The file with the request of an answer, if there is one."""
    name = _endings.bare(path)
    for ending in _ANSWERS:
        if name.endswith(ending):
            request = name.removesuffix(ending) + _endings.REQUEST
            besides = _endings.compressible((request,))
            return next((each for each in besides if os.path.isfile(each)), None)
    return None
