"""How a call to another relay fails, as the faults of an upstream."""

from __future__ import annotations

import math
from typing import Any, Final

from grpc import StatusCode, aio

from chatpb import to_json
from chatpb._rpc.failure import FailedCall
from chatpb._rpc.metadata import mapping
from chatpb._rpc.status import HTTP_STATUS_KEY, HTTP_STATUSES, upstream_http_body
from chatpb_server.core.error import INVALID_REQUEST, SERVER_ERROR, error_response
from chatpb_server.core.explain import TIME_IS_UP, DeadlineError, what_was_wrong
from chatpb_server.core.upstream import (
    UpstreamConnectError,
    UpstreamDataError,
    UpstreamError,
    UpstreamFault,
)

#: How gRPC's messages begin if there was no connection to send a call on.
_NOT_CONNECTED: Final = (
    "connections to all backends failing",
    "failed to connect to all addresses",
    "DNS resolution failed",
    "empty address list",
)
#: How they begin if the request is too large.
_TOO_LARGE: Final = ("CLIENT: Sent message larger", "SERVER: Received message larger")


class translated:  # noqa: N801 (a context, like `suppress`)
    """Raises the failure of a call to another relay as the fault of an upstream.

    If the time is up, that is a `DeadlineError`, whichever relay notices it first.

    Args:
        has_begun: Whether the answer has begun.
    """

    __slots__ = ("_has_begun",)

    def __init__(self, has_begun: bool) -> None:
        self._has_begun = has_begun

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, aio.AioRpcError):
            raise _fault(error, self._has_begun) from error


def _fault(error: aio.AioRpcError, has_begun: bool) -> UpstreamFault | DeadlineError:
    """The fault for gRPC's error."""
    said = FailedCall.of(error)
    code = said.code
    if code is StatusCode.DATA_LOSS:
        return UpstreamDataError(what_was_wrong(said.text))
    body = upstream_http_body(said.metadata)
    if not body and said.response is not None:
        body = to_json(said.response, allow_nan=True)
    http_status = said.upstream_http_status
    if code is StatusCode.DEADLINE_EXCEEDED and (not body or said.text == TIME_IS_UP):
        return DeadlineError()  # the other relay ends a call a little before this one would
    if http_status is None and not body:  # gRPC itself failed the call, not the relay
        if code is StatusCode.UNAVAILABLE:
            if not has_begun and said.text.startswith(_NOT_CONNECTED):
                return UpstreamConnectError("no connection")
            return UpstreamDataError("broke off: the connection to the relay ended")
        if code is StatusCode.CANCELLED and not has_begun:
            # This is how a relay that stops ends calls that have just arrived, unseen.
            return UpstreamConnectError("the relay was stopping")
        text = said.text
        if code is StatusCode.RESOURCE_EXHAUSTED and text.startswith(_TOO_LARGE):
            http_status, text = 413, "The request has more bytes than the next relay takes."
        elif code in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.CANCELLED):
            return UpstreamDataError("could not be read: it is too long, or was ended")
        kind = SERVER_ERROR if HTTP_STATUSES[code] >= 500 else INVALID_REQUEST
        body = to_json(error_response(text, kind))
    headers = upstream_headers(said.metadata.items())
    if said.retry_after is not None and not headers.keys() & {"retry-after", "retry-after-ms"}:
        headers["retry-after"] = str(math.ceil(said.retry_after))
        if said.retry_after % 1:
            headers["retry-after-ms"] = str(round(said.retry_after * 1000))
    # A relay without room for the call has asked nobody; another relay may have room.
    is_final = http_status is not None or code is not StatusCode.RESOURCE_EXHAUSTED
    return UpstreamError(http_status or HTTP_STATUSES[code], body, headers, is_final=is_final)


def upstream_headers(metadata: Any) -> dict[str, str]:
    """The metadata that the other relay made of the headers of its upstream's answer."""
    pairs = mapping(metadata)
    return {
        name: value
        for name, value in pairs.items()
        if isinstance(value, str) and name != HTTP_STATUS_KEY and not name.startswith("grpc-")
    }
