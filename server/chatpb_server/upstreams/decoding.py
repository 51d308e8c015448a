"""The decoder of an upstream's event stream, and whether the stream is complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chatpb import ConversionError
from chatpb._rpc.offload import LARGE
from chatpb.sse._chunks import ChunkReader, read_event
from chatpb_server.core.offload import apart, stepwise, threaded, work_on
from chatpb_server.core.reading import MOST_CHOICES, finished_in


class StreamDecoder:
    """A `ChunkDecoder` that does not hold the event loop.

    Args:
        max_event_bytes: As for a `ChunkDecoder`.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._reader = ChunkReader(max_event_bytes, allow_nan=True)
        self._begun = 0  # at most so many bytes of an event have come

    @property
    def error(self) -> bytes | None:
        """As of a `ChunkDecoder`."""
        return self._reader.error

    @property
    def is_error_of_choice(self) -> bool:
        """As of a `ChunkDecoder`."""
        return self._reader.is_error_of_choice

    @property
    def is_done(self) -> bool:
        """As of a `ChunkDecoder`."""
        return self._reader.is_done

    async def feed(self, data: bytes) -> list[bytes]:
        """As of a `ChunkDecoder`."""
        return await self._chunks(data, len(data))

    async def close(self) -> list[bytes]:
        """As of a `ChunkDecoder`."""
        return await self._chunks(None, 0)

    async def _chunks(self, data: bytes | None, size: int) -> list[bytes]:
        reader = self._reader
        self._begun += size
        items = await threaded(self._begun, reader.cut, data)
        if items:
            self._begun = size
        unread = [item for item in items if not isinstance(item, bytes)]
        if not unread:
            return items  # type: ignore[return-value]  # bytes, all of them
        most = max(len(event.data) for event in unread)
        if most <= LARGE:
            return await apart(work_on([event.data for event in unread]), reader.read, items)
        chunks: list[bytes] = []
        try:
            for item in items:
                if isinstance(item, bytes):
                    chunks.append(item)
                else:
                    read = await apart(len(item.data), read_event, *reader.asked(item))
                    reader.take(read, chunks)
        except ConversionError as error:
            reader.fail(error, chunks)
        return chunks


class Ending:
    """Whether the chunks of a stream are all that there is, if it ends without `[DONE]`.

    Most streams end with it, so chunks are kept unread, up to a bound, until they must be looked
    at.

    Attributes:
        is_empty: Whether there is no chunk.
    """

    _MOST: Final = 256
    _MOST_BYTES: Final = 64 * 1024

    def __init__(self) -> None:
        self.is_empty = True
        self._unread: list[bytes] = []
        self._size = 0
        self._finished: dict[int, bool] = {}
        self._is_known = True  # or there are too many choices

    async def add(self, chunks: Sequence[bytes]) -> None:
        """Takes the next chunks."""
        if chunks:
            self.is_empty = False
        self._unread += chunks
        self._size += sum(map(len, chunks))
        if len(self._unread) > self._MOST or self._size > self._MOST_BYTES:
            await self._look()

    async def is_complete(self) -> bool:
        """Whether every choice has a finish reason."""
        await self._look()
        return self._is_known and bool(self._finished) and all(self._finished.values())

    async def _look(self) -> None:
        size, unread = self._size, self._unread
        self._size, self._unread = 0, []
        if not self._is_known:
            return
        # Joined, the chunks are one message with the choices of all.
        data = await threaded(size, b"".join, unread)
        finished = await stepwise(size, finished_in, data)
        if finished is None or len(self._finished) > MOST_CHOICES:
            self._is_known = False
            return
        for index, is_finished in finished.items():
            self._finished[index] = self._finished.get(index, False) or is_finished
