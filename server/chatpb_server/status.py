"""Errors as gRPC statuses that carry OpenAI's error object."""

from __future__ import annotations

from types import MappingProxyType

from google.rpc import status_pb2
from grpc import Status, StatusCode
from grpc_status.rpc_status import to_status

from chatpb import ConversionError, from_json
from chatpb.v1.error_pb2 import Error, ErrorResponse
from chatpb_server.upstream import UpstreamError

#: The gRPC status for each HTTP status that upstreams answer with. For others see `status_code`.
STATUS_CODES = MappingProxyType(
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
        451: StatusCode.PERMISSION_DENIED,
        499: StatusCode.CANCELLED,  # the client went, says nginx
        500: StatusCode.INTERNAL,
        501: StatusCode.UNIMPLEMENTED,
        502: StatusCode.UNAVAILABLE,
        503: StatusCode.UNAVAILABLE,
        504: StatusCode.DEADLINE_EXCEEDED,
        529: StatusCode.UNAVAILABLE,  # overloaded, says Anthropic
    }
)

# A status travels in the trailers, for which clients allow 8 KiB in all. Its message is there
# three times, once in percent-encoding and twice in base64.
_MAX_TEXT = 1000
_MAX_DETAIL = 3000


def status_code(http_status: int) -> StatusCode:
    """The gRPC status code for an HTTP status code that says an error."""
    if http_status in STATUS_CODES:
        return STATUS_CODES[http_status]
    if 400 <= http_status < 500:
        return StatusCode.FAILED_PRECONDITION
    return StatusCode.INTERNAL if 500 <= http_status < 600 else StatusCode.UNKNOWN


def upstream_status(error: UpstreamError) -> Status:
    """The status for an upstream's error: its code, its message, and the error object as it is."""
    try:
        response = from_json(error.body, ErrorResponse)
    except ConversionError:  # a proxy's HTML page, or nothing
        response = ErrorResponse(error=Error(message=str(error), type="server_error"))
    return _status(status_code(error.http_status), response.error.message or str(error), response)


def request_status(error: ConversionError) -> Status:
    """The status for a request that has no JSON form."""
    message = f"The request cannot be written as JSON: {error}"
    param = error.path.removeprefix("$").removeprefix(".") or None
    detail = Error(message=message, type="invalid_request_error", param=param)
    return _status(StatusCode.INVALID_ARGUMENT, message, ErrorResponse(error=detail))


def fixed_status(code: StatusCode, message: str) -> Status:
    """The status for a fault that the caller learns nothing about but a text of ours."""
    detail = Error(message=message, type="server_error")
    return _status(code, message, ErrorResponse(error=detail))


def _status(code: StatusCode, message: str, response: ErrorResponse) -> Status:
    message = _clip(message)
    if response.ByteSize() > _MAX_DETAIL:
        error = response.error
        response = ErrorResponse(error=Error(message=message))
        for name in ("type", "param", "code"):
            if error.HasField(name):
                setattr(response.error, name, _clip(getattr(error, name), _MAX_TEXT // 4))
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(response)
    return to_status(status)


def _clip(text: str, size: int = _MAX_TEXT) -> str:
    """The text, cut so that its UTF-8 has at most so many bytes."""
    data = text.encode()
    if len(data) <= size:
        return text
    return data[: size - 3].decode(errors="ignore") + "…"
