"""Whether a server accepts calls: what both clients ask its health service, and how they wait."""

from __future__ import annotations

import time
from typing import Final

import grpc

from chatpb._rpc.server import timeout_of
from chatpb._wire import WireError, spans, varint
from chatpb.client._shared import ChatCompletionError

#: The method of gRPC's health service, for the server as a whole: the request is empty.
CHECK: Final = "/grpc.health.v1.Health/Check"
REQUEST: Final = b""
#: Seconds between two questions.
PAUSE: Final = 0.2

_STATUS: Final = 1  # the field of HealthCheckResponse, and its value SERVING
_SERVING: Final = 1
#: What a server that starts, stops or cannot be reached answers.
_TEMPORARY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Waiting:
    """A wait for a server that is to be ready within a time.

    Args:
        timeout: How many seconds; None: any number.
    """

    def __init__(self, timeout: float | None) -> None:
        seconds = timeout_of(timeout)
        self._end = None if seconds is None else time.monotonic() + seconds
        self._found = "it cannot be reached"

    @property
    def left(self) -> float | None:
        """How many seconds are left; None: any number."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def is_over(self, response: bytes) -> bool:
        """Takes an answer: whether the server is ready.

        Raises:
            ChatCompletionError: It is not, and the time is over.
        """
        try:
            found = [span.value for span in spans(response) if span.number == _STATUS]
            statuses = [varint(response, at)[0] for at in found]
        except WireError:
            statuses = []
        if statuses[-1:] == [_SERVING]:
            return True
        self._found = "its health is not SERVING"
        self._check()
        return False

    def failed(self, error: grpc.RpcError) -> bool:
        """Takes a failure: whether the server is ready, though it has no health service.

        Raises:
            ChatCompletionError: It is not, and the time is over.
            grpc.RpcError: Waiting does not help.
        """
        code = error.code()
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return True
        if code in _TEMPORARY:
            self._found = error.details() or self._found
        elif code != grpc.StatusCode.DEADLINE_EXCEEDED:
            raise error
        self._check()
        return False

    def _check(self) -> None:
        if self.left == 0:
            raise ChatCompletionError(
                grpc.StatusCode.UNAVAILABLE, f"the server is not ready: {self._found}"
            )
