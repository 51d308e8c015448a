#!/usr/bin/env python3
"""Asks a relay on this machine whether it serves: exit code 0 if it does.

For probes of Docker and of Kubernetes, whose gRPC probe does not support TLS. It imports only the
standard library, so that it starts fast. It does not verify the relay's certificate: it sends no
secret, and only to its own machine. A relay that requires client certificates does not answer it.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from collections.abc import Iterator

_DATA, _HEADERS, _RESET, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_SERVING = b"\x08\x01"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _header(name: bytes, value: bytes) -> bytes:
    return b"\x10" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def _question(service: bytes) -> bytes:
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/grpc.health.v1.Health/Check"),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
    block = b"".join(_header(name, value) for name, value in headers)
    message = _message(b"\x0a" + bytes((len(service),)) + service)
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, message)
    )


def _frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            yield head[3], head[4], stream.read(int.from_bytes(head[:3], "big"))


def is_serving(host: str, port: int, service: str, *, tls: bool, seconds: float) -> bool:
    """Whether the service of a relay reports SERVING.

    Raises:
        OSError: The connection fails, or is silent for too long.
    """
    with socket.create_connection((host, port), seconds) as plain:
        connection = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            connection = context.wrap_socket(plain)
        connection.sendall(_question(service.encode()))
        for kind, flags, payload in _frames(connection):
            if kind == _SETTINGS and not flags & _ACK:
                connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _DATA:
                return payload == _message(_SERVING)
            elif kind in (_RESET, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
                break
    return False


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("address", nargs="?", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--tls", action="store_true", help="the relay has a certificate")
    parser.add_argument("--service", default="chatpb.v1.ChatCompletionService")
    parser.add_argument("--timeout", type=float, default=3, metavar="SECONDS")
    arguments = parser.parse_args()
    host, _, port = arguments.address.rpartition(":")
    try:
        serving = is_serving(
            host, int(port), arguments.service, tls=arguments.tls, seconds=arguments.timeout
        )
    except OSError as error:
        print(f"health: {arguments.address}: {error}", file=sys.stderr)
        return 1
    if not serving:
        print(f"health: {arguments.address}: does not serve", file=sys.stderr)
    return 0 if serving else 1


if __name__ == "__main__":
    sys.exit(main())
