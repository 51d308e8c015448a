"""The rpcs, on bytes: wire -> JSON -> upstream, upstream -> wire, and no message on the way.

What fails is raised; `guard` turns it into a status.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar

import grpc
from grpc import aio

from chatpb import ConversionError, binary_to_json, json_to_binary, to_dict
from chatpb._stream.compact import Compactor
from chatpb._wire import WireError, embedded, flag, is_true, joined, spans, without
from chatpb.sse import ChunkDecoder, is_error
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    DESCRIPTOR,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.error_pb2 import ErrorResponse
from chatpb_server.access.secret import check_header
from chatpb_server.core.call import Call, Observer, current_call
from chatpb_server.core.upstream import (
    Upstream,
    UpstreamDataError,
    UpstreamError,
    UpstreamFault,
    UpstreamRequest,
)

SERVICE: Final = DESCRIPTOR.services_by_name["ChatCompletionService"]
SERVICE_NAME: Final[str] = SERVICE.full_name

_CREATE_REQUEST: Final = CreateChatCompletionRequest.REQUEST_FIELD_NUMBER
_STREAM_REQUEST: Final = StreamChatCompletionRequest.REQUEST_FIELD_NUMBER
_CHUNKS: Final = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
_COMPACT_CHUNKS: Final = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
#: Above so many bytes a conversion takes milliseconds, and goes to a thread.
_LARGE: Final = 256 * 1024
#: Clients take messages of 4 MiB if they are not told otherwise.
_MAX_BATCH_BYTES: Final = 1024 * 1024
#: How long, in seconds, an upstream may take to end a stream after it said that it is done, and
#: after an error. What still comes is sent.
_AFTER_DONE: Final = 0.1
_AFTER_ERROR: Final = 1.0

_T = TypeVar("_T")
Respond = Callable[[bytes, Any], Awaitable[Any]]
"""An rpc: from the request's bytes and the context to the response's bytes, or None."""
Metadata = tuple[tuple[str, str], ...]


class CallerGoneError(Exception):
    """The caller went while it was written to, before the runtime knew."""


class RequestError(Exception):
    """Bytes that are not the binary form of a request."""


class ChatCompletionService:
    """The service, answered by an upstream.

    Args:
        upstream: What answers.
        observer: Is told what is sent, and has headers for the upstream.
        max_event_bytes: The most bytes of one event of a stream.
        passed_on: The names of the callers' metadata that become headers of the upstream's request.
        passed_back: From the headers of an upstream's answer to those that callers get.
    """

    def __init__(
        self,
        upstream: Upstream,
        observer: Observer,
        *,
        max_event_bytes: int,
        passed_on: Collection[str] = (),
        passed_back: Callable[[Mapping[str, str]], Metadata] = lambda _: (),
    ) -> None:
        self._upstream = upstream
        self._observer = observer
        self._max_event_bytes = max_event_bytes
        self._passed_on = passed_on
        self._passed_back = passed_back

    def handlers(self, guard: Callable[[str, Respond, int], Respond]) -> grpc.GenericRpcHandler:
        """What the server is to call.

        Args:
            guard: From the full name of an rpc, the rpc, and the number of the field that holds its
                request, to what is called in its place.
        """
        kinds = {
            False: (grpc.unary_unary_rpc_method_handler, self._create, _CREATE_REQUEST),
            True: (grpc.unary_stream_rpc_method_handler, self._stream, _STREAM_REQUEST),
        }
        handlers: dict[str, Any] = {}
        for method in SERVICE.methods:
            kind, respond, number = kinds[method.server_streaming]
            handlers[method.name] = kind(guard(f"/{SERVICE_NAME}/{method.name}", respond, number))
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    async def _create(self, data: bytes, _context: Any) -> bytes:
        """CreateChatCompletion: answers with the upstream's completion."""
        call = current_call.get()
        request = joined_request(data, _CREATE_REQUEST)
        call.model, body = await _convert(_request_json, request, False)
        _, completion = await self.create(call, body)
        return embedded(CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER, (completion,))

    async def create(self, call: Call, body: bytes) -> tuple[bytes, bytes]:
        """Asks the upstream for a completion.

        Args:
            call: The call, which names the model.
            body: The request in JSON.

        Returns:
            The completion as the upstream wrote it, and in binary form.
        """
        answer = await self._upstream.create(self._request(call, body))
        call.headers = answer.headers
        try:
            if is_error(answer.body):
                raise UpstreamError(200, answer.body, answer.headers)
            completion = await _convert(json_to_binary, answer.body, ChatCompletion)
        except ConversionError as error:
            raise UpstreamDataError("unreadable completion") from error
        _learn(call, ChatCompletion, completion)
        if call.recording is not None:
            call.recording.answered(completion)
        self._sent(call, 1)
        return answer.body, completion

    async def _stream(self, data: bytes, context: Any) -> None:
        """StreamChatCompletion: as many chunks in a response as arrived together."""
        call = current_call.get()
        request = joined_request(data, _STREAM_REQUEST)
        is_compact = is_true(data, StreamChatCompletionRequest.COMPACT_FIELD_NUMBER)
        compactor = Compactor() if is_compact else None
        call.model, body = await _convert(_request_json, request, True)

        async def begin(headers: Metadata) -> None:
            if headers:
                await context.send_initial_metadata(headers)

        async with aclosing(self.stream(call, body, begin)) as batches:
            async for batch in batches:
                try:
                    for response in _responses(batch, compactor):
                        await context.write(response)
                except aio.InternalError as error:
                    raise CallerGoneError from error

    async def stream(
        self,
        call: Call,
        body: bytes,
        begin: Callable[[Metadata], Awaitable[None]],
        copy: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Asks the upstream for a completion piece by piece.

        Args:
            call: The call, which names the model.
            body: The request in JSON.
            begin: Is called when the stream begins, with the headers that are passed back.
            copy: Is called with the bytes of the event stream, as they come.

        Yields:
            The binary form of chunks, those that arrived together; they count as sent when the next
            ones are asked for.
        """
        call.is_stream = True
        sent = _SentChunks()
        recording = call.recording
        async with self._upstream.stream(self._request(call, body)) as stream:
            call.headers = stream.headers
            await begin(self._passed_back(stream.headers))
            if recording is not None:
                recording.begun()
            decoder = ChunkDecoder(self._max_event_bytes)
            async with aclosing(_chunks(stream.data, decoder, copy)) as arrived:
                async for chunks in arrived:
                    if recording is not None:
                        recording.came(chunks)
                    for batch in _batches(chunks):
                        yield batch
                        self._sent(call, len(batch))
                        sent.add(batch)
        sent.learn(call)
        if decoder.error is not None:
            error = binary_to_json(decoder.error, ErrorResponse)
            raise UpstreamError(200, error, stream.headers)
        if not decoder.is_done and not sent.are_finished():
            raise UpstreamDataError("the stream ended before the completion did")

    def _request(self, call: Call, body: bytes) -> UpstreamRequest:
        """The request for the upstream."""
        headers: dict[str, str] = {}
        for name in self._passed_on:
            if name in call.metadata:
                check_header(name, call.metadata[name])
                headers[name] = call.metadata[name]
        headers |= self._observer.upstream_headers(call)
        return UpstreamRequest(body, call.model, headers)

    def _sent(self, call: Call, chunks: int) -> None:
        now = time.monotonic()
        last = call.last_sent if call.last_sent is not None else call.started
        if call.first_sent is None:
            call.first_sent = now
        call.last_sent = now
        call.chunks += chunks
        self._observer.sent(call, chunks, now - last)


def joined_request(data: bytes, number: int) -> bytes:
    """The request in the message of an rpc.

    Raises:
        RequestError: It is no message.
    """
    try:
        return joined(data, number)
    except WireError as error:
        raise RequestError(str(error)) from None


def _request_json(request: bytes, stream: bool) -> tuple[str, bytes]:
    """The model that a request names, and its JSON, which says whether the rpc is a stream."""
    model, streams = b"", False
    try:
        for span in spans(request):
            if span.number == ChatCompletionRequest.MODEL_FIELD_NUMBER:
                model = request[span.value : span.end]
            elif span.number == ChatCompletionRequest.STREAM_FIELD_NUMBER:
                streams = request[span.value : span.end] != b"\0"
        if stream:
            request += flag(ChatCompletionRequest.STREAM_FIELD_NUMBER)
        elif streams:
            request = without(request, ChatCompletionRequest.STREAM_FIELD_NUMBER)
    except WireError as error:
        raise RequestError(str(error)) from None
    return model.decode("utf-8", "replace"), binary_to_json(request, ChatCompletionRequest)


async def _chunks(
    data: AsyncIterator[bytes],
    decoder: ChunkDecoder,
    copy: Callable[[bytes], Awaitable[None]] | None,
) -> AsyncGenerator[list[bytes], None]:
    """The chunks of an event stream, all that have arrived in each item."""
    try:
        async for piece in data:
            chunks = decoder.feed(piece)
            if copy is not None:
                await copy(piece)
            if chunks:
                yield chunks
            if decoder.is_done or decoder.error is not None:
                break
        else:
            while chunks := decoder.close():
                yield chunks
            return
    except ConversionError as error:
        raise UpstreamDataError("unreadable chunk") from error
    # The rest comes at once or not at all. Reading to the end frees the connection for others.
    patience = _AFTER_DONE if decoder.is_done else _AFTER_ERROR
    until = asyncio.get_running_loop().time() + patience
    with suppress(TimeoutError, ConversionError, UpstreamFault):
        while True:
            async with asyncio.timeout_at(until):
                piece = await anext(data, b"")
            chunks = decoder.feed(piece) if piece else decoder.close()
            if copy is not None and piece:
                await copy(piece)
            if chunks:
                yield chunks
            elif not piece:
                return


async def _convert(convert: Callable[..., _T], data: bytes, *arguments: Any) -> _T:
    """What a conversion gives; a long one leaves the event loop to others."""
    if len(data) > _LARGE:
        return await asyncio.to_thread(convert, data, *arguments)
    return convert(data, *arguments)


def _batches(chunks: list[bytes]) -> Iterator[Sequence[bytes]]:
    """The chunks, cut where a message would become too large for an ordinary client."""
    if len(chunks) == 1 or sum(map(len, chunks)) <= _MAX_BATCH_BYTES:
        yield chunks
        return
    start = size = 0
    for position, chunk in enumerate(chunks):
        if size and size + len(chunk) > _MAX_BATCH_BYTES:
            yield chunks[start:position]
            start, size = position, 0
        size += len(chunk)
    yield chunks[start:]


def _responses(chunks: Sequence[bytes], compactor: Compactor | None) -> Iterator[bytes]:
    """The responses for chunks that arrived together: one, where none must follow compact ones."""
    if compactor is None:
        yield embedded(_CHUNKS, chunks)
        return
    for whole, compact in compactor.add(chunks):
        yield embedded(_CHUNKS, whole) + embedded(_COMPACT_CHUNKS, compact)


class _SentChunks:
    """What was sent, as far as it must be known at the end.

    Most streams say that they are done, so chunks are kept unread, up to a bound, until they must
    be looked at.
    """

    _MOST = 256
    _MOST_BYTES = 64 * 1024

    def __init__(self) -> None:
        self._first = b""
        self._last: Sequence[bytes] = ()
        self._unread: list[bytes] = []
        self._size = 0
        self._finished: dict[int, bool] = {}

    def add(self, chunks: Sequence[bytes]) -> None:
        """Takes the chunks of one response."""
        self._first = self._first or chunks[0]
        self._last = chunks
        self._unread += chunks
        self._size += sum(map(len, chunks))
        if len(self._unread) > self._MOST or self._size > self._MOST_BYTES:
            self._look()

    def are_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        self._look()
        return bool(self._finished) and all(self._finished.values())

    def learn(self, call: Call) -> None:
        """Tells the call what the chunks said of it."""
        if self._first:
            _learn(call, ChatCompletionChunk, self._first)
            _learn(call, ChatCompletionChunk, b"".join(self._last[-2:]))

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


def _learn(call: Call, message_type: Any, data: bytes) -> None:
    """Tells the call what an answer says of it."""
    wanted = {
        message_type.ID_FIELD_NUMBER,
        message_type.MODEL_FIELD_NUMBER,
        message_type.USAGE_FIELD_NUMBER,
    }
    pieces = [data[span.start : span.end] for span in spans(data) if span.number in wanted]
    answer = message_type.FromString(b"".join(pieces))
    call.response_id = answer.id or call.response_id
    call.response_model = answer.model or call.response_model
    if answer.HasField("usage"):
        call.tokens_in = answer.usage.prompt_tokens
        call.tokens_out = answer.usage.completion_tokens
