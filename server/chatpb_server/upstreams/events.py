"""From what a server of OpenAI's API sends, JSON and event streams, to answers and chunks.

The text stays with them, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final

from chatpb import ConversionError, binary_to_json, json_to_binary, to_dict
from chatpb.sse import ChunkDecoder, is_error
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.convert import convert
from chatpb_server.core.upstream import (
    MAX_EVENT_BYTES,
    NO_HEADERS,
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamError,
    UpstreamFault,
)

#: How long, in seconds, an upstream may take to end a stream after `[DONE]`, and after an error.
#: What still comes is passed on.
_AFTER_DONE: Final = 0.1
_AFTER_ERROR: Final = 1.0


async def answer_of(text: bytes, headers: Mapping[str, str] = NO_HEADERS) -> UpstreamAnswer:
    """The answer in a JSON text.

    Args:
        text: A completion, or an error that came in its place.
        headers: The HTTP headers of the answer.

    Raises:
        UpstreamError: It is an error.
        UpstreamDataError: It cannot be read.
    """
    try:
        if is_error(text):
            raise UpstreamError(200, text, headers)
        binary = await convert(len(text), json_to_binary, text, ChatCompletion)
    except ConversionError as error:
        raise UpstreamDataError("unreadable completion", headers) from error
    return UpstreamAnswer(binary, text, headers)


async def chunks_of(
    data: AsyncIterator[bytes],
    headers: Mapping[str, str] = NO_HEADERS,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> AsyncGenerator[UpstreamChunks, None]:
    """The chunks of an event stream.

    Args:
        data: The bytes of the event stream, as they arrive.
        headers: The HTTP headers of the answer.
        max_event_bytes: The most bytes of one event.

    Yields:
        What has arrived, also if it completes no chunk.

    Raises:
        UpstreamError: The stream has an error event. The chunks after it come first.
        UpstreamDataError: The stream cannot be read, or ends before the completion does.
    """
    decoder = ChunkDecoder(max_event_bytes)
    ending = _Ending()
    try:
        async for piece in data:
            chunks = decoder.feed(piece)
            ending.add(chunks)
            yield UpstreamChunks(chunks, text=piece)
            if decoder.is_done or decoder.error is not None:
                break
        else:
            while chunks := decoder.close():
                ending.add(chunks)
                yield UpstreamChunks(chunks, text=b"")
    except ConversionError as error:
        raise UpstreamDataError("unreadable chunk", headers) from error
    if decoder.is_done or decoder.error is not None:
        async with aclosing(_rest(data, decoder)) as rest:
            async for arrived in rest:
                yield arrived
    if decoder.error is not None:
        raise UpstreamError(200, binary_to_json(decoder.error, ErrorResponse), headers)
    if not decoder.is_done and not ending.is_complete():
        raise UpstreamDataError("the stream ended before the completion did", headers)


async def _rest(
    data: AsyncIterator[bytes], decoder: ChunkDecoder
) -> AsyncGenerator[UpstreamChunks, None]:
    """What follows `[DONE]` or an error. Reading to the end frees the connection for others."""
    patience = _AFTER_DONE if decoder.is_done else _AFTER_ERROR
    until = asyncio.get_running_loop().time() + patience
    with suppress(TimeoutError, ConversionError, UpstreamFault):
        while True:
            async with asyncio.timeout_at(until):
                piece = await anext(data, b"")
            chunks = decoder.feed(piece) if piece else decoder.close()
            if piece or chunks:
                yield UpstreamChunks(chunks, text=piece)
            else:
                return


class _Ending:
    """Whether the chunks of a stream are all that there is, if it ends without `[DONE]`.

    Most streams end with it, so chunks are kept unread, up to a bound, until they must be looked
    at.
    """

    _MOST = 256
    _MOST_BYTES = 64 * 1024

    def __init__(self) -> None:
        self._unread: list[bytes] = []
        self._size = 0
        self._finished: dict[int, bool] = {}

    def add(self, chunks: Sequence[bytes]) -> None:
        """Takes the next chunks."""
        self._unread += chunks
        self._size += sum(map(len, chunks))
        if len(self._unread) > self._MOST or self._size > self._MOST_BYTES:
            self._look()

    def is_complete(self) -> bool:
        """Whether every choice has a finish reason."""
        self._look()
        return bool(self._finished) and all(self._finished.values())

    def _look(self) -> None:
        # Joined, the chunks are one message with the choices of all.
        for choice in ChatCompletionChunk.FromString(b"".join(self._unread)).choices:
            # A word that the schema does not know is in the residue.
            is_finished = bool(choice.finish_reason) or (
                choice.HasField("residue") and to_dict(choice).get("finish_reason") is not None
            )
            self._finished[choice.index] = self._finished.get(choice.index, False) or is_finished
        self._unread.clear()
        self._size = 0
