"""Server-sent events, as OpenAI-compatible servers send them.

Follows the event stream format of the HTML standard
(https://html.spec.whatwg.org/multipage/server-sent-events.html), and takes in what real servers do
beside it: a last event that no blank line ends, and JSON texts with no blank line between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from chatpb._errors import ConversionError

DONE: Final = b"[DONE]"  # the data of the event that ends a stream
_NEWLINE: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        data: The data, a JSON text or `DONE`; its lines are joined by line feeds.
        event: The name of the event.
    """

    data: bytes
    event: str = "message"


class Decoder:
    """Cuts the bytes of an event stream, however they arrive, into events.

    Time is linear in the bytes, and no more than one event is held.

    Args:
        max_event_bytes: The most bytes that one event may have.
    """

    def __init__(self, max_event_bytes: int = 64 * 1024 * 1024) -> None:
        self._max = max_event_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes and gives the events that they complete.

        Raises:
            ConversionError: An event is longer than it may be.
        """
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        first, *lines = _NEWLINE.split(data)
        self._line += first
        events: list[Event] = []
        for line in lines:
            self._take(bytes(self._line), events)
            self._line = bytearray(line)
        if self._size + len(self._line) > self._max:
            raise self._too_long()
        return events

    def close(self) -> list[Event]:
        """Gives the event that the end of the stream completes, if there is one."""
        events: list[Event] = []
        self._take(bytes(self._line), events)
        self._line.clear()
        self._dispatch(events)
        return events

    def _take(self, line: bytes, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"data":
            # No JSON text goes on with a bracket after "}": a new text begins.
            if self._data and self._data[-1].endswith(b"}") and value[:1] in (b"{", b"["):
                self._dispatch(events)
            self._data.append(value)
            self._size += len(value)
            if self._size > self._max:
                raise self._too_long()

    def _dispatch(self, events: list[Event]) -> None:
        data = b"\n".join(self._data)
        if data:
            events.append(Event(data, self._event or "message"))
        self._data.clear()
        self._size = 0
        self._event = ""

    def _too_long(self) -> ConversionError:
        return ConversionError(f"an event of the stream is longer than {self._max} bytes")
