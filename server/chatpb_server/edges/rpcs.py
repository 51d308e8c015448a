"""The rpcs of the service: what gRPC's server calls, on bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple, cast

import grpc

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
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError, CallError, Guard
from chatpb_server.core.offload import apart, stepwise, threaded
from chatpb_server.core.service import SERVICE, SERVICE_NAME, ChatCompletionService, Metadata
from chatpb_server.core.upstream import RequestBody, RequestError, UpstreamChunks
from chatpb_server.edges.asked import hidden_in, may_hide
from chatpb_server.edges.messages import CallMessages, Messages

_CHUNKS: Final = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
_COMPACT_CHUNKS: Final = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
#: Clients take messages of 4 MiB unless they set another limit.
_MAX_RESPONSE_BYTES: Final = 1024 * 1024

#: Tells gRPC in the caller not to retry by itself: an upstream was asked, and whether to ask it
#: again is for the program to decide. See https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
_NOT_AGAIN: Final = ("grpc-retry-pushback-ms", "-1")

_Respond = Callable[[Call, RequestBody, bool, Any, CallMessages], Awaitable[None]]
"""Answers a call: its request, whether its caller takes compact chunks, gRPC's context, and what it
writes with."""


class Rpcs:
    """The rpcs.

    Args:
        service: What answers.
        guard: Admits and bounds every call.
        messages: Reads and writes within bounds.
        max_metadata_bytes: The most bytes of a caller's metadata.
    """

    def __init__(
        self,
        service: ChatCompletionService,
        guard: Guard,
        messages: Messages,
        max_metadata_bytes: int,
    ) -> None:
        self._service = service
        self._guard = guard
        self._messages = messages
        self._max_metadata_bytes = max_metadata_bytes

    def handler(self) -> grpc.GenericRpcHandler:
        """What the server calls.

        For gRPC's runtime both sides of every rpc are streams, whose messages are read and written
        when the handler asks for it. On the wire there is no difference.
        """
        handlers: dict[str, Any] = {}
        for method in SERVICE.methods:
            respond: _Respond = self._create
            field_number = CreateChatCompletionRequest.REQUEST_FIELD_NUMBER
            if method.server_streaming:
                respond = self._stream
                field_number = StreamChatCompletionRequest.REQUEST_FIELD_NUMBER
            name = f"/{SERVICE_NAME}/{method.name}"
            rpc = self._guarded(name, respond, field_number, is_stream=method.server_streaming)
            handlers[method.name] = grpc.stream_stream_rpc_method_handler(cast("Any", rpc))
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    def _guarded(
        self, method: str, respond: _Respond, field_number: int, *, is_stream: bool
    ) -> Callable[[Any, Any], Awaitable[None]]:
        """Lets the guard serve an rpc.

        Args:
            method: Its full name.
            respond: The rpc.
            field_number: The field of its message that holds the request.
            is_stream: Whether its answer is a stream.
        """

        async def guarded(_: Any, context: Any) -> None:
            metadata = context.invocation_metadata() or ()
            call = Call(method, dict(metadata))
            body: RequestBody | None = None
            takes_compact = False

            async def read() -> None:
                nonlocal body, takes_compact
                self._check_metadata(metadata)
                data = await messages.read()
                try:
                    asked = await stepwise(len(data), _asked, data, field_number, is_stream)
                except WireError as error:
                    text = "The request is not the binary form of a message."
                    raise RequestError(text) from error
                await _check(asked)
                call.model = asked.model
                body = RequestBody(binary=asked.body)
                takes_compact = asked.takes_compact
                if call.recording is not None:
                    call.recording.asked(asked.request)

            async def answer() -> None:
                assert body is not None
                await respond(call, body, takes_compact, context, messages)

            with self._messages.of(context) as messages:
                try:
                    await self._guard.serve(call, context, answer, read)
                except CallError as error:
                    again = (_NOT_AGAIN,) if call.attempts else ()
                    passed = self._guard.passed_back(call.headers)
                    await messages.fail(error.failure, *passed, *again)
                except asyncio.CancelledError as error:
                    if isinstance(error.__cause__, CallerGoneError):
                        messages.leave()
                    raise
            context.set_trailing_metadata(self._guard.passed_back(call.headers))

        return guarded

    def _check_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Checks the size of the metadata, as HTTP/2 counts it.

        Raises:
            RefusalError: It is too large.
        """
        most = self._max_metadata_bytes
        size = sum(len(name) + len(value) + 32 for name, value in metadata)
        if size > most:
            text = f"The metadata of the call has {size} bytes; the relay takes at most {most}."
            raise RefusalError(431, text)

    async def _create(
        self, call: Call, body: RequestBody, _: bool, _context: Any, messages: CallMessages
    ) -> None:
        """CreateChatCompletion: answers with the upstream's completion."""
        answer = await self._service.create(call, body)
        number, size = CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER, len(answer.binary)
        await messages.write(await threaded(size, embedded, number, (answer.binary,)))

    async def _stream(
        self,
        call: Call,
        body: RequestBody,
        takes_compact: bool,
        context: Any,
        messages: CallMessages,
    ) -> None:
        """StreamChatCompletion: a response has the chunks that arrived together."""
        responses = _Responses(Compactor() if takes_compact else None)

        async def begin(headers: Metadata) -> None:
            if headers:
                await context.send_initial_metadata(headers)

        stream = self._service.stream(call, body, begin, takes_compact=takes_compact)
        async with aclosing(stream) as arrived:
            async for chunks in arrived:
                for response in await stepwise(_size(chunks), responses.of, chunks):
                    await messages.write(response)


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
        residues: The residue of the request, in as many pieces as it came.
        takes_compact: Whether the caller takes compact chunks.
    """

    request: bytes
    body: bytes
    model: str
    residues: list[bytes]
    takes_compact: bool


def _asked(data: bytes, field_number: int, is_stream: bool) -> _Asked:
    """Reads the message of an rpc.

    Raises:
        WireError: It is not the binary form of a message.
    """
    request = joined(data, field_number)
    compact = StreamChatCompletionRequest.COMPACT_FIELD_NUMBER
    takes_compact = is_stream and is_true(data, compact)
    model, streams = b"", False
    residues: list[bytes] = []
    for span in spans(request):
        if span.number == ChatCompletionRequest.MODEL_FIELD_NUMBER:
            model = request[span.value : span.end]
        elif span.number == ChatCompletionRequest.STREAM_FIELD_NUMBER:
            streams = request[span.value : span.end] != b"\0"
        elif span.number == ChatCompletionRequest.RESIDUE_FIELD_NUMBER:
            residues.append(part(request, span.value, span.end))
    body = request
    if is_stream and not streams:
        body = b"".join((request, flag(ChatCompletionRequest.STREAM_FIELD_NUMBER)))
    elif streams and not is_stream:
        body = without(request, ChatCompletionRequest.STREAM_FIELD_NUMBER)
    return _Asked(request, body, model.decode("utf-8", "replace"), residues, takes_compact)


async def _check(asked: _Asked) -> None:
    """Refuses residues that would replace the fields that the relay decides by.

    Raises:
        RequestError: The residue says something else.
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
