"""From the exception that ended a call to the failure that its caller gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

from grpc import StatusCode

from chatpb import ConversionError, from_json, to_dict
from chatpb._rpc.status import is_error_status, status_code
from chatpb._stream.errors import find_error
from chatpb.store import StoreError
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.access.secret import HeaderError
from chatpb_server.core.error import error_kind, error_response
from chatpb_server.core.failure import Failure, own_failure
from chatpb_server.core.frames import without_frames
from chatpb_server.core.gate import OverloadError
from chatpb_server.core.page import text_of_page
from chatpb_server.core.reading import brief, text_of
from chatpb_server.core.upstream import (
    LARGE_ERROR,
    RequestError,
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamError,
    UpstreamTimeoutError,
)

#: The HTTP status that OpenAI, and servers that imitate it, send with an error of this kind.
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
#: What a caller learns of an answer that cannot be read; the log has more under the call's id.
_DATA_TEXT: Final = re.compile(r"The upstream's answer (.{1,200}?)\. The relay's log says more")
_UPSTREAM_TEXTS: Final = (
    (UpstreamDataError, StatusCode.DATA_LOSS, "The upstream's answer {}."),
    (UpstreamConnectError, StatusCode.UNAVAILABLE, "The upstream cannot be reached."),
    (UpstreamTimeoutError, StatusCode.UNAVAILABLE, "The upstream was silent for too long."),
)
_OVERLOAD_RETRY_AFTER: Final = 1.0
TIME_IS_UP: Final = "The time is up."
_SEE_LOG: Final = "The relay's log says more:"
STOPPING: Final = "The relay is stopping; call again."
_MAX_RETRY_AFTER: Final = 86_400.0
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


class RefusalError(Exception):
    """A request that is refused before an upstream is asked.

    Attributes:
        http_status: The HTTP status.
        message: For the caller.
        code: OpenAI's word for the error, if it has one.
        param: The member of the request that caused it, if it is one.
    """

    def __init__(
        self, http_status: int, message: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(http_status)
        self.http_status = http_status
        self.message = message
        self.code = code
        self.param = param


class AuthenticationError(Exception):
    """A caller that does not say, or does not prove, who it is. The text is for the caller."""


class DeadlineError(Exception):
    """The call took longer than it may."""


class StoppingError(Exception):
    """The relay stops before the call has begun."""


def failure_of(error: Exception, call_id: str) -> Failure:
    """The failure of a call that an exception has ended.

    Args:
        error: The exception. Of one that is not expected here, the caller learns nothing but the
            id of the call, by which the log has more.
        call_id: The id of the call.
    """
    for kind, code, text in _UPSTREAM_TEXTS:
        if isinstance(error, kind):
            text = f"{text.format(error)} The relay's log says more: {call_id}"
            failure = own_failure(code, text, call_id)
            if isinstance(error, UpstreamDataError):
                failure = replace(failure, headers=error.headers)
            return failure
    match error:
        case UpstreamError():
            return _upstream_failure(error, call_id)
        case RequestError():
            code, param = StatusCode.INVALID_ARGUMENT, error.param
            return own_failure(code, error.message, call_id, param=param)
        case RefusalError():
            return _refusal_failure(error, call_id)
        case StoreError():
            text = f"The store of completions cannot be used now. {_SEE_LOG} {call_id}"
            return own_failure(StatusCode.UNAVAILABLE, text, call_id)
        case HeaderError():
            text = f"The metadata cannot be passed on: {error}."
            return own_failure(StatusCode.INVALID_ARGUMENT, text, call_id)
        case AuthenticationError():
            return own_failure(StatusCode.UNAUTHENTICATED, str(error), call_id)
        case DeadlineError():
            return own_failure(StatusCode.DEADLINE_EXCEEDED, TIME_IS_UP, call_id)
        case StoppingError():
            return own_failure(StatusCode.UNAVAILABLE, STOPPING, call_id)
        case OverloadError():
            code, text = StatusCode.RESOURCE_EXHAUSTED, "The relay has no room for more calls now."
            return own_failure(code, text, call_id, retry_after=_OVERLOAD_RETRY_AFTER)
    text = f"The relay failed; its log says more: {call_id}"
    return own_failure(StatusCode.INTERNAL, text, call_id)


def what_was_wrong(text: str) -> str:
    """What another relay could not read, by the text of its failure."""
    found = _DATA_TEXT.match(text)
    return "could not be read" if found is None else found.group(1)


def _upstream_failure(error: UpstreamError, call_id: str) -> Failure:
    """The failure of an upstream's error.

    If its HTTP status is one of success, as in the middle of a stream, its body may name another.
    """
    body = error.body
    response, members, is_whole = None, {}, False
    try:
        if len(body) > LARGE_ERROR:
            body = brief(body) if error.brief is None else error.brief
        found = find_error(body)
        said = body if found is None else found.text
        response = from_json(said, ErrorResponse, allow_nan=True)
        members = to_dict(response, allow_nan=True)
        is_whole = said is error.body
    except ConversionError as unreadable:  # a text, a proxy's HTML page, or nothing
        without_frames(unreadable, error)
    body = error.body
    http_status = error.http_status if error.http_status >= 300 else _http_status(members)
    if response is None:
        text = body.decode(errors="replace").strip()
        if not text or text.startswith("<"):
            # No client reads a page, so its text is in an error object.
            page = text_of_page(body)
            text, body, is_whole = f"{error}: {page}" if page else str(error), b"", True
        response = error_response(text, error_kind(http_status))
    return Failure(
        status_code(http_status),
        response.error.message or text_of(members) or str(error),
        response,
        call_id,
        retry_after(error.headers),
        error.http_status if error.http_status >= 400 else None,
        body,
        is_whole,
        error.headers,
    )


def _refusal_failure(error: RefusalError, call_id: str) -> Failure:
    code = status_code(error.http_status)
    return own_failure(
        code,
        error.message,
        call_id,
        param=error.param,
        error_code=error.code,
        http_answer=error.http_status,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """When to try again, in seconds from now, by the headers of an answer.

    See https://www.rfc-editor.org/rfc/rfc9110#name-retry-after; OpenAI sends milliseconds as well.
    """
    if (milliseconds := _seconds(headers.get("retry-after-ms", ""))) is not None:
        return min(milliseconds / 1000, _MAX_RETRY_AFTER)
    text = headers.get("retry-after", "")
    if (seconds := _seconds(text)) is None:
        try:
            then = parsedate_to_datetime(text)
            seconds = (then - datetime.now(then.tzinfo or UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)


def _seconds(text: str) -> float | None:
    """A number that is not negative, with or without a fraction."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _http_status(members: dict[str, Any]) -> int:
    """The HTTP status that an error names itself, if it came with an HTTP status of success."""
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
