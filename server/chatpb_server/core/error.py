"""OpenAI's error object, for the errors that the relay itself reports."""

from __future__ import annotations

from chatpb.v1.error_pb2 import Error, ErrorResponse

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
#: OpenAI's for too many requests, with the code `rate_limit_exceeded`.
TOO_MANY_REQUESTS = "requests"
RATE_LIMIT = "rate_limit_exceeded"


def error_kind(http_status: int) -> str:
    """The type of an error with an HTTP status, as OpenAI has it."""
    if http_status == 429:
        return TOO_MANY_REQUESTS
    return SERVER_ERROR if http_status >= 500 or http_status < 400 else INVALID_REQUEST


def error_response(
    message: str, kind: str = INVALID_REQUEST, param: str | None = None, code: str | None = None
) -> ErrorResponse:
    """Makes an error object.

    Args:
        message: What went wrong, for the caller.
        kind: OpenAI's word for the kind of error, its ``type``.
        param: The parameter of the request that caused the error.
        code: OpenAI's word for the error.
    """
    return ErrorResponse(error=Error(message=message, type=kind, param=param, code=code))
