"""What a call that failed tells its caller: a gRPC status with OpenAI's error object, or HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_status.rpc_status import to_status

from chatpb import ConversionError, from_json, to_dict, to_json
from chatpb._errors import param_of
from chatpb._rpc.status import HTTP_STATUS_KEY, HTTP_STATUSES, is_error_status, status_code
from chatpb.v1.error_pb2 import Error, ErrorResponse
from chatpb_server.core.upstream import UpstreamError


class RefusalError(Exception):
    """A request that is refused before an upstream is asked.

    Attributes:
        http_status: The HTTP status.
        message: For the caller.
        code: OpenAI's word for the error, if it has one.
    """

    def __init__(self, http_status: int, message: str, code: str | None = None) -> None:
        super().__init__(http_status)
        self.http_status = http_status
        self.message = message
        self.code = code


#: The HTTP status that OpenAI, or who imitates it, sends with an error of a kind.
_ERROR_KINDS: Final[Mapping[Any, int]] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "permission_error": 403,
        "not_found_error": 404,
        "rate_limit_error": 429,
        "rate_limit_exceeded": 429,
        "insufficient_quota": 429,
        "overloaded_error": 503,
        "service_unavailable_error": 503,
        "timeout_error": 504,
    }
)
_OURS: Final = (StatusCode.INTERNAL, StatusCode.DATA_LOSS, StatusCode.UNAVAILABLE)
_MAX_RETRY_AFTER: Final = 86_400.0

# A status travels in the trailers, for which clients allow 8 KiB in all. Its message is there
# three times, once in percent-encoding and twice in base64.
_MAX_TEXT = 1000
_MAX_DETAIL = 3000


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call that failed tells its caller.

    Attributes:
        code: The gRPC status.
        message: What went wrong.
        response: OpenAI's error object.
        call_id: The id of the call.
        retry_after: In how many seconds to try again, if that is known.
        http_answer: The HTTP status, where one was said and is not only made of the code.
        body: The JSON of `response` as the upstream wrote it; empty if it is the relay's own.
        headers: The headers of the upstream's answer.
    """

    code: StatusCode
    message: str
    response: ErrorResponse
    call_id: str
    retry_after: float | None = None
    http_answer: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def details(self) -> str:
        """The message, as a gRPC status has it."""
        return _clip(self.message)

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """The trailing metadata of the gRPC status.

        In the status' details are the ErrorResponse, a RetryInfo where the upstream said when to
        come back, and a RequestInfo.
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
        trailers = tuple(to_status(status).trailing_metadata)
        if self.http_answer is not None:
            trailers += ((HTTP_STATUS_KEY, str(self.http_answer)),)
        return trailers

    @property
    def http_status(self) -> int:
        """The HTTP status: the upstream's own, else what stands for the gRPC status."""
        return self.http_answer or HTTP_STATUSES[self.code]

    @property
    def http_body(self) -> bytes:
        """The body of the HTTP answer: the upstream's own JSON, else the error object."""
        return self.body or to_json(self.response)

    @property
    def http_headers(self) -> dict[str, str]:
        """The headers of the HTTP answer, beside those of the upstream that are passed back."""
        if self.retry_after is None:
            return {}
        return {"retry-after": str(math.ceil(self.retry_after))}


def upstream_failure(error: UpstreamError, call_id: str) -> Failure:
    """The failure that is an upstream's error.

    Args:
        error: The error. Where its HTTP status says success, as in the middle of a stream, its body
            is looked at for another one.
        call_id: The id of the call.
    """
    body = error.body
    try:
        response = from_json(body, ErrorResponse)
        members = to_dict(response)
    except ConversionError:  # a proxy's HTML page, or nothing
        response = ErrorResponse(error=Error(message=str(error), type="server_error"))
        members, body = {}, b""
    http_status = error.http_status if error.http_status >= 300 else _http_status(members)
    return Failure(
        status_code(http_status),
        response.error.message or str(error),
        response,
        call_id,
        retry_after(error.headers),
        error.http_status if error.http_status >= 400 else None,
        body,
        error.headers,
    )


def request_failure(error: ConversionError, call_id: str) -> Failure:
    """The failure of a request that has no JSON form."""
    message = f"The request cannot be written as JSON: {error}"
    param = param_of(error.path)
    detail = Error(message=message, type="invalid_request_error", param=param)
    response = ErrorResponse(error=detail)
    return Failure(StatusCode.INVALID_ARGUMENT, message, response, call_id)


def refusal_failure(error: RefusalError, call_id: str) -> Failure:
    """The failure of a request that is refused."""
    failure = own_failure(status_code(error.http_status), error.message, call_id)
    if error.code is not None:
        failure.response.error.code = error.code
    return replace(failure, http_answer=error.http_status)


def own_failure(
    code: StatusCode, message: str, call_id: str, retry_after: float | None = None
) -> Failure:
    """The failure of a call whose caller learns nothing about the fault but a text of ours."""
    kind = "server_error" if code in _OURS else "invalid_request_error"
    response = ErrorResponse(error=Error(message=message, type=kind))
    return Failure(code, message, response, call_id, retry_after)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """When to try again, in seconds from now, as the headers of an answer say it.

    See https://www.rfc-editor.org/rfc/rfc9110#name-retry-after; OpenAI sends milliseconds as well.
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif (text := headers.get("retry-after", "")).strip().isdigit():
            seconds = float(text)
        else:
            then = parsedate_to_datetime(text)
            seconds = (then - datetime.now(then.tzinfo or UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _http_status(members: dict[str, Any]) -> int:
    """The HTTP status that an error stands for which came with an HTTP status of success."""
    error = members.get("error")
    places = (error, members) if isinstance(error, dict) else (members,)
    for place in places:
        for name in ("code", "status", "status_code"):
            number = place.get(name)
            if isinstance(number, str) and number.isdigit():
                number = int(number)
            if type(number) is int and is_error_status(number):
                return number
        for name in ("type", "code"):
            if place.get(name) in _ERROR_KINDS:
                return _ERROR_KINDS[place[name]]
    return 500


def _clip(text: str, size: int = _MAX_TEXT) -> str:
    """The text, cut so that its UTF-8 has at most so many bytes."""
    data = text.encode()
    if len(data) <= size:
        return text
    return data[: size - 3].decode(errors="ignore") + "…"
