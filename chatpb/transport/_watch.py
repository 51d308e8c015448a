"""A time limit for the silence of a stream: gRPC's blocking read has none."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from chatpb.transport._answer import silence


class Watch:
    """Cancels calls that are silent for too long.

    One thread watches all calls of the process. It ends some time after the last call.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ends: dict[Any, float] = {}
        self._wakes = math.inf  # when the thread wakes next
        self._thread: threading.Thread | None = None

    @contextmanager
    def bounding(self, call: Any, seconds: float | None) -> Iterator[None]:
        """Limits the time of a read from a call.

        Raises:
            ReadTimeout: The read took longer. The call is cancelled.
        """
        if seconds is None:
            yield
            return
        end = time.monotonic() + seconds
        with self._changed:
            self._ends[call] = end
            if self._thread is None or not self._thread.is_alive():  # after a fork, for example
                self._wakes = end
                self._thread = threading.Thread(target=self._run, name="chatpb", daemon=True)
                self._thread.start()
            elif end < self._wakes:
                self._changed.notify()
        try:
            yield
        except grpc.RpcError:
            if not self._forget(call):
                raise silence(seconds) from None
            raise
        finally:
            self._forget(call)

    def _forget(self, call: Any) -> bool:
        """Stops watching a call. Returns whether it was still watched."""
        with self._changed:
            return self._ends.pop(call, None) is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                late = [call for call, end in self._ends.items() if end <= now]
                for call in late:
                    del self._ends[call]
                if not late:
                    if not self._ends:
                        self._thread = None
                        return
                    self._wakes = min(self._ends.values())
                    self._changed.wait(self._wakes - now)
            for call in late:
                call.cancel()


WATCH: Final = Watch()
