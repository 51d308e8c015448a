"""The Connect protocol, which curl and web pages speak: https://connectrpc.com/docs/protocol."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc import StatusCode

from chatpb._rpc.status import HTTP_STATUSES
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.failure import Failure
from chatpb_server.core.upstream import RequestError

JSON: Final = "json"
PROTO: Final = "proto"
#: The content types of unary rpcs and of streams, with the form of their messages.
UNARY: Final = MappingProxyType({"application/json": JSON, "application/proto": PROTO})
STREAMS: Final = MappingProxyType(
    {"application/connect+json": JSON, "application/connect+proto": PROTO}
)
#: The flag of the message that ends a stream.
_END: Final = 2
#: The codes whose HTTP status the protocol defines otherwise than a relay has it.
_OWN_STATUSES: Final = MappingProxyType({StatusCode.UNKNOWN: 500, StatusCode.DATA_LOSS: 500})
_DETAILS: Final = (
    ErrorResponse,
    error_details_pb2.RetryInfo,
    error_details_pb2.RequestInfo,
)
_MAX_DIGITS: Final = 10

Trailers = Iterable[tuple[str, str | bytes]]


def seconds(headers: Mapping[str, str]) -> float | None:
    """How long a caller waits.

    Raises:
        RefusalError: The header does not hold milliseconds.
    """
    text = headers.get("connect-timeout-ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise RefusalError(400, "expected milliseconds in the header Connect-Timeout-Ms")
    return int(text) / 1000


def check_version(version: str | None) -> None:
    """Checks the version of the protocol.

    Raises:
        RequestError: It is another one.
    """
    if version not in (None, "1"):
        raise RequestError('expected "1" in the header Connect-Protocol-Version')


def asked_by_get(query_string: str) -> tuple[bytes, str]:
    """What the query of a GET request asks.

    Args:
        query_string: The query. Messages in binary form are bytes in percent-encoding, which need
            not be UTF-8.

    Returns:
        Its message, and how that is compressed.

    Raises:
        RequestError: It is not that of such a request.
    """
    query: dict[str, bytes] = {}
    for part in query_string.encode(errors="surrogateescape").replace(b"+", b" ").split(b"&"):
        name, _, value = part.partition(b"=")
        query.setdefault(unquote(name), unquote_to_bytes(value))
    message = query.get("message")
    if query.get("connect", b"v1") != b"v1" or message is None:
        raise RequestError("expected connect=v1, encoding and message in the query")
    if query.get("base64") == b"1":
        message = message.rstrip(b"=")
        try:
            message = base64.urlsafe_b64decode(message + b"=" * (-len(message) % 4))
        except binascii.Error:
            raise RequestError("expected base64 in the query's message") from None
    return message, query.get("compression", b"").decode(errors="replace")


def http_status(code: StatusCode) -> int:
    """The HTTP status of a unary rpc that failed."""
    return _OWN_STATUSES.get(code) or HTTP_STATUSES[code]


def error_json(failure: Failure) -> bytes:
    """The body of a unary rpc that failed."""
    return _dump(_error(failure))


def trailer_headers(trailers: Trailers) -> dict[str, str]:
    """The headers of a unary rpc that hold its trailing metadata."""
    return {f"trailer-{name}": value for name, value in metadata(trailers)}


def end_of_stream(trailers: Trailers, failure: Failure | None) -> tuple[int, bytes]:
    """The flags and the data of the message that ends a stream."""
    end: dict[str, Any] = {}
    if failure is not None:
        end["error"] = _error(failure)
    listed: dict[str, list[str]] = {}
    for name, value in metadata(trailers):
        listed.setdefault(name, []).append(value)
    if listed:
        end["metadata"] = listed
    return _END, _dump(end)


def metadata(trailers: Trailers) -> Iterable[tuple[str, str]]:
    """Metadata as text, less what gRPC alone has."""
    for name, value in trailers:
        if not name.startswith("grpc-"):
            text = value if isinstance(value, str) else unpadded(value)
            yield name, text


def unpadded(data: bytes) -> str:
    """Base64 without padding, as metadata has it."""
    return base64.b64encode(data).rstrip(b"=").decode()


def _error(failure: Failure) -> dict[str, Any]:
    name = failure.code.name.lower()
    status = failure.status()
    return {
        "code": "canceled" if name == "cancelled" else name,
        "message": status.message,
        "details": [_detail(detail) for detail in status.details],
    }


def _detail(detail: Any) -> dict[str, Any]:
    """A detail in binary form, and as JSON for people."""
    shown: dict[str, Any] = {}
    for kind in _DETAILS:
        message = kind()
        if detail.Unpack(message):
            shown["debug"] = json_format.MessageToDict(message)
    name = detail.type_url.rpartition("/")[2]
    return {"type": name, "value": unpadded(detail.value), **shown}


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
