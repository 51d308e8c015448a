"""An open file as a series of records, one at a time and in bounded memory."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

from chatpb import sse
from chatpb._cli.failure import CliError, at
from chatpb._cli.reading.compressed import Advance, Readable, begins_log, opened
from chatpb._cli.reading.delimited import read_delimited
from chatpb._cli.reading.kinds import Kind, recognise
from chatpb._cli.reading.sniff import Depth, Format, by_content, by_name
from chatpb._endings import bare
from chatpb._errors import ConversionError, os_error_text
from chatpb._stream.errors import find_error
from chatpb.v1 import ChatCompletionChunk, ErrorResponse

STDIN_NAME: Final = "<stdin>"
MAX_BYTES: Final = 1 << 28  # of a record, unless --max-size is given
_CHUNK: Final = 64 * 1024
_BLOCK: Final = 4 << 20  # bytes of lines that are read at once
_LINE: Final = re.compile(rb"[^\n]+")
_BOM: Final = b"\xef\xbb\xbf"
_BINARY: Final = (Format.BINARY, Format.DELIMITED)
_MANY: Final = (Format.JSONL, Format.SSE, Format.DELIMITED)


@dataclass(frozen=True, slots=True)
class Record:
    """One message of a file, as JSON text or in binary form.

    Attributes:
        data: The text or the bytes.
        place: The file, and the line, event or byte where the message begins.
        source: The file that it comes from.
        event: The name of the server-sent event around it.
        end: For a line, the offset of the first byte after it.
        is_cut: For a line, whether it lacks a line break at its end.
    """

    data: bytes
    place: str
    source: Source
    event: str = ""
    end: int = 0
    is_cut: bool = False

    def kind(self, of_binary: Kind) -> Kind:
        """Which message it is: JSON is recognised, binary is what the caller expects."""
        if self.source.is_binary:
            return of_binary
        is_event = self.source.format is Format.SSE
        if is_event and self.is_error:
            return ErrorResponse
        in_stream = self.source.holds_many
        found = recognise(self.data, bare(self.source.name), in_stream=in_stream)
        return ChatCompletionChunk if is_event and found is ErrorResponse else found

    @property
    def is_error(self) -> bool:
        """Whether it is an error, as all that read streams decide it. Not JSON is none."""
        try:
            return sse.Event(self.data, self.event).is_error
        except ConversionError:
            return False

    @property
    def error(self) -> bytes:
        """The JSON text of the error that it is: an object, even if it came in a list."""
        try:
            found = find_error(self.data)
        except ConversionError:
            found = None
        return self.data if found is None else found.text


@dataclass(slots=True)
class Block:
    """Some lines of a file of JSON lines. A line that is longer than usual blocks is alone.

    Attributes:
        text: The lines, with the line breaks between them. Nothing else has them.
        number: The number of the first line in the file.
        start: The offset of its first byte in the file.
        end: The offset of the first byte after the last line.
        source: The file.
        is_cut: Whether the last line lacks a line break at its end.
    """

    text: bytes
    number: int
    start: int
    end: int
    source: Source
    is_cut: bool

    def part(self, line: int, start: int, end: int) -> Block:
        """Some of the lines.

        Args:
            line: The index of the first one.
            start: The place of its first byte in the text.
            end: The place of the first byte after the line break of the last one, if it has one.
        """
        if end - start == len(self.text):
            return self
        is_last = end == len(self.text)
        return Block(
            self.text[start : end - (not is_last)],
            self.number + line,
            self.start + start,
            self.end if is_last else self.start + end,
            self.source,
            self.is_cut and is_last,
        )

    def records(self) -> Iterator[Record]:
        """The lines that are not empty, as records."""
        number, before = self.number, 0
        for found in _LINE.finditer(self.text):  # without an object for each empty line
            number += self.text.count(b"\n", before, found.start())
            before = found.start()
            is_last = found.end() == len(self.text)
            if line := found[0].strip():
                end = self.end if is_last else self.start + found.end() + 1
                place = f"{self.source.name}:{number}"
                yield Record(line, place, self.source, end=end, is_cut=self.is_cut and is_last)


class _Rewound(io.RawIOBase):
    """A stream whose beginning was already read."""

    def __init__(self, head: bytearray, stream: Readable) -> None:
        self._head = memoryview(bytes(head))
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._stream.read1(len(buffer))
        self._skip(len(data))
        buffer[: len(data)] = data
        return len(data)

    def gather(self, size: int) -> bytes:
        """Reads that many bytes, or what there is; without a copy if they come at once."""
        pieces: list[bytes] = []
        while size and (data := bytes(self._head[:size]) or self._stream.read1(size)):
            self._skip(len(data))
            pieces.append(data)
            size -= len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _skip(self, size: int) -> None:
        # A view of nothing would still keep all.
        self._head = self._head[size:] if size < len(self._head) else memoryview(b"")


class Source:
    """An open file and its format.

    Args:
        name: The name of the file, for error messages.
        stream: The file.
        form: The format, or None to find out.
        limit: The largest size of one record, in bytes.
        advance: Called with the number of bytes read, as they are read.
        binary: The format to assume if the content is binary.
        skipped: For JSON lines, the number of lines before the place where `stream` is, and their
            bytes.

    Attributes:
        name: The name of the file.
        format: Its format.
        is_compressed: Whether it is compressed, with gzip or zstd.

    Raises:
        CliError: The file is a log, or has a format that is not read.
    """

    def __init__(
        self,
        name: str,
        stream: Readable,
        form: Format | None = None,
        limit: int = MAX_BYTES,
        advance: Advance = lambda _: None,
        binary: Format = Format.BINARY,
        skipped: tuple[int, int] = (0, 0),
    ) -> None:
        self.name = name
        self._limit = limit
        self._skipped = skipped
        head = bytearray()
        content = opened(name, stream, advance)
        form = form or by_name(name)
        if form is None:
            form = by_content(head, lambda: content.read1(_CHUNK), limit)
            if form is Format.BINARY and content.is_compressed and begins_log(bytes(head[:_CHUNK])):
                raise CliError(f"{name}: a log; a log is read by `chatpb cat`")
            form = binary if form is Format.BINARY else form
        self.format = form
        self.is_compressed = content.is_compressed
        self._rewound = _Rewound(head, content)
        self._stream = io.BufferedReader(self._rewound, _CHUNK)

    @property
    def is_binary(self) -> bool:
        """Whether its records are messages in binary form, not JSON texts."""
        return self.format in _BINARY

    @property
    def holds_many(self) -> bool:
        """Whether its format can hold more than one record."""
        return self.format in _MANY

    @property
    def is_live(self) -> bool:
        """Whether it may arrive bit by bit, so that results should be written at once."""
        return self.name == STDIN_NAME

    def records(self) -> Iterator[Record]:
        """Its records.

        Raises:
            CliError: A record is too long, or the file ends within one.
        """
        try:
            if self.format is Format.JSONL:
                yield from self._lines()
            elif self.format is Format.SSE:
                yield from self._events()
            elif self.format is Format.DELIMITED:
                for offset, data in read_delimited(self._stream, self._limit):
                    yield Record(data, f"{self.name}:byte {offset}", self)
            else:
                yield from self._whole()
        except ConversionError as error:
            raise at(self.name, error) from None
        except OSError as error:
            raise CliError(f"{self.name}: {os_error_text(error)}") from None

    def blocks(self) -> Iterator[Block]:
        """The lines of JSON lines, many at a time; otherwise like `records`.

        Raises:
            CliError: A line is too long. The lines before it come first.
        """
        try:
            yield from self._blocks()
        except ConversionError as error:
            raise at(self.name, error) from None
        except OSError as error:
            raise CliError(f"{self.name}: {os_error_text(error)}") from None

    def _blocks(self) -> Iterator[Block]:
        number, end = self._skipped
        number += 1
        rest = bytearray()  # the beginning of a line that is not whole yet
        while data := self._rewound.gather(_BLOCK):
            last = data.rfind(b"\n")
            if last >= 0 and len(rest) >= _BLOCK:
                first = data.find(b"\n")
                rest += memoryview(data)[:first]
                number, end = yield from self._block(_taken(rest), number, end, is_cut=False)
                data, last = data[first + 1 :], last - first - 1
            if last >= 0:
                given = [b"".join((rest, memoryview(data)[:last]))]
                rest.clear()
                number, end = yield from self._block(given, number, end, is_cut=False)
            rest += memoryview(data)[last + 1 :]
            if len(rest) > self._limit:
                raise self._too_long(f"{self.name}:{number}")
        if rest:
            yield from self._block(_taken(rest), number, end, is_cut=True)

    def _block(
        self, given: list[bytes], number: int, start: int, *, is_cut: bool
    ) -> Generator[Block, None, tuple[int, int]]:
        """A block of lines; of those before one that is too long, if there is one.

        Args:
            given: The text, which is taken out.
            number: The number of the first line.
            start: The offset of its first byte.
            is_cut: Whether the last line lacks a line break.

        Returns:
            The number of the first line after the block, and its offset.
        """
        text = given.pop()
        following = number + text.count(b"\n") + 1
        end = start + len(text) + (not is_cut)
        first_too_long = None
        if end - start > self._limit:
            lines = text.split(b"\n")
            sizes = [len(line) + (not is_cut) for line in lines]
            first_too_long = next((i for i, size in enumerate(sizes) if size > self._limit), None)
            if first_too_long is not None:
                text = b"\n".join(lines[:first_too_long])
                end = start + sum(sizes[:first_too_long])
        if first_too_long != 0:
            mark = _BOM if number == 1 and text.startswith(_BOM) else b""
            text = text.removeprefix(mark)
            blocks = [Block(text, number, start + len(mark), end, self, is_cut)]
            del text
            yield blocks.pop()
        if first_too_long is not None:
            raise self._too_long(f"{self.name}:{number + first_too_long}")
        return following, end

    def _whole(self) -> Iterator[Record]:
        given = [self._read_whole()]
        yield Record(given.pop(), self.name, self)  # which only the caller has

    def _read_whole(self) -> bytes:
        data = bytearray()
        depth = Depth()
        while piece := self._rewound.gather(_CHUNK):
            data += piece
            if len(data) > self._limit:
                raise self._too_long(self.name)
            if self.format is Format.JSON and (fault := depth.fault(data)) is not None:
                raise fault
        return bytes(data)

    def _lines(self) -> Iterator[Record]:
        number, end = self._skipped
        while line := self._stream.readline(self._limit + 1):
            number += 1
            end += len(line)
            is_cut = not line.endswith(b"\n")
            if len(line) > self._limit:
                raise self._too_long(f"{self.name}:{number}")
            if number == 1:
                line = line.removeprefix(_BOM)
            if line := line.strip():
                place = f"{self.name}:{number}"
                given = [Record(line, place, self, end=end, is_cut=is_cut)]
                del line
                yield given.pop()  # which only the caller has

    def _events(self) -> Iterator[Record]:
        decoder = sse.Decoder(self._limit)
        number = 0
        more = True
        while more:
            data = self._stream.read1(_CHUNK)
            more = bool(data)
            for event in decoder.feed(data) if more else decoder.close():
                number += 1
                if event.data != sse.DONE:
                    place = f"{self.name}:event {number}"
                    yield Record(event.data, place, self, event.event)

    def _too_long(self, place: str) -> CliError:
        return CliError(f"{place}: longer than the {self._limit} bytes of --max-size")


def _taken(text: bytearray) -> list[bytes]:
    """A text, which is taken out; from then on, only the list has it."""
    given = [bytes(text)]
    text.clear()
    return given
