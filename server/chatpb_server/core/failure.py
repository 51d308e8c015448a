"""A call that failed: one value, which is a gRPC status with OpenAI's error object, or HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_status.rpc_status import to_status

from chatpb import to_json
from chatpb._rpc.status import HTTP_BODY_KEY, HTTP_STATUS_KEY, HTTP_STATUSES
from chatpb.v1.error_pb2 import Error, ErrorResponse
from chatpb_server.core.error import RATE_LIMIT, error_kind, error_response

# A status travels in the trailers, for which clients allow 8 KiB in all. Its message is there
# three times, once in percent-encoding and twice in base64.
_MAX_TEXT: Final = 1000
_MAX_DETAIL: Final = 3000
#: The most bytes of an upstream's body that travel next to the status.
_MAX_BODY: Final = 1000

JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Failure:
    """What the caller of a failed call gets.

    Attributes:
        code: The gRPC status.
        message: What went wrong.
        response: OpenAI's error object.
        call_id: The id of the call.
        retry_after: After how many seconds to try again, if that is known.
        http_answer: The HTTP status, if there is one that was not derived from the code.
        body: The body as the upstream wrote it; empty if the relay made the error object.
        is_whole: Whether `response` holds all of the body. It does not if the body is a text, or
            a list.
        headers: The headers of the upstream's answer.
    """

    code: StatusCode
    message: str
    response: ErrorResponse
    call_id: str
    retry_after: float | None = None
    http_answer: int | None = None
    body: bytes = b""
    is_whole: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def details(self) -> str:
        """The message of the gRPC status."""
        return _clip(self.message)

    def status(self) -> status_pb2.Status:
        """The gRPC status with its details.

        They are the ErrorResponse, a RetryInfo if `retry_after` is known, and a RequestInfo.
        """
        response = self.response
        if response.ByteSize() > _MAX_DETAIL:
            error = response.error
            response = ErrorResponse(error=Error(message=self.details))
            for name in ("type", "param", "code"):
                if error.HasField(name):
                    setattr(response.error, name, _clip(getattr(error, name), _MAX_TEXT // 4))
        status = status_pb2.Status(code=self.code.value[0], message=self.details)
        status.details.add().Pack(response)
        if self.retry_after is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromMilliseconds(round(self.retry_after * 1000))
            status.details.add().Pack(info)
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=self.call_id))
        return status

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """The trailing metadata of the gRPC status, which holds it with its details."""
        trailers = tuple(to_status(self.status()).trailing_metadata)
        if self.http_answer is not None:
            trailers += ((HTTP_STATUS_KEY, str(self.http_answer)),)
            if not self.is_whole and len(self.body) <= _MAX_BODY:
                trailers += ((HTTP_BODY_KEY, self.body),)
        return trailers

    @property
    def http_status(self) -> int:
        """The HTTP status: the upstream's own, or the one for the gRPC status."""
        return self.http_answer or HTTP_STATUSES[self.code]

    @property
    def http_body(self) -> bytes:
        """The body of the HTTP answer: the upstream's own, or the error object."""
        return self.body or self.error_json

    @property
    def error_json(self) -> bytes:
        """The error object: as the upstream wrote it, if that is all that it wrote."""
        return (self.is_whole and self.body) or to_json(self.response, allow_nan=True)

    @property
    def http_content_type(self) -> str:
        """The content type of `http_body`."""
        if self.is_whole or self.body.lstrip()[:1] in (b"{", b"["):
            return JSON
        return self.headers.get("content-type", _TEXT)

    @property
    def http_headers(self) -> dict[str, str]:
        """The headers of the HTTP answer, in addition to those of the upstream."""
        if self.retry_after is None:
            return {}
        return {"retry-after": str(math.ceil(self.retry_after))}


def own_failure(
    code: StatusCode,
    message: str,
    call_id: str,
    *,
    retry_after: float | None = None,
    param: str | None = None,
    error_code: str | None = None,
    http_answer: int | None = None,
) -> Failure:
    """A failure that the relay itself reports.

    Args:
        code: The gRPC status.
        message: For the caller.
        call_id: The id of the call.
        retry_after: After how many seconds to try again, if that is known.
        param: The parameter of the request that caused it, as OpenAI names it.
        error_code: OpenAI's word for the error.
        http_answer: The HTTP status, if it is not the one for the code.
    """
    kind = error_kind(http_answer or HTTP_STATUSES[code])
    if error_code is None and code is StatusCode.RESOURCE_EXHAUSTED:
        error_code = RATE_LIMIT
    response = error_response(message, kind, param, error_code)
    return Failure(code, message, response, call_id, retry_after, http_answer)


def _clip(text: str, size: int = _MAX_TEXT) -> str:
    """The text, cut so that its UTF-8 has at most that many bytes; without lone surrogates."""
    data = text.encode(errors="replace")
    if len(data) <= size:
        return data.decode()
    return data[: size - 3].decode(errors="ignore") + "…"
