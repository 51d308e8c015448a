"""The base class of observers, and several observers or recorders as one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from grpc import StatusCode

from chatpb_server.core.call import Call, Observer, Recorder, Recording
from chatpb_server.core.failure import Failure

_logger = logging.getLogger(__name__)

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class SilentObserver(Observer):
    """Does nothing: a base class for observers of some events only."""

    def began(self, call: Call) -> None:
        """Does nothing."""

    def queued(self, call: Call, waiting: int) -> None:
        """Does nothing."""

    def upstream_headers(self, call: Call) -> Mapping[str, str]:  # noqa: ARG002
        """No headers."""
        return _NO_HEADERS

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:
        """Does nothing."""

    def sent(self, call: Call, chunks: int, seconds: float) -> None:
        """Does nothing."""

    def ended(self, call: Call, code: StatusCode, error: BaseException | None) -> None:
        """Does nothing."""


class Observers(Observer):
    """Calls several observers. A fault of theirs never reaches a call.

    It is logged instead, once for each observer and event.

    Args:
        observers: The observers, in the order in which they are called. There may be none.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._faults: set[tuple[int, str]] = set()

    def began(self, call: Call) -> None:
        """Calls all."""
        for observer in self._observers:
            try:
                observer.began(call)
            except Exception as error:
                self._fault(observer, "began", error)

    def queued(self, call: Call, waiting: int) -> None:
        """Calls all."""
        for observer in self._observers:
            try:
                observer.queued(call, waiting)
            except Exception as error:
                self._fault(observer, "queued", error)

    def upstream_headers(self, call: Call) -> Mapping[str, str]:
        """The headers of all; where two name the same, the later observer's."""
        headers: dict[str, str] = {}
        for observer in self._observers:
            try:
                headers.update(observer.upstream_headers(call))
            except Exception as error:
                self._fault(observer, "upstream_headers", error)
        return headers

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:
        """Calls all."""
        for observer in self._observers:
            try:
                observer.attempted(call, outcome, seconds)
            except Exception as error:
                self._fault(observer, "attempted", error)

    def sent(self, call: Call, chunks: int, seconds: float) -> None:
        """Calls all."""
        for observer in self._observers:
            try:
                observer.sent(call, chunks, seconds)
            except Exception as error:
                self._fault(observer, "sent", error)

    def ended(self, call: Call, code: StatusCode, error: BaseException | None) -> None:
        """Calls all."""
        for observer in self._observers:
            try:
                observer.ended(call, code, error)
            except Exception as fault:
                self._fault(observer, "ended", fault)

    def _fault(self, observer: Observer, event: str, error: Exception) -> None:
        key = (id(observer), event)
        if key not in self._faults:
            self._faults.add(key)
            name = type(observer).__qualname__
            _logger.error(
                "%s.%s failed; further failures are not logged", name, event, exc_info=error
            )


class Recorders(Recorder):
    """Records calls with several recorders.

    Args:
        recorders: The recorders.
    """

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = tuple(recorders)

    def begin(self, call: Call) -> Recording:
        """Begins with all."""
        return _Recordings([recorder.begin(call) for recorder in self._recorders])


class _Recordings(Recording):
    """What several recorders keep of one call."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings

    def asked(self, request: bytes, *, is_json: bool = False) -> None:
        for recording in self._recordings:
            recording.asked(request, is_json=is_json)

    def refused(self) -> None:
        for recording in self._recordings:
            recording.refused()

    def begun(self) -> None:
        for recording in self._recordings:
            recording.begun()

    def answered(self, completion: bytes) -> None:
        for recording in self._recordings:
            recording.answered(completion)

    def came(self, chunks: Sequence[bytes]) -> None:
        for recording in self._recordings:
            recording.came(chunks)

    async def end(self, code: StatusCode, failure: Failure | None) -> None:
        for recording in self._recordings:
            await recording.end(code, failure)
