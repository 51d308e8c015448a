"""As much of HTTP/2 as gRPC needs, for an upstream and a load generator that cost little.

Headers are constant bytes, and those of the other side are not decoded: whether a call went well is
seen from its messages.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import Final, cast

DATA: Final = 0
HEADERS: Final = 1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
_RST_STREAM: Final = 3
_SETTINGS: Final = 4
_PING: Final = 6
_WINDOW_UPDATE: Final = 8
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INITIAL_WINDOW_SIZE: Final = 4
_ACK: Final = 0x1
_PADDED: Final = 0x8
_HEAD: Final = struct.Struct(">BHBBI")
_FRAME_BYTES: Final = 16_384  # the most that every peer takes
_DEFAULT_WINDOW: Final = 65_535
_WINDOW: Final = 2**31 - 1
_TOP_UP: Final = 2**29


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    length = len(payload)
    return _HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def request_headers(authority: str, path: str) -> bytes:
    """The header block of a gRPC request: no table, no Huffman."""
    return b"".join(
        (
            b"\x83\x86",  # POST, http
            b"\x04" + _text(path),
            b"\x01" + _text(authority),
            _CONTENT_TYPE,
            b"\x00" + _text("te") + _text("trailers"),
        )
    )


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


_CONTENT_TYPE: Final = b"\x0f\x10" + _text("application/grpc")
RESPONSE_HEADERS: Final = b"\x88" + _CONTENT_TYPE  # status 200
TRAILERS: Final = b"\x00" + _text("grpc-status") + _text("0")


def message(body: bytes) -> bytes:
    """A gRPC message: its length before it."""
    return b"\x00" + len(body).to_bytes(4, "big") + body


@dataclass
class _Outgoing:
    window: int
    pending: bytearray = field(default_factory=bytearray)
    last: bytes = b""  # the frame that ends the stream


class Http2Protocol(asyncio.Protocol):
    """One connection, with flow control for what is sent and an endless window for what comes."""

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self._left = b""
        self._preface = not is_client
        self._window = _DEFAULT_WINDOW
        self._stream_window = _DEFAULT_WINDOW
        self._received = 0
        self._outgoing: dict[int, _Outgoing] = {}
        self.transport: asyncio.Transport

    def took_data(self, stream: int, payload: bytes) -> None:
        """Data came."""
        raise NotImplementedError

    def took_end(self, stream: int, headers: bytes) -> None:
        """The other side will send no more on a stream; the header block that said so, if any."""
        raise NotImplementedError

    def took_reset(self, stream: int) -> None:
        """The other side has given up a stream."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says hello."""
        self.transport = cast("asyncio.Transport", transport)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WINDOW)
        window = (_WINDOW - _DEFAULT_WINDOW).to_bytes(4, "big")
        hello = frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW_UPDATE, 0, 0, window)
        self.transport.write(_PREFACE + hello if self._is_client else hello)

    def send(self, stream: int, head: bytes, data: bytes, last: bytes) -> None:
        """Sends on a stream, as soon as the windows allow.

        Args:
            stream: The stream. It begins with the first call.
            head: A frame that goes before the data, or nothing.
            data: What goes into frames of data.
            last: The frame that ends the stream, or nothing.
        """
        outgoing = self._outgoing.get(stream)
        if outgoing is None:
            outgoing = self._outgoing[stream] = _Outgoing(self._stream_window)
        outgoing.pending += data
        outgoing.last = last
        if ready := head + self._ready(stream, outgoing):
            self.transport.write(ready)

    def data_received(self, data: bytes) -> None:
        """Takes frames."""
        data = self._left + data
        start = 0
        if self._preface:
            if len(data) < len(_PREFACE):
                self._left = data
                return
            self._preface = False
            start = len(_PREFACE)
        size = len(data)
        while size - start >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + (high << 16 | low)
            if end > size:
                break
            self._take(kind, flags, stream, data[start + _HEAD.size : end])
            start = end
        self._left = data[start:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            if flags & _PADDED:
                raise ValueError("expected data without padding")
            self._received += len(payload)
            if self._received > _TOP_UP:
                size = self._received.to_bytes(4, "big")
                self.transport.write(frame(_WINDOW_UPDATE, 0, 0, size))
                self._received = 0
            if payload:
                self.took_data(stream, payload)
            if flags & END_STREAM:
                self.took_end(stream, b"")
        elif kind == HEADERS:
            if flags & END_STREAM:
                self.took_end(stream, payload)
        elif kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._configure(payload)
        elif kind == _PING:
            if not flags & _ACK:
                self.transport.write(frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            self._outgoing.pop(stream, None)
            self.took_reset(stream)

    def _configure(self, settings: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", settings):
            if key == _INITIAL_WINDOW_SIZE:
                for outgoing in self._outgoing.values():
                    outgoing.window += value - self._stream_window
                self._stream_window = value
        self.transport.write(frame(_SETTINGS, _ACK, 0))
        self._widen(0, 0)

    def _widen(self, stream: int, size: int) -> None:
        if stream:
            if outgoing := self._outgoing.get(stream):
                outgoing.window += size
                if outgoing.pending:
                    self.transport.write(self._ready(stream, outgoing))
            return
        self._window += size
        for waiting, outgoing in list(self._outgoing.items()):
            if outgoing.pending:
                self.transport.write(self._ready(waiting, outgoing))

    def _ready(self, stream: int, outgoing: _Outgoing) -> bytes:
        """Takes from what is pending the frames that may be sent now."""
        frames: list[bytes] = []
        while outgoing.pending:
            size = min(len(outgoing.pending), outgoing.window, self._window, _FRAME_BYTES)
            if size <= 0:
                return b"".join(frames)
            frames.append(frame(DATA, 0, stream, bytes(outgoing.pending[:size])))
            del outgoing.pending[:size]
            outgoing.window -= size
            self._window -= size
        if outgoing.last:
            frames.append(outgoing.last)
            del self._outgoing[stream]
        return b"".join(frames)
