"""gRPC statuses and HTTP statuses, and how an upstream's HTTP status travels over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from grpc import StatusCode

#: The key of trailing metadata for the HTTP status that an upstream answered with.
HTTP_STATUS_KEY: Final = "chatpb-http-status"
#: The key of trailing metadata for the body that it answered with, if the error object that is sent
#: too does not give it back.
HTTP_BODY_KEY: Final = "chatpb-http-body-bin"
#: The gRPC status of an answer that is not complete.
INCOMPLETE: Final = StatusCode.DATA_LOSS
#: The HTTP status for each gRPC status, for calls without an upstream's HTTP status. Based on
#: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, which maps UNKNOWN
#: and DATA_LOSS to 500; here the fault is behind the relay.
HTTP_STATUSES: Final = MappingProxyType(
    {
        StatusCode.CANCELLED: 499,
        StatusCode.UNKNOWN: 502,
        StatusCode.INVALID_ARGUMENT: 400,
        StatusCode.DEADLINE_EXCEEDED: 504,
        StatusCode.NOT_FOUND: 404,
        StatusCode.ALREADY_EXISTS: 409,
        StatusCode.PERMISSION_DENIED: 403,
        StatusCode.RESOURCE_EXHAUSTED: 429,
        StatusCode.FAILED_PRECONDITION: 400,
        StatusCode.ABORTED: 409,
        StatusCode.OUT_OF_RANGE: 400,
        StatusCode.UNIMPLEMENTED: 501,
        StatusCode.INTERNAL: 500,
        StatusCode.UNAVAILABLE: 503,
        StatusCode.DATA_LOSS: 502,
        StatusCode.UNAUTHENTICATED: 401,
    }
)
#: The gRPC status for each HTTP status that upstreams answer with. For others see `status_code`.
STATUS_CODES: Final = MappingProxyType(
    {
        400: StatusCode.INVALID_ARGUMENT,
        401: StatusCode.UNAUTHENTICATED,
        403: StatusCode.PERMISSION_DENIED,
        404: StatusCode.NOT_FOUND,
        405: StatusCode.UNIMPLEMENTED,
        408: StatusCode.DEADLINE_EXCEEDED,
        409: StatusCode.ABORTED,
        410: StatusCode.NOT_FOUND,
        413: StatusCode.INVALID_ARGUMENT,
        415: StatusCode.INVALID_ARGUMENT,
        422: StatusCode.INVALID_ARGUMENT,
        429: StatusCode.RESOURCE_EXHAUSTED,
        431: StatusCode.INVALID_ARGUMENT,
        451: StatusCode.PERMISSION_DENIED,
        499: StatusCode.CANCELLED,  # nginx: the client closed the connection
        500: StatusCode.INTERNAL,
        501: StatusCode.UNIMPLEMENTED,
        502: StatusCode.UNAVAILABLE,
        503: StatusCode.UNAVAILABLE,
        504: StatusCode.DEADLINE_EXCEEDED,
        529: StatusCode.UNAVAILABLE,  # Anthropic: overloaded
    }
)


def is_error_status(http_status: int) -> bool:
    """Whether an HTTP status means an error: 400 to 599.

    A redirect (3xx) is not one: an HTTP client that is given it follows it, or takes the answer
    for something other than the failure that the call ended with.
    """
    return 400 <= http_status < 600


def status_code(http_status: int) -> StatusCode:
    """The gRPC status code for an HTTP status that means an error."""
    if http_status in STATUS_CODES:
        return STATUS_CODES[http_status]
    if not is_error_status(http_status):
        return StatusCode.UNKNOWN
    return StatusCode.FAILED_PRECONDITION if http_status < 500 else StatusCode.INTERNAL


def upstream_http_status(metadata: Mapping[str, str | bytes]) -> int | None:
    """The HTTP status that an upstream answered a failed call with.

    Args:
        metadata: The trailing metadata of the call.

    Returns:
        The status, or None if the server sent none, or one that does not mean an error.
    """
    text = metadata.get(HTTP_STATUS_KEY)
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) != 3:
        return None
    return int(text) if is_error_status(int(text)) else None


def upstream_http_body(metadata: Mapping[str, str | bytes]) -> bytes:
    """The body that an upstream answered a failed call with.

    Args:
        metadata: The trailing metadata of the call.

    Returns:
        The body; empty if the server sent none, because it is that of the error object.
    """
    body = metadata.get(HTTP_BODY_KEY)
    return body if isinstance(body, bytes) else b""
