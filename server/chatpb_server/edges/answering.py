"""One request of the HTTP API, from its body to the last byte of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final

import orjson
from aiohttp import web

from chatpb import ConversionError, binary_to_json
from chatpb._rpc.offload import convert
from chatpb.sse import DONE, event
from chatpb.v1.chat_completion_chunk_pb2 import ChatCompletionChunk
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.failure import Failure
from chatpb_server.core.guard import CallerGoneError, CallError, Guard
from chatpb_server.core.service import ChatCompletionService, Metadata
from chatpb_server.core.upstream import (
    RequestBody,
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamError,
)
from chatpb_server.edges.http_request import HttpPeer, asked_in, read_body

#: The names of its calls, as rpcs have them.
CHAT: Final = "/openai.v1/chat.completions"
MODELS: Final = "/openai.v1/models"

#: The headers of every answer. Without them aiohttp names itself.
OURS: Final = {"server": "chatpb"}

_JSON: Final = "application/json"
#: A comment, which clients skip: with it, neither they nor proxies find the stream idle.
_ALIVE: Final = b": keep-alive\n\n"
_BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
#: How many seconds an error event may take to be written.
_LAST: Final = 1.0


class Answering:
    """One request.

    Args:
        request: The request.
        guard: As in `HttpEdge`.
        service: As in `HttpEdge`.
        max_body_bytes: As in `HttpEdge`.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        guard: Guard,
        service: ChatCompletionService,
        max_body_bytes: int,
    ) -> None:
        self._request = request
        self._guard = guard
        self._service = service
        self._max_body_bytes = max_body_bytes
        self._metadata = {name.lower(): value for name, value in request.headers.items()}
        self._response: web.StreamResponse | None = None
        self._body = b""
        self._is_stream = False
        self._is_between_events = True

    async def chat(self, is_draining: bool) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        if self._request.method != "POST":
            return await self.refuse(self._wrong_method("POST"))
        if is_draining:
            return await self.refuse(RefusalError(503, "The relay is stopping; call again."))
        call = Call(CHAT, self._metadata)

        async def read() -> None:
            self._body = await read_body(self._request, self._max_body_bytes)
            call.model, self._is_stream = await asked_in(self._body)
            if call.recording is not None:
                call.recording.asked(self._body, is_json=True)

        async def respond() -> bytes | None:
            if self._is_stream:
                await self._stream(call)
                return None
            return await _text(await self._service.create(call, RequestBody(text=self._body)))

        return await self._serve(call, respond, read)

    async def models(self, name: str, value: Any) -> web.StreamResponse:
        """GET /v1/models, and one of them, which does not exist if its value is None."""
        if self._request.method not in ("GET", "HEAD"):
            return await self.refuse(self._wrong_method("GET"))
        if value is None:
            text = f"The model '{name}' does not exist"
            return await self.refuse(RefusalError(404, text, "model_not_found"))

        async def respond() -> bytes:
            return orjson.dumps(value)

        return await self._serve(Call(MODELS, self._metadata), respond)

    async def refuse(self, refusal: RefusalError) -> web.StreamResponse:
        """The answer to a request for which no upstream is asked."""

        async def respond() -> bytes:
            raise refusal

        return await self._serve(Call("/openai.v1/refused", self._metadata), respond)

    async def _serve(self, call: Call, respond: Any, read: Any = None) -> web.StreamResponse:
        try:
            peer = HttpPeer(self._request, call)
            body = await self._guard.serve(call, peer, respond, read)
        except CallError as error:
            return await self._failed(call, error)
        if self._response is not None:
            return self._response
        return web.Response(body=body, headers=self._headers(call, {"content-type": _JSON}))

    async def _stream(self, call: Call) -> None:
        """Sends the event stream, as it comes."""
        response: web.StreamResponse | None = None

        async def begin(headers: Metadata) -> None:
            nonlocal response
            kind = {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
            }
            response = web.StreamResponse(headers=self._headers(call, kind, headers))
            self._response = response
            with _gone():
                await response.prepare(self._request)

        async def write(data: bytes) -> None:
            assert response is not None
            self._is_between_events = data.endswith(_BLANK_LINES)
            with _gone():
                await response.write(data)

        is_event_stream = False
        stream = self._service.stream(call, RequestBody(text=self._body), begin)
        async with aclosing(stream) as arrived:
            async for chunks in arrived:
                is_event_stream = chunks.text is not None
                if data := await _events(chunks):
                    await write(data)
        if not is_event_stream:  # nothing that came marks the end
            await write(event(DONE))

    async def _failed(self, call: Call, error: CallError) -> web.StreamResponse:
        failure = error.failure
        response = self._response
        if response is None:
            headers = self._headers(call, {"content-type": failure.http_content_type})
            if not headers.keys() & {"retry-after", "retry-after-ms"}:
                headers |= failure.http_headers
            return web.Response(status=failure.http_status, body=failure.http_body, headers=headers)
        cause = error.__cause__
        is_said = isinstance(cause, UpstreamError) and cause.http_status < 300  # by an event
        if not is_said and not isinstance(cause, UpstreamDataError) and self._is_between_events:
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(_LAST):  # the caller may read no more
                    await response.write(_error_event(failure))
        # Without its last chunk, what breaks off does not look complete.
        if not isinstance(cause, UpstreamError) and self._request.transport is not None:
            self._request.transport.close()
        return response

    def _headers(
        self, call: Call, headers: Mapping[str, str], passed: Metadata | None = None
    ) -> dict[str, str]:
        """The headers of an answer, with those of the upstream that are passed back."""
        if passed is None:
            passed = self._guard.passed_back(call.headers)
        return {**OURS, "x-request-id": call.id, **headers, **dict(passed)}

    def _wrong_method(self, allowed: str) -> RefusalError:
        text = f"Not allowed to {self._request.method} on {self._request.path}: expected {allowed}"
        return RefusalError(405, text, "method_not_supported")


@contextmanager
def _gone() -> Iterator[None]:
    """Writing to a caller that may be gone."""
    try:
        yield
    except ConnectionError as error:
        raise CallerGoneError from error


async def _text(answer: UpstreamAnswer) -> bytes:
    """The JSON text of an answer: as it came, if it came as JSON.

    Raises:
        UpstreamDataError: It has no JSON form.
    """
    if answer.text is not None:
        return answer.text
    try:
        return await convert(len(answer.binary), _json, answer.binary, ChatCompletion)
    except ConversionError as error:
        raise UpstreamDataError("could not be read: not a completion", answer.headers) from error


async def _events(chunks: UpstreamChunks) -> bytes:
    """The bytes of the event stream: as they came, if they came as events.

    Raises:
        UpstreamDataError: A chunk has no JSON form.
    """
    if chunks.text is not None:
        return chunks.text
    if not chunks.whole:  # another relay passes on that the upstream is alive
        return _ALIVE
    try:
        return await convert(sum(map(len, chunks.whole)), _made_events, chunks.whole)
    except ConversionError as error:
        raise UpstreamDataError("could not be read: not a chunk") from error


def _json(data: bytes, message_type: Any) -> bytes:
    """The JSON text of a message in binary form, with NaN where an upstream has written it."""
    return binary_to_json(data, message_type, allow_nan=True)


def _made_events(chunks: Sequence[bytes]) -> bytes:
    return b"".join([event(_json(chunk, ChatCompletionChunk)) for chunk in chunks])


def _error_event(failure: Failure) -> bytes:
    return event(b" ".join(failure.error_json.splitlines()))
