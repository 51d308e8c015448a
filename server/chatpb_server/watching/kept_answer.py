"""What is kept of an answer: a completion, or chunks and when they came."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from chatpb._rpc.offload import LARGE
from chatpb._wire import begun, embedded, varint_bytes
from chatpb.v1.completion_record_pb2 import CompletionRecord

_COMPLETION: Final = CompletionRecord.COMPLETION_FIELD_NUMBER
_CHUNKS: Final = CompletionRecord.CHUNKS_FIELD_NUMBER
_TIMES: Final = CompletionRecord.CHUNK_TIMES_US_FIELD_NUMBER
#: The size of a chunk's time of arrival, which is kept with it.
_TIME_BYTES: Final = 8
#: So many chunks are put together at once, which takes a millisecond.
_MANY: Final = 4096


class KeptAnswer:
    """What is kept of an answer.

    Chunks that came together and are large, or many, are put together when the record is made, and
    are not copied before.
    """

    __slots__ = ("_completion", "_parts", "_times")

    def __init__(self) -> None:
        self._completion: bytes | None = None
        self._parts: list[bytearray | Sequence[bytes]] = []
        self._times: array[int] | None = None

    def complete(self, completion: bytes) -> None:
        """Keeps a completion."""
        self._completion = completion

    def add(self, chunks: Sequence[bytes], size: int, now_us: int) -> None:
        """Keeps chunks that came together.

        Args:
            chunks: The chunks.
            size: Their size.
            now_us: When they came.
        """
        if self._times is None:
            self._times = array("q")
        self._times += array("q", (now_us,)) * len(chunks)
        if size > LARGE or len(chunks) > _MANY:
            self._parts.append(chunks)
            return
        data = embedded(_CHUNKS, chunks)
        last = self._parts[-1] if self._parts else None
        if isinstance(last, bytearray) and len(last) < LARGE:
            last += data
        else:
            self._parts.append(bytearray(data))

    def fields(self) -> Iterator[bytes]:
        """The fields of a record, in pieces."""
        if self._completion is not None:
            yield begun(_COMPLETION, len(self._completion))
            yield self._completion
        for part in self._parts:
            if isinstance(part, bytearray):
                yield bytes(part)  # bytes alone are joined without Python's lock
                continue
            for at in range(0, len(part), _MANY):
                yield embedded(_CHUNKS, part[at : at + _MANY])
        if self._times is not None:
            # Those that came together have the same time.
            runs = [varint_bytes(time) * len(list(same)) for time, same in groupby(self._times)]
            times = b"".join(runs)
            yield begun(_TIMES, len(times))
            yield times


def room_for(chunks: Sequence[bytes], size: int) -> int:
    """How many bytes at most are kept for chunks of a size."""
    longest = max(map(len, chunks), default=0)
    return size + (len(begun(_CHUNKS, longest)) + _TIME_BYTES) * len(chunks)
