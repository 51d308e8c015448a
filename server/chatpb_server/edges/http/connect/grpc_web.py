"""gRPC-Web, which web pages speak: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from chatpb_server.core.explain import RefusalError
from chatpb_server.core.failure import Failure
from chatpb_server.core.upstream import RequestError
from chatpb_server.edges.http.connect.connect import JSON, PROTO, unpadded

#: The content types, with the form of their messages.
BINARY: Final = MappingProxyType(
    {
        "application/grpc-web": PROTO,
        "application/grpc-web+proto": PROTO,
        "application/grpc-web+json": JSON,
    }
)
#: Those of bodies in base64.
TEXT: Final = MappingProxyType(
    {"application/grpc-web-text": PROTO, "application/grpc-web-text+proto": PROTO}
)
#: The flag of the message that holds the trailers.
_TRAILERS: Final = 0x80
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_UNITS: Final = MappingProxyType(
    {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
)
#: How much of base64 is decoded in one step: a whole number of groups of four.
_STEP: Final = 64 * 1024
_MOST_PIECES: Final = 10_000
#: The characters that a message of a status has as they are, in addition to letters and digits.
_PLAIN: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def seconds(headers: Mapping[str, str]) -> float | None:
    """How long a caller waits.

    Raises:
        RefusalError: The header does not hold a time.
    """
    text = headers.get("grpc-timeout")
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise RefusalError(400, "expected a time such as 30S in the header grpc-timeout")
    return int(found[1]) * _UNITS[found[2]]


def decoded(body: bytes) -> bytes:
    """A body that came in base64, perhaps in parts with a padding each. Made in short steps.

    Raises:
        RequestError: It is not base64.
    """
    pieces: list[bytes] = []
    start = 0
    try:
        while start < len(body):
            end = body.find(b"=", start, start + _STEP)
            end = min(start + _STEP, len(body)) if end < 0 else end + 4 - (end - start) % 4
            pieces.append(binascii.a2b_base64(body[start:end], strict_mode=True))
            start = end
            if len(pieces) > _MOST_PIECES:
                raise RequestError("The body of the request has too many parts in base64.")
    except binascii.Error:
        raise RequestError("The body of the request is not base64.") from None
    return b"".join(pieces)


def encoded(data: bytes) -> bytes:
    """A part of an answer in base64."""
    return binascii.b2a_base64(data, newline=False)


def trailers(
    metadata: Iterable[tuple[str, str | bytes]], failure: Failure | None
) -> tuple[int, bytes]:
    """The flags and the data of the message that ends an answer."""
    pairs: list[tuple[str, str]] = [("grpc-status", "0")]
    if failure is not None:
        number, message = failure.code.value[0], quote(failure.details, safe=_PLAIN)
        pairs = [("grpc-status", str(number)), ("grpc-message", message)]
    pairs += [
        (name, value if isinstance(value, str) else unpadded(value)) for name, value in metadata
    ]
    lines = [f"{name}: {value}\r\n" for name, value in pairs]
    return _TRAILERS, "".join(lines).encode("latin-1", "replace")
