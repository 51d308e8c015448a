"""From the bytes of an event stream to events, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from chatpb._errors import ArgumentValueError, ConversionError, wrong_type
from chatpb._mapping.arguments import as_bytes
from chatpb._stream.errors import FoundError, find_error

DONE: Final = b"[DONE]"  # the data of the event that ends a stream
_NEWLINE: Final = re.compile(rb"\r\n|\n|\r")
_SPACE: Final = b" \t\n\r"  # the white space of JSON
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        data: The data, a JSON text or `DONE`; its lines are joined by line feeds.
        event: The name of the event. Of the names, only ``error`` has a meaning.
    """

    data: bytes
    event: str = "message"

    @property
    def is_error(self) -> bool:
        """Whether it is an error: by its name, or by its data (see `is_error`).

        Raises:
            ConversionError: The data is not JSON, where it looks like an error.
        """
        return is_error_event(self, find_error(self.data))


def is_error_event(event: Event, found: FoundError | None) -> bool:
    """Whether an event is an error, with what `find_error` has found in it."""
    return event.event == "error" or (found is not None and found.is_alone)


def event(data: bytes) -> bytes:
    """Writes an event of an event stream.

    The law: a `Decoder` gives the same data, if it is one JSON text or `DONE`, and its lines end
    with line feeds.

    Args:
        data: The data, such as a JSON text or `DONE`.
    """
    data = as_bytes(data)
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


class Decoder:
    """Cuts the bytes of an event stream, however they arrive, into events.

    Time is linear in the bytes, and no more than one event is held.

    Args:
        max_event_bytes: The most bytes that one event may have: a whole line of it, and the data
            of the lines before it.
    """

    def __init__(self, max_event_bytes: int = 64 * 1024 * 1024) -> None:
        self._max = checked_size(max_event_bytes)
        self._line = bytearray()
        self._data: list[bytes] = []
        self._has_text = False  # whether the data has more than white space
        self._ends_object = False  # whether it ends with "}"
        self._size = 0
        self._event = ""
        self._after_cr = False
        self._started = False
        self._failure: ConversionError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes and gives the events that they complete.

        Raises:
            ConversionError: An event is longer than it may be. The events before it are given
                first, and the error is raised by the next call.
        """
        if self._failure is not None:
            raise self._failure
        data = as_bytes(data)
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
            if self._size + len(self._line) > self._max:
                break  # as if the line had come in pieces
            self._take(bytes(self._line), events)
            self._line = bytearray(line)
        if self._size + len(self._line) > self._max:
            self._failure = too_long(self._max)
            if not events:
                raise self._failure
        return events

    def close(self) -> list[Event]:
        """Gives the event that the end of the stream completes, if there is one."""
        if self._failure is not None:
            raise self._failure
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
            text = value.strip(_SPACE)
            if text.startswith(b":") and not self._has_text:
                return  # a comment: no JSON text begins with a colon
            # No JSON text goes on with a bracket after "}": a new text begins.
            if self._ends_object and text[:1] in (b"{", b"["):
                self._dispatch(events)
            if text:
                self._has_text = True
                self._ends_object = text.endswith(b"}")
            self._size += len(value) + bool(self._data)  # lines are joined by a line feed
            self._data.append(value)

    def _dispatch(self, events: list[Event]) -> None:
        if self._has_text:
            data = b"\n".join(self._data)
            data = DONE if data.strip(_SPACE) == DONE else data
            events.append(Event(data, self._event or "message"))
        self._data.clear()
        self._has_text = self._ends_object = False
        self._size = 0
        self._event = ""


def checked_size(max_event_bytes: int) -> int:
    """The most bytes of an event, if it is a number of bytes."""
    if not isinstance(max_event_bytes, int):
        raise wrong_type("a number of bytes", max_event_bytes)
    if max_event_bytes < 0:
        raise ArgumentValueError(f"expected a number of bytes, got {max_event_bytes}")
    return max_event_bytes


def too_long(most: int) -> ConversionError:
    """The error of an event that is longer."""
    return ConversionError(f"an event of the stream is longer than {most} bytes")


def is_error(data: bytes) -> bool:
    """Whether a JSON text is an error, and not a chunk or completion.

    Raises:
        ConversionError: It is not JSON, where it looks like an error.
    """
    found = find_error(as_bytes(data))
    return found is not None and found.is_alone
