"""The chunks in a file of JSON lines, grouped into the streams that they belong to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from chatpb._record import record_of
from chatpb.v1 import ChatCompletionChunk, ErrorResponse

_OPEN_BYTES: Final = 64 << 20  # of streams that may still continue
_COST: Final = 200  # bytes of memory for a chunk in addition to its data


class Made(NamedTuple):
    """A record made from input.

    Attributes:
        data: The record, in binary form.
        json_bytes: The size of its JSON in bytes, or None if it was not counted.
    """

    data: bytes
    json_bytes: int | None


class MadeRows(NamedTuple):
    """Records made from input, as rows of a table.

    Attributes:
        rows: The rows, a `pyarrow.RecordBatch`.
        json_bytes: The size of their JSON in bytes.
    """

    rows: Any
    json_bytes: int

    def alone(self) -> Made | None:
        """The record, if there is only one."""
        from chatpb.table import from_batch  # few commands need pyarrow

        return Made(from_batch(self.rows)[0], self.json_bytes) if len(self.rows) == 1 else None


@dataclass
class Stream:
    """The messages of one stream."""

    messages: list[tuple[type[Message], bytes]] = field(default_factory=list)
    json_bytes: int = 0
    size: int = 0

    def add(self, kind: type[Message], data: bytes, json_bytes: int) -> None:
        """Adds a chunk, or the error that ended the stream."""
        self.messages.append((kind, data))
        self.json_bytes += json_bytes
        self.size += len(data) + _COST

    def made(self) -> Made:
        """The record of the stream."""
        return Made(record_of(self.messages), self.json_bytes)


class Streams:
    """The streams of a file, distinguished by the identifiers of their chunks.

    A chunk without an identifier belongs to the stream of the chunk before it; if it is the first,
    to the stream of the chunk after it. An error ends the stream of the chunk before it. A stream
    that gets no chunk while 64 MiB of other chunks arrive has ended.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[str, Stream] = OrderedDict()
        self._last = ""
        self._size = 0

    @property
    def is_in_one(self) -> bool:
        """Whether a chunk without an identifier would continue a stream."""
        return self._last in self._open

    def add(self, data: bytes, name: str, json_bytes: int) -> Iterator[Made]:
        """Takes a chunk, and yields the streams that are over.

        Args:
            data: The chunk, in binary form.
            name: Its identifier; empty if it has none.
            json_bytes: The size of its JSON.
        """
        name = name or self._last
        if name and not self._last and "" in self._open:
            self._open[name] = self._open.pop("")
        stream = self._open.setdefault(name, Stream())
        self._open.move_to_end(name)
        self._last = name
        before = stream.size
        stream.add(ChatCompletionChunk, data, json_bytes)
        self._size += stream.size - before
        while self._size > _OPEN_BYTES and len(self._open) > 1:
            _, over = self._open.popitem(last=False)
            self._size -= over.size
            yield over.made()

    def end_with(self, error: bytes, json_bytes: int) -> Made:
        """The record of the stream that an error ends, or of the error alone if there is none."""
        stream = self._open.pop(self._last, Stream())
        self._size -= stream.size
        self._last = ""
        stream.add(ErrorResponse, error, json_bytes)
        return stream.made()

    def close(self) -> Iterator[Made]:
        """The streams that end with the file."""
        for stream in self._open.values():
            yield stream.made()
        self._open.clear()
