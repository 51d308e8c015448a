"""One call of an rpc, in binary form, whichever protocol brings it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, Protocol

from chatpb._stream.compact import Compactor
from chatpb._wire import WireError, embedded, flag, is_true, joined, part, spans, without
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb_server.core.call import Call
from chatpb_server.core.offload import apart, stepwise, threaded
from chatpb_server.core.service import Begin, ChatCompletionService
from chatpb_server.core.upstream import RequestBody, RequestError, UpstreamChunks
from chatpb_server.edges.asked import hidden_in, may_hide

_CHUNKS: Final = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
_COMPACT_CHUNKS: Final = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
_COMPLETION: Final = CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER
#: Clients take messages of 4 MiB unless they set another limit.
_MAX_RESPONSE_BYTES: Final = 1024 * 1024

Write = Callable[[bytes], Awaitable[None]]
"""Writes a message of the answer."""


class Exchange(Protocol):
    """One call."""

    async def asked(self, data: bytes) -> None:
        """Reads the only message of the request, before the call waits for its turn.

        Raises:
            RequestError: It cannot be read.
        """
        ...

    async def answer(self, begin: Begin, write: Write) -> None:
        """Answers, in the call's turn.

        Args:
            begin: As in `ChatCompletionService.stream`. Not called if the answer is not a stream.
            write: Writes a message.
        """
        ...


class ChatExchange:
    """A call of the service of chat completions.

    Args:
        service: What answers.
        call: The call.
        is_stream: Whether its answer is a stream.
    """

    def __init__(self, service: ChatCompletionService, call: Call, *, is_stream: bool) -> None:
        self._service = service
        self._call = call
        self._is_stream = is_stream
        self._takes_compact = False
        self._body: RequestBody | None = None

    async def asked(self, data: bytes) -> None:
        """See `Exchange`."""
        try:
            asked = await stepwise(len(data), _asked, data, self._is_stream)
        except WireError as error:
            text = "The request is not the binary form of a message."
            raise RequestError(text) from error
        await _check(asked)
        self._call.model = asked.model
        self._body = RequestBody(binary=asked.body, store=asked.store)
        self._takes_compact = asked.takes_compact
        if self._call.recording is not None:
            self._call.recording.asked(asked.request)

    async def answer(self, begin: Begin, write: Write) -> None:
        """See `Exchange`."""
        assert self._body is not None
        if self._is_stream:
            await self._stream(self._body, begin, write)
            return
        answer = await self._service.create(self._call, self._body)
        await write(await threaded(len(answer.binary), embedded, _COMPLETION, (answer.binary,)))

    async def _stream(self, body: RequestBody, begin: Begin, write: Write) -> None:
        """A message has the chunks that arrived together."""
        takes_compact = self._takes_compact
        responses = _Responses(Compactor() if takes_compact else None)
        stream = self._service.stream(self._call, body, begin, takes_compact=takes_compact)
        async with aclosing(stream) as arrived:
            async for chunks in arrived:
                for response in await stepwise(_size(chunks), responses.of, chunks):
                    await write(response)


class _Responses:
    """Makes the responses of one stream.

    Args:
        compactor: Makes whole chunks compact. None: the caller does not take compact ones.
    """

    def __init__(self, compactor: Compactor | None) -> None:
        self._compactor = compactor

    def of(self, chunks: UpstreamChunks) -> list[bytes]:
        """The responses for chunks that arrived together: one, unless it would be too large."""
        return list(self._of(chunks))

    def _of(self, chunks: UpstreamChunks) -> Iterator[bytes]:
        if chunks.compact:
            # Another relay has made them compact, and goes on: each builds on the one before.
            self._compactor = None
            yield embedded(_CHUNKS, chunks.whole) + embedded(_COMPACT_CHUNKS, chunks.compact)
            return
        if self._compactor is not None and not chunks.whole and _is_comment(chunks.text):
            yield b""  # so that the next relay knows that the upstream is alive
        for whole in _cut(chunks.whole):
            if self._compactor is None:
                yield embedded(_CHUNKS, whole)
                continue
            for kept, compact in self._compactor.add(whole):
                yield embedded(_CHUNKS, kept) + embedded(_COMPACT_CHUNKS, compact)


def _is_comment(text: bytes | None) -> bool:
    """Whether an event stream's text is a comment, with which servers keep a connection alive.

    Some gateways wrap comments as data.
    """
    return text is not None and text.lstrip().startswith((b":", b"data: :"))


def _cut(chunks: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The chunks, cut where a response would become too large for an ordinary client."""
    if len(chunks) == 1 or sum(map(len, chunks)) <= _MAX_RESPONSE_BYTES:
        if chunks:
            yield chunks
        return
    start = size = 0
    for position, chunk in enumerate(chunks):
        if size and size + len(chunk) > _MAX_RESPONSE_BYTES:
            yield chunks[start:position]
            start, size = position, 0
        size += len(chunk)
    yield chunks[start:]


class _Asked(NamedTuple):
    """What is in the message of an rpc.

    Attributes:
        request: The request, as it came.
        body: The request, which shows whether it is for a stream.
        model: The model that it names.
        store: Whether the completion is to be stored; None if the request does not say.
        residues: The residue of the request, in as many pieces as it came.
        takes_compact: Whether the caller takes compact chunks.
    """

    request: bytes
    body: bytes
    model: str
    store: bool | None
    residues: list[bytes]
    takes_compact: bool


def _asked(data: bytes, is_stream: bool) -> _Asked:
    """Reads the message of an rpc.

    Raises:
        WireError: It is not the binary form of a message.
    """
    message: Any = StreamChatCompletionRequest if is_stream else CreateChatCompletionRequest
    request = joined(data, message.REQUEST_FIELD_NUMBER)
    compact = StreamChatCompletionRequest.COMPACT_FIELD_NUMBER
    takes_compact = is_stream and is_true(data, compact)
    model, streams = b"", False
    store: bool | None = None
    residues: list[bytes] = []
    for span in spans(request):
        if span.number == ChatCompletionRequest.MODEL_FIELD_NUMBER:
            model = request[span.value : span.end]
        elif span.number == ChatCompletionRequest.STREAM_FIELD_NUMBER:
            streams = request[span.value : span.end] != b"\0"
        elif span.number == ChatCompletionRequest.STORE_FIELD_NUMBER:
            store = request[span.value : span.end] != b"\0"
        elif span.number == ChatCompletionRequest.RESIDUE_FIELD_NUMBER:
            residues.append(part(request, span.value, span.end))
    body = request
    if is_stream and not streams:
        body = b"".join((request, flag(ChatCompletionRequest.STREAM_FIELD_NUMBER)))
    elif streams and not is_stream:
        body = without(request, ChatCompletionRequest.STREAM_FIELD_NUMBER)
    name = model.decode("utf-8", "replace")
    return _Asked(request, body, name, store, residues, takes_compact)


async def _check(asked: _Asked) -> None:
    """Refuses residues that would replace the fields that the relay decides by.

    Raises:
        RequestError: The residue has such a field.
    """
    hidden: set[str] = set()
    size = sum(map(len, asked.residues))
    if size and await stepwise(size, may_hide, asked.residues):
        hidden = await apart(size, hidden_in, asked.residues)
    if "stream" in hidden or (asked.model and "model" in hidden):
        name = "stream" if "stream" in hidden else "model"
        raise RequestError(f"The residue of the request must not have the member '{name}'.", name)


def _size(chunks: UpstreamChunks) -> int:
    """The bytes of chunks, of which `SHORT` are converted at once."""
    return sum(map(len, chunks.whole)) + sum(map(len, chunks.compact))
