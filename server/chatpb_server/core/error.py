"""OpenAI's error object, for the errors that the relay itself reports."""

from __future__ import annotations

from chatpb.v1.error_pb2 import Error, ErrorResponse

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


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
