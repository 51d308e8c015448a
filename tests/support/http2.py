"""A caller of gRPC that does what no library of gRPC does: half of a message, no reading."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_CONTINUATION: Final = 9
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE, _MAX_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME = 1, 3, 4, 16384
_STATUS: Final = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")
Metadata = Iterable[tuple[str, str]]


class Stream:
    """One call.

    Attributes:
        id: Its number.
        window: How many bytes may be sent to it.
        received: How many bytes of answers have come.
        status: The number of its status, once there is one.
        over: Is set when the server has ended it.
    """

    def __init__(self, number: int, window: int) -> None:
        self.id = number
        self.window = window
        self.received = 0
        self.status: int | None = None
        self.over = asyncio.Event()


class Connection:
    """A connection, made with `connect`. It never asks for more of an answer than the first window.

    Attributes:
        most_streams: How many calls the server takes at once.
        closed: Is set when the server has closed it.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first_window: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._streams: dict[int, Stream] = {}
        self._window = 65535
        self._first_window = 65535
        self._next = 1
        self._changed = asyncio.Event()
        self._answers = first_window
        self.most_streams = 0
        self.closed = asyncio.Event()

    async def begin(self) -> None:
        """Exchanges the settings."""
        settings = ((_HEADER_TABLE_SIZE, 0), (_INITIAL_WINDOW_SIZE, self._answers))
        payload = b"".join(struct.pack(">HI", *setting) for setting in settings)
        self._writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, payload))
        await self._read_frame()

    async def read(self) -> None:
        """Reads what the server sends, until it closes the connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._read_frame()
        self.closed.set()
        for stream in self._streams.values():
            stream.over.set()
        self._changed.set()

    def call(self, method: str, *metadata: tuple[str, str]) -> Stream:
        """Begins a call, with the headers alone."""
        pairs = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        )
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)
        stream = self._streams[self._next] = Stream(self._next, self._first_window)
        self._next += 2
        kind = _HEADERS
        while True:
            part, block = block[:_MAX_FRAME], block[_MAX_FRAME:]
            self._writer.write(_frame(kind, 0 if block else _END_HEADERS, stream.id, part))
            kind = _CONTINUATION
            if not block:
                return stream

    async def send(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """Sends bytes, as the server allows them; no more once it has ended the call."""
        view = memoryview(data)
        while view and not stream.over.is_set():
            size = min(self._window, stream.window, _MAX_FRAME, len(view))
            if size <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._window -= size
            stream.window -= size
            last = _END_STREAM if end and size == len(view) else 0
            self._writer.write(_frame(_DATA, last, stream.id, bytes(view[:size])))
            view = view[size:]
            with suppress(ConnectionError):
                await self._writer.drain()

    async def received(self, stream: Stream, count: int) -> None:
        """Waits until that many bytes of an answer have come."""
        while stream.received < count:
            self._changed.clear()
            await self._changed.wait()

    async def _read_frame(self) -> None:
        head = await self._reader.readexactly(9)
        kind, flags = head[3], head[4]
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        stream = self._streams.get(int.from_bytes(head[5:], "big"))
        if kind == _SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == _MAX_STREAMS:
                    self.most_streams = value
                if name == _INITIAL_WINDOW_SIZE:
                    for other in self._streams.values():
                        other.window += value - self._first_window
                    self._first_window = value
            self._writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            if stream is not None:
                stream.window += int.from_bytes(payload, "big")
            elif head[5:] == b"\0\0\0\0":
                self._window += int.from_bytes(payload, "big")
        elif stream is not None:
            if kind == _DATA:
                stream.received += len(payload)
            elif kind == _HEADERS and (found := _STATUS.search(payload)):
                stream.status = int(found[1])
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                stream.over.set()
        self._changed.set()


@asynccontextmanager
async def connect(target: str, *, first_window: int = 65535) -> AsyncIterator[Connection]:
    """Connects to a relay.

    Args:
        target: Its address, ``HOST:PORT``.
        first_window: How many bytes of each answer are taken.
    """
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer, first_window)
    reading: asyncio.Future[None] | None = None
    try:
        await connection.begin()
        reading = asyncio.ensure_future(connection.read())
        yield connection
    finally:
        if reading is not None:
            reading.cancel()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def message(data: bytes, *, length: int | None = None, compressed: bool = False) -> bytes:
    """A message in gRPC's frame. A `length` that is larger than the data's makes it half of one."""
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: str) -> bytes:
    """A text in HPACK, as it is."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, number = b"", len(data) - 127
    while number >= 128:
        rest += bytes([number % 128 | 128])
        number //= 128
    return b"\x7f" + rest + bytes([number]) + data
