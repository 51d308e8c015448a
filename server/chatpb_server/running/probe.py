"""Asks a relay whether it serves, with the standard library alone, so that a probe starts fast.

A probe runs every few seconds in each container: to import gRPC for one question would cost more
than the question. Of HTTP/2 it needs a handful of frames, and of HPACK only literals.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
#: The longest answer that is read; health is a few bytes.
_MOST: Final = 64 * 1024
#: What the numbers of gRPC's health service mean.
_STATUSES: Final = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
#: Paths of the HTTP API that tell whether a relay is ready; older ones have the last one alone.
_PATHS: Final = ("/readyz", "/healthz")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")

Headers = Mapping[str, str]
_NO_HEADERS: Final[Headers] = MappingProxyType({})


class NotServingError(Exception):
    """A relay that does not serve, or does not answer in time. The text is the reason."""


class _Clock:
    """What is left of a time limit.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left.

        Raises:
            TimeoutError: None are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def check_grpc(
    host: str,
    port: int,
    service: str,
    *,
    context: ssl.SSLContext | None = None,
    name: str | None = None,
    headers: Headers = _NO_HEADERS,
    seconds: float,
) -> None:
    """Asks gRPC's health service.

    Args:
        host: Where the relay is.
        port: Its port.
        service: The service that is asked about; empty for the relay as a whole.
        context: For TLS. None: none.
        name: The name that the certificate should have. None: the host.
        headers: Metadata of the call.
        seconds: How long all of it may take.

    Raises:
        NotServingError: It does not report SERVING.
        OSError: There is no connection, or no answer in time.
    """
    clock = _Clock(seconds)
    if context is not None:
        context.set_alpn_protocols(["h2"])
    with _connected(host, port, context, name, clock) as connection:
        scheme = "http" if context is None else "https"
        connection.sendall(_question(service, scheme, f"{name or host}:{port}", headers))
        message = b""
        for kind, flags, payload in _frames(connection, clock):
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                connection.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif kind == _DATA:
                message += payload
                if len(message) >= 5 and len(message) >= 5 + int.from_bytes(message[1:5], "big"):
                    break
            elif kind in (_RESET, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
                break
            if len(message) > _MOST:
                break
    if not message:
        raise NotServingError("does not serve")
    # A HealthCheckResponse: its one field is a small number, or it is empty for 0.
    status = message[6] if len(message) == 7 and message[5:6] == b"\x08" else 0
    if status != 1:
        raise NotServingError(f"is {_STATUSES.get(status, 'UNKNOWN')}")


def check_http(
    url: str,
    *,
    context: ssl.SSLContext | None = None,
    name: str | None = None,
    headers: Headers = _NO_HEADERS,
    seconds: float,
) -> None:
    """Asks the HTTP API whether the relay is ready.

    Args:
        url: A base URL of the relay, or the URL of another path to ask.
        context: For TLS. None: none.
        name: As for `check_grpc`.
        headers: Headers of the request.
        seconds: How long all of it may take.

    Raises:
        NotServingError: The answer is an error.
        OSError: There is no connection, or no answer in time.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (80 if context is None else 443)
    paths = [parts.path] if parts.path.rstrip("/") not in ("", "/v1") else list(_PATHS)
    clock = _Clock(seconds)
    for path in paths:
        with _connected(host, port, context, name, clock) as connection:
            status = _status(connection, path, {"host": parts.netloc, **headers}, clock)
        if status != 404:
            break
    if status >= 300:
        raise NotServingError(f"answers {status} at {path}")


def _connected(
    host: str, port: int, context: ssl.SSLContext | None, name: str | None, clock: _Clock
) -> socket.socket:
    """A connection."""
    connection = socket.create_connection((host, port), clock.left)
    if context is None:
        return connection
    try:
        connection.settimeout(clock.left)
        return context.wrap_socket(connection, server_hostname=name or host)
    except BaseException:
        connection.close()
        raise


def _status(connection: socket.socket, path: str, headers: Headers, clock: _Clock) -> int:
    """The status that a GET is answered with; not by http.client, which only limits each read."""
    fields = {**headers, "user-agent": "chatpb", "connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    data = b""
    while b"\n" not in data and len(data) < _MOST:
        connection.settimeout(clock.left)
        if not (more := connection.recv(_MOST)):
            break
        data += more
    if (found := _STATUS_LINE.match(data)) is None:
        raise NotServingError("does not speak HTTP")
    return int(found[1])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _header(name: str, value: str) -> bytes:
    """A header that no table keeps, and without Huffman's code."""
    return b"\x10" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    size -= 127  # an integer with a prefix of 7 bits (RFC 7541, section 5.1)
    head = bytearray(b"\x7f")
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes((size,)) + data


def _question(service: str, scheme: str, authority: str, headers: Headers) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": scheme,
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "chatpb",
        **headers,
    }
    block = b"".join(_header(name, value) for name, value in fields.items())
    name = service.encode("ascii")
    request = b"\x0a" + bytes((len(name),)) + name if name else b""
    message = b"\0" + len(request).to_bytes(4, "big") + request
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, message)
    )


def _frames(connection: socket.socket, clock: _Clock) -> Iterator[tuple[int, int, bytes]]:
    """The frames that come, until the connection ends."""
    data = b""
    while True:
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            yield data[3], data[4], data[9:end]
            data = data[end:]
        if len(data) > _MOST:
            return
        connection.settimeout(clock.left)
        if not (more := connection.recv(_MOST)):
            return
        data += more
