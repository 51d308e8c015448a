"""What is kept of running calls for traces with messages, if the operator asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Final

from grpc import StatusCode

from chatpb_server.core.call import Call, Recorder, Recording
from chatpb_server.core.failure import Failure

#: The most bytes that are kept of one call, and of all calls until their spans are sent.
MOST_CALL: Final = 1024 * 1024
MOST_TOTAL: Final = 64 * 1024 * 1024


class Contents(Recording):
    """The contents of one call.

    Attributes:
        request: The request.
        is_json: Whether it is JSON, and not in binary form.
        completion: The completion; empty before, and for a stream.
        chunks: The chunks of a stream.
        size: How many bytes they have.
        is_cut: Whether something is left out.
    """

    def __init__(self, owner: ContentRecorder, call_id: str, *, is_kept: bool = True) -> None:
        self._owner = owner
        self._is_kept = is_kept
        self._call_id = call_id
        self.request = b""
        self.is_json = False
        self.completion = b""
        self.chunks: list[bytes] = []
        self.size = 0
        self.is_cut = False

    def asked(self, request: bytes, *, is_json: bool = False) -> None:
        """Keeps the request."""
        if self._has_room(len(request)):
            self.request, self.is_json = request, is_json

    def refused(self) -> None:
        """Does nothing: nothing was asked of an upstream."""

    def begun(self) -> None:
        """Does nothing."""

    def answered(self, completion: bytes) -> None:
        """Keeps the completion."""
        if self._has_room(len(completion)):
            self.completion = completion

    def came(self, chunks: Sequence[bytes]) -> None:
        """Keeps chunks."""
        if not self.is_cut and self._has_room(sum(map(len, chunks))):
            self.chunks += chunks

    async def end(self, code: StatusCode, failure: Failure | None) -> None:  # noqa: ARG002
        """Forgets all, unless the span of the call has taken it."""
        if self._owner.take(self._call_id) is not None:
            self.forget()

    def forget(self) -> None:
        """Holds nothing any more."""
        self._owner.release(self.size)
        self.size = 0
        self.request = self.completion = b""
        self.chunks = []

    def _has_room(self, size: int) -> bool:
        if not self._is_kept or self.size + size > MOST_CALL or not self._owner.reserve(size):
            self.is_cut = True
            return False
        self.size += size
        return True


class ContentRecorder(Recorder):
    """Keeps the contents of running calls.

    Attributes:
        held: How many bytes are kept.
    """

    def __init__(self) -> None:
        self.held = 0
        self._running: dict[str, Contents] = {}
        self._lock = Lock()  # contents are forgotten in the thread that reads them

    def begin(self, call: Call) -> Recording:
        """Begins to keep the contents of a call, unless its caller wishes them not to be kept."""
        if call.wish != "all":
            return Contents(self, call.id, is_kept=False)
        contents = self._running[call.id] = Contents(self, call.id)
        return contents

    def reserve(self, size: int) -> bool:
        """Takes room for contents, if there is any."""
        with self._lock:
            if self.held + size > MOST_TOTAL:
                return False
            self.held += size
            return True

    def release(self, size: int) -> None:
        """Gives room back."""
        with self._lock:
            self.held -= size

    def take(self, call_id: str) -> Contents | None:
        """What was kept of a call, for the one who takes it and then calls `forget`."""
        return self._running.pop(call_id, None)
