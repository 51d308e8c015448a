"""From what a server of OpenAI's API sends, JSON and event streams, to answers and chunks.

The text stays with them, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Final

from chatpb import ConversionError
from chatpb._stream.errors import may_be_error
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.core.offload import SHORT, apart, json_text, json_to_binary, threaded
from chatpb_server.core.reading import brief, completion_in
from chatpb_server.core.upstream import (
    LARGE_ERROR,
    MAX_EVENT_BYTES,
    NO_HEADERS,
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamError,
    UpstreamFault,
)
from chatpb_server.upstreams.decoding import Ending, StreamDecoder

_BOM: Final = b"\xef\xbb\xbf"
#: What a body can be.
JSON: Final = "JSON"
EVENTS: Final = "an event stream"
#: With what the first line of an event stream begins.
_EVENT_LINES: Final = (b"data", b"event", b"id", b"retry", b":")
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
        binary = await _completion(text)
    except ConversionError as error:
        raise UpstreamDataError(_unreadable(text, error), headers) from error
    if binary is None:
        raise await error_of(200, text, headers)
    return UpstreamAnswer(binary, text, headers)


async def error_of(http_status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamError:
    """The error in a body, which may be long.

    Args:
        http_status: The HTTP status of the answer.
        body: Its body, or the JSON text of the error in it.
        headers: Its HTTP headers.
    """
    is_long = len(body) > LARGE_ERROR
    short = await apart(len(body), brief, body) if is_long else None
    return UpstreamError(http_status, body, headers, brief=short)


async def _completion(text: bytes) -> bytes | None:
    """What `completion_in` returns."""
    size = len(text)
    if size <= SHORT or await threaded(size, may_be_error, text):
        return await apart(size, completion_in, text)
    return await json_to_binary(text, ChatCompletion, allow_nan=True)


def kind_of(start: bytes) -> str:
    """What a body is, by its first bytes: content types are often wrong."""
    start = without_blanks(start)
    if start[:1] in (b"{", b"["):
        return JSON
    if start[:1] == b"<":
        return "an HTML page"
    # The first bytes can be a part of the line's name, or none at all.
    is_event = any(start.startswith(name) or name.startswith(start) for name in _EVENT_LINES)
    return EVENTS if is_event else "text"


def without_blanks(start: bytes) -> bytes:
    """The first bytes of a body without what some servers send while they compute."""
    return start.removeprefix(_BOM).lstrip()


def _unreadable(text: bytes, error: ConversionError) -> str:
    """Says what a text is that is not the answer that was expected, without quoting it."""
    if not without_blanks(text):
        return "is empty"
    if (kind := kind_of(text)) != JSON:
        return f"could not be read: not JSON: it begins like {kind}"
    where = "" if error.offset is None else f" (byte {error.offset} of {len(text)})"
    return f"could not be read: not JSON: broken, or not a completion{where}"


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
    decoder = StreamDecoder(max_event_bytes)
    ending = Ending()
    try:
        async for piece in data:
            chunks = await decoder.feed(piece)
            await ending.add(chunks)
            if decoder.is_done and ending.is_empty and decoder.error is None:
                raise UpstreamDataError("is empty: the stream has no chunk", headers)
            is_end = decoder.is_done and decoder.error is None
            yield UpstreamChunks(chunks, text=piece, is_end=is_end)
            if decoder.is_done or (decoder.error is not None and not decoder.is_error_of_choice):
                break
        else:
            while chunks := await decoder.close():
                await ending.add(chunks)
                yield UpstreamChunks(chunks, text=b"")
    except ConversionError as error:
        raise UpstreamDataError(_unreadable_event(error), headers) from error
    except UpstreamFault:
        if decoder.error is None or not await ending.is_complete():
            raise
    if decoder.is_done or decoder.error is not None:
        async with aclosing(_rest(data, decoder)) as rest:
            async for arrived in rest:
                yield arrived
    is_over = decoder.is_done or (decoder.error is not None and not decoder.is_error_of_choice)
    is_over = is_over or await ending.is_complete()
    if decoder.error is not None and is_over:
        raise await error_of(200, await json_text(decoder.error, ErrorResponse), headers)
    if not is_over:
        raise UpstreamDataError("broke off: the stream ended before the completion did", headers)


def _unreadable_event(error: ConversionError) -> str:
    if error.offset is None:
        return f"could not be read: {error.reason}"  # about the stream, which is not quoted
    return f"could not be read: not JSON: an event is not a chunk (byte {error.offset})"


async def _rest(
    data: AsyncIterator[bytes], decoder: StreamDecoder
) -> AsyncGenerator[UpstreamChunks, None]:
    """What follows `[DONE]` or an error. Reading to the end frees the connection for others."""
    patience = _AFTER_DONE if decoder.is_done else _AFTER_ERROR
    until = asyncio.get_running_loop().time() + patience
    with suppress(TimeoutError, ConversionError, UpstreamFault):
        while True:
            async with asyncio.timeout_at(until):
                piece = await anext(data, b"")
            chunks = await decoder.feed(piece) if piece else await decoder.close()
            if piece or chunks:
                yield UpstreamChunks(chunks, text=piece)
            else:
                return
