"""What the service keeps of an answer as it passes: how chunks become whole, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from google.protobuf.message import DecodeError

from chatpb._rpc.offload import LARGE
from chatpb._stream.compact import Restorer
from chatpb._wire import WireError, spans
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb_server.core.call import Call
from chatpb_server.core.offload import apart, work_on
from chatpb_server.core.reading import restored
from chatpb_server.core.upstream import UpstreamChunks, UpstreamDataError

#: How many fields of a chunk or completion are looked at for the log and the metrics, and of how
#: many bytes each.
_MOST_FIELDS: Final = 4096
#: Answers with at most so many bytes are read whole: that is faster than to take them apart.
_SHORT: Final = 4 * 1024
_MOST_BYTES: Final = 16 * 1024


class WholeChunks:
    """Makes the compact chunks of one stream whole."""

    def __init__(self) -> None:
        self._restorer = Restorer()

    async def whole(self, chunks: UpstreamChunks) -> Sequence[bytes]:
        """All chunks in their whole form.

        Raises:
            UpstreamDataError: A compact chunk cannot be restored.
        """
        if not chunks.compact:
            if chunks.whole:
                self._restorer.follow(chunks.whole[-1])
            return chunks.whole
        size = sum(map(len, chunks.compact))
        try:
            if size <= LARGE:
                work = work_on(chunks.compact)
                return await apart(work, self._restorer.restore, chunks.whole, chunks.compact)
            before = self._restorer.before
            whole = await apart(size, restored, before, chunks.whole, chunks.compact)
            self._restorer.follow(whole[-1])
            return whole
        except (DecodeError, ValueError) as error:
            raise UpstreamDataError("could not be read: not a chunk") from error


class Ends:
    """The first and the last chunks of a stream, which say what the call is to know."""

    __slots__ = ("_before", "_first", "_last")

    def __init__(self) -> None:
        self._first = b""
        self._last: Sequence[bytes] = ()
        self._before: Sequence[bytes] = ()

    def add(self, chunks: UpstreamChunks) -> None:
        """Takes the next chunks. Compact ones will do: usage is never left out."""
        self._before = self._last
        self._last = chunks.compact or chunks.whole
        if not self._first:
            self._first = (chunks.whole or chunks.compact)[0]

    def learn(self, call: Call) -> None:
        """Tells the call what the chunks say about it; bytes that are not a chunk say nothing."""
        call.ends = (self._first, *self._before[-1:], *self._last[-2:])
        with suppress(DecodeError, WireError):
            for chunk in (self._first, *self._last[-2:]):
                learn(call, ChatCompletionChunk, chunk)


def learn(call: Call, message_type: Any, data: bytes) -> None:
    """Tells the call what an answer says about it.

    Raises:
        DecodeError, WireError: It is not the binary form of a message.
    """
    answer = _said(message_type, data)
    call.response_id = answer.id or call.response_id
    call.response_model = answer.model or call.response_model
    if answer.HasField("usage"):
        call.tokens_in = answer.usage.prompt_tokens
        call.tokens_out = answer.usage.completion_tokens


def _said(message_type: Any, data: bytes) -> Any:
    """An answer with the fields that `learn` reads at least."""
    if len(data) <= _SHORT:
        with suppress(DecodeError):  # a field that nobody reads here can be broken
            return message_type.FromString(data)
    wanted = {
        message_type.ID_FIELD_NUMBER,
        message_type.MODEL_FIELD_NUMBER,
        message_type.USAGE_FIELD_NUMBER,
    }
    pieces = [
        data[span.start : span.end]
        for span in islice(spans(data), _MOST_FIELDS)
        if span.number in wanted and span.end - span.start <= _MOST_BYTES
    ]
    return message_type.FromString(b"".join(pieces))
