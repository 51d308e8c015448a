"""Server-sent events, as OpenAI-compatible servers send them.

Follows the event stream format of the HTML standard
(https://html.spec.whatwg.org/multipage/server-sent-events.html), and accepts what real servers
send in addition: a last event without a blank line after it, JSON texts without one between, `DONE`
with white space around it, and comments that were wrapped as data (``data: : PROCESSING``), which
are left out as other comments are. `Decoder` and `Event.is_error` decide what an event is, for all
that read streams.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from chatpb._errors import ArgumentValueError, ConversionError, wrong_type
from chatpb._mapping.convert import json_to_binary
from chatpb._mapping.native import native_chunk_stream
from chatpb._mapping.text import as_bytes
from chatpb._stream.errors import SUSPECTS, FoundError, find_error
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.error_pb2 import ErrorResponse

__all__ = ["DONE", "ChunkDecoder", "Decoder", "Event", "event", "is_error"]

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
        return _is_error(self, find_error(self.data))


def _is_error(event: Event, found: FoundError | None) -> bool:
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
        max_event_bytes: The most bytes that one event may have.
    """

    def __init__(self, max_event_bytes: int = 64 * 1024 * 1024) -> None:
        self._max = _checked(max_event_bytes)
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
            self._take(bytes(self._line), events)
            self._line = bytearray(line)
            if self._size > self._max:
                break
        if self._size + len(self._line) > self._max:
            self._failure = _too_long(self._max)
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


def _checked(max_event_bytes: int) -> int:
    if not isinstance(max_event_bytes, int):
        raise wrong_type("a number of bytes", max_event_bytes)
    if max_event_bytes < 0:
        raise ArgumentValueError(f"expected a number of bytes, got {max_event_bytes}")
    return max_event_bytes


def _too_long(most: int) -> ConversionError:
    return ConversionError(f"an event of the stream is longer than {most} bytes")


class ChunkDecoder:
    """Turns the bytes of an event stream, however they arrive, into chunks in binary form.

    An event named ``error``, or whose data is an error wherever servers put one, is not a chunk: it
    is in `error`. A chunk that has an error next to its choices is given, and its error is in
    `error` too, as is that of a choice. Chunks that follow are still given.

    Args:
        max_event_bytes: The most bytes that one event may have.
        allow_nan: Whether NaN, Infinity and -Infinity, which are not JSON, are accepted.

    Attributes:
        error: The first error event, or else the first error in a chunk, as the binary form of an
            ErrorResponse; None without one.
        is_error_of_choice: Whether `error` is that of one choice of a chunk, so that others go on.
        is_done: Whether the event that ends a stream has come. Some servers never send it.
    """

    def __init__(self, max_event_bytes: int = 64 * 1024 * 1024, *, allow_nan: bool = False) -> None:
        self.error: bytes | None = None
        self.is_error_of_choice = False
        self._is_error_in_chunk = False
        self.is_done = False
        self._allow_nan = allow_nan
        self._max = _checked(max_event_bytes)
        self._decoder = Decoder(max_event_bytes)
        self._native = native_chunk_stream(
            ChatCompletionChunk, list(SUSPECTS), max_event_bytes, allow_nan
        )
        self._failure: ConversionError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes and gives the chunks that they complete.

        Returns:
            The binary form of each, as `chatpb.json_to_binary` gives it.

        Raises:
            ConversionError: An event is longer than it may be, or its data is not a JSON object.
                The chunks before it are given first, and the error is raised by the next call.
        """
        data = as_bytes(data)
        native = self._native
        if native is not None:
            return self._chunks(lambda: self._found(*native.feed(data)))
        return self._chunks(lambda: self._decoder.feed(data))

    def close(self) -> list[bytes]:
        """Gives the chunks that the end of the stream completes. To be called until it gives none.

        Raises:
            ConversionError: As for `feed`.
        """
        native = self._native
        if native is not None:
            return self._chunks(lambda: self._found(*native.close()))
        return self._chunks(self._decoder.close)

    def _found(
        self, items: list[bytes | tuple[bytes, str]], is_too_long: bool
    ) -> Iterator[Event | bytes]:
        """What the native decoder gives: chunks, and events that it leaves to the reference."""
        for item in items:
            yield item if isinstance(item, bytes) else Event(item[0], item[1] or "message")
        if is_too_long:
            self._failure = _too_long(self._max)
            if not items:
                raise self._failure

    def _chunks(self, events: Callable[[], Iterable[Event | bytes]]) -> list[bytes]:
        if self._failure is not None:
            raise self._failure
        chunks: list[bytes] = []
        try:
            for event in events():
                if isinstance(event, bytes):
                    chunks.append(event)
                else:
                    self._take(event, chunks)
        except ConversionError as error:
            if not chunks:
                raise
            self._failure = error
        return chunks

    def _take(self, event: Event, chunks: list[bytes]) -> None:
        data = event.data
        if data == DONE:
            self.is_done = True
            return
        found = find_error(data)
        is_error = _is_error(event, found)
        if (is_error or found is not None) and (self.error is None or self._is_error_in_chunk):
            text = data if found is None else found.text
            is_of_choice = found is not None and found.is_of_choice and not is_error
            if self.error is None or is_error or (self.is_error_of_choice and not is_of_choice):
                self.error = json_to_binary(text, ErrorResponse, allow_nan=True)
                self.is_error_of_choice = is_of_choice
            self._is_error_in_chunk = not is_error
        if not is_error:
            chunks.append(json_to_binary(data, ChatCompletionChunk, allow_nan=self._allow_nan))


def is_error(data: bytes) -> bool:
    """Whether a JSON text is an error, and not a chunk or completion.

    Raises:
        ConversionError: It is not JSON, where it looks like an error.
    """
    found = find_error(as_bytes(data))
    return found is not None and found.is_alone
