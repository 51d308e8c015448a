"""The JSON of answers to chat completions, as callers of the HTTP API get it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chatpb import ConversionError
from chatpb._rpc.offload import LARGE
from chatpb._stream.errors import in_member
from chatpb.sse import event
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb_server.core.failure import Failure
from chatpb_server.core.offload import apart, json_text, threaded, work_on
from chatpb_server.core.reading import json_of
from chatpb_server.core.upstream import UpstreamAnswer, UpstreamChunks, UpstreamDataError

#: A comment, which clients skip: with it, neither they nor proxies find the stream idle.
_ALIVE: Final = b": keep-alive\n\n"


async def text_of(answer: UpstreamAnswer) -> bytes:
    """The JSON text of an answer: as it came, if it came as JSON.

    Raises:
        UpstreamDataError: It has no JSON form.
    """
    if answer.text is not None:
        return answer.text
    try:
        return await json_text(answer.binary, ChatCompletion)
    except ConversionError as error:
        raise UpstreamDataError("could not be read: not a completion", answer.headers) from error


async def events_of(chunks: UpstreamChunks) -> bytes:
    """The bytes of the event stream: as they came, if they came as events.

    Raises:
        UpstreamDataError: A chunk has no JSON form.
    """
    if chunks.text is not None:
        return chunks.text
    if not chunks.whole:  # another relay passes on that the upstream is alive
        return _ALIVE
    try:
        return await _made_events(chunks.whole)
    except ConversionError as error:
        raise UpstreamDataError("could not be read: not a chunk") from error


async def _made_events(chunks: Sequence[bytes]) -> bytes:
    if max(map(len, chunks)) <= LARGE:
        return await apart(work_on(chunks), _joined_events, chunks)
    size = sum(map(len, chunks))
    lines: list[bytes] = []
    for chunk in chunks:
        lines += (b"data: ", await json_text(chunk, ChatCompletionChunk), b"\n\n")
    return await threaded(size, b"".join, lines)


def _joined_events(chunks: Sequence[bytes]) -> bytes:
    return b"".join([event(json_of(chunk, ChatCompletionChunk)) for chunk in chunks])


def error_event(failure: Failure) -> bytes:
    """The event of an error in the middle of a stream."""
    return event(b" ".join(in_member(failure.error_json).splitlines()))
