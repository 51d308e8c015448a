"""From the bytes of an event stream to chunks in binary form."""

from __future__ import annotations

from collections.abc import Iterable

from chatpb._errors import ConversionError
from chatpb._mapping.arguments import as_bytes
from chatpb._mapping.convert import json_to_binary
from chatpb._mapping.native import native_chunk_stream
from chatpb._stream.errors import find_error
from chatpb.sse._decoder import DONE, Decoder, Event, is_error_event
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.error_pb2 import ErrorResponse


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
        self._reader = ChunkReader(max_event_bytes, allow_nan)

    @property
    def error(self) -> bytes | None:
        """The first error; see `ChunkDecoder`."""
        return self._reader.error

    @property
    def is_error_of_choice(self) -> bool:
        """Whether `error` is that of one choice; see `ChunkDecoder`."""
        return self._reader.is_error_of_choice

    @property
    def is_done(self) -> bool:
        """Whether the event that ends a stream has come; see `ChunkDecoder`."""
        return self._reader.is_done

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes and gives the chunks that they complete.

        Returns:
            The binary form of each, as `chatpb.json_to_binary` gives it.

        Raises:
            ConversionError: An event is longer than it may be, or its data is not a JSON object.
                The chunks before it are given first, and the error is raised by the next call.
        """
        return self._reader.read(self._reader.cut(as_bytes(data)))

    def close(self) -> list[bytes]:
        """Gives the chunks that the end of the stream completes. To be called until it gives none.

        Raises:
            ConversionError: As for `feed`.
        """
        return self._reader.read(self._reader.cut(None))


ReadEvent = tuple[bool, bytes | None, bytes | None, bool]
"""Whether an event ends the stream; its chunk, and its error, in binary form; and whether the error
is that of one choice."""


class ChunkReader:
    """A `ChunkDecoder` in two steps, so that the relay can do each of them somewhere else.

    Args:
        max_event_bytes: As for a `ChunkDecoder`.
        allow_nan: As for a `ChunkDecoder`.

    Attributes:
        error: As of a `ChunkDecoder`.
        is_error_of_choice: As of a `ChunkDecoder`.
        is_done: As of a `ChunkDecoder`.
    """

    def __init__(self, max_event_bytes: int, allow_nan: bool) -> None:
        self.error: bytes | None = None
        self.is_error_of_choice = False
        self.is_done = False
        self._is_error_in_chunk = False
        self._allow_nan = allow_nan
        self._decoder = Decoder(max_event_bytes)
        self._native = native_chunk_stream(max_event_bytes, allow_nan)
        self._failure: ConversionError | None = None

    def cut(self, data: bytes | None) -> list[Event | bytes]:
        """Takes the next bytes, or None at the end, and gives what they complete.

        Returns:
            Chunks in binary form from the native implementation; otherwise events, which are to be
            read.

        Raises:
            ConversionError: An event cannot be read, or is longer than it may be; or the call
                before has left an error.
        """
        if self._failure is not None:
            raise self._failure
        native = self._native
        if native is None:
            return list(self._decoder.close() if data is None else self._decoder.feed(data))
        chunks = native.close() if data is None else native.feed(data)
        self.error, self.is_error_of_choice, self.is_done = native.state()
        if isinstance(chunks, tuple):
            raise ConversionError(*chunks)
        return list(chunks)

    def read(self, items: Iterable[Event | bytes]) -> list[bytes]:
        """The chunks in what `cut` gave.

        Raises:
            ConversionError: An event cannot be read, and there is no chunk before it. Otherwise the
                next `cut` raises it.
        """
        chunks: list[bytes] = []
        try:
            for item in items:
                if isinstance(item, bytes):
                    chunks.append(item)
                else:
                    self.take(read_event(*self.asked(item)), chunks)
        except ConversionError as error:
            self.fail(error, chunks)
        return chunks

    def asked(self, event: Event) -> tuple[bytes, str, bool, bool]:
        """The arguments of `read_event` for the next event."""
        needs_error = self.error is None or self._is_error_in_chunk
        return event.data, event.event, self._allow_nan, needs_error

    def take(self, read: ReadEvent, chunks: list[bytes]) -> None:
        """Takes what an event contains, and adds its chunk, if it has one, to those before it."""
        is_done, chunk, error, is_of_choice = read
        self.is_done |= is_done
        if error is not None:
            replaces = chunk is None or (self.is_error_of_choice and not is_of_choice)
            if self.error is None or replaces:
                self.error = error
                self.is_error_of_choice = is_of_choice
            self._is_error_in_chunk = chunk is not None
        if chunk is not None:
            chunks.append(chunk)

    def fail(self, error: ConversionError, chunks: list[bytes]) -> None:
        """Takes that an event cannot be read.

        Raises:
            ConversionError: There is no chunk before it.
        """
        self._failure = error
        if not chunks:
            raise error


def read_event(data: bytes, name: str, allow_nan: bool, needs_error: bool) -> ReadEvent:
    """Reads an event.

    Args:
        data: Its data.
        name: Its name.
        allow_nan: As for a `ChunkDecoder`.
        needs_error: Whether its error is asked for.

    Raises:
        ConversionError: The data is not a JSON object.
    """
    if data == DONE:
        return True, None, None, False
    found = find_error(data)
    is_alone = is_error_event(Event(data, name), found)
    chunk = error = None
    if needs_error and (is_alone or found is not None):
        error = json_to_binary(data if found is None else found.text, ErrorResponse, allow_nan=True)
    if not is_alone:
        chunk = json_to_binary(data, ChatCompletionChunk, allow_nan=allow_nan)
    is_of_choice = found is not None and found.is_of_choice and not is_alone
    return False, chunk, error, is_of_choice
