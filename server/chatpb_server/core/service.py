"""The service: a request goes to the upstream, and what it answers comes back in binary form.

What fails is raised; the guard turns it into a failure.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Final

from google.protobuf.message import DecodeError

from chatpb._wire import WireError
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.chat_completion_service_pb2 import DESCRIPTOR
from chatpb_server.core.answer_parts import Ends, WholeChunks, learn
from chatpb_server.core.call import Call, Observer
from chatpb_server.core.headers import NOT_STORED, STORED_HEADER, PassedOn
from chatpb_server.core.keeping import RECORD_HEADER
from chatpb_server.core.kept import Kept
from chatpb_server.core.storing import Storing
from chatpb_server.core.upstream import (
    RequestBody,
    Upstream,
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamRequest,
)

SERVICE: Final = DESCRIPTOR.services_by_name["ChatCompletionService"]
SERVICE_NAME: Final[str] = SERVICE.full_name
_NOTHING: Final = nullcontext()

Metadata = tuple[tuple[str, str], ...]
Begin = Callable[[Metadata], Awaitable[None]]
"""Is called when a stream begins, with the headers that are passed back."""


class ChatCompletionService:
    """The service, answered by an upstream.

    Args:
        upstream: What answers.
        observer: Watches what is sent, and has headers for the upstream.
        max_event_bytes: The most bytes of one event of an upstream's event stream.
        passed_on: Chooses the callers' metadata that become headers of the upstream's request.
        passed_back: From the headers of an upstream's answer to those that callers get.
        storing: Stores completions. None: nobody does here.

    Attributes:
        passed_on: The argument, which can be changed.
    """

    def __init__(
        self,
        upstream: Upstream,
        observer: Observer,
        *,
        max_event_bytes: int,
        passed_on: PassedOn | None = None,
        passed_back: Callable[[Mapping[str, str]], Metadata] = lambda _: (),
        storing: Storing | None = None,
    ) -> None:
        self._upstream = upstream
        self._observer = observer
        self._max_event_bytes = max_event_bytes
        self.passed_on = passed_on or PassedOn()
        self._passed_back = passed_back
        self._storing = storing

    async def create(self, call: Call, body: RequestBody) -> UpstreamAnswer:
        """Asks the upstream for a completion.

        Args:
            call: The call, which names the model.
            body: The request.
        """
        async with self._kept(call, body) as kept:
            return await self._create(call, body, kept)

    async def _create(self, call: Call, body: RequestBody, kept: Kept | None) -> UpstreamAnswer:
        answer = await self._upstream.create(self._request(call, body))
        call.headers = answer.headers
        try:
            learn(call, ChatCompletion, answer.binary)
        except (DecodeError, WireError) as error:
            raise UpstreamDataError("could not be read: not a completion") from error
        call.ends = (answer.binary,)
        if call.recording is not None:
            call.recording.answered(answer.binary)
        if kept is not None:
            await kept.answered(answer.binary)
        elif answer.headers.get(STORED_HEADER) == NOT_STORED:  # by another relay
            call.is_unstored = True
        self._sent(call, 1)
        return answer

    async def stream(
        self, call: Call, body: RequestBody, begin: Begin, *, takes_compact: bool = False
    ) -> AsyncGenerator[UpstreamChunks, None]:
        """Asks the upstream for a completion piece by piece.

        Args:
            call: The call, which names the model.
            body: The request.
            begin: Is called when the stream begins.
            takes_compact: Whether the caller takes compact chunks. Otherwise all chunks are whole.

        Yields:
            What has arrived together. It counts as sent when the next item is asked for.
        """
        call.is_stream = True
        recording = call.recording
        async with (
            self._kept(call, body) as kept,
            self._upstream.stream(self._request(call, body)) as stream,
        ):
            call.headers = stream.headers
            await begin(self._passed_back(stream.headers))
            if recording is not None:
                recording.begun()
            restorer = WholeChunks()
            ends = Ends()
            try:
                async for chunks in stream.chunks:
                    whole = chunks.whole
                    if chunks.is_unstored:
                        call.is_unstored = True
                        continue
                    if recording is not None or kept is not None or not takes_compact:
                        whole = await restorer.whole(chunks)
                    if recording is not None and whole:
                        recording.came(whole)
                    if kept is not None:
                        kept.came(whole)
                        if chunks.is_end:
                            await kept.ended()
                    if chunks.compact and not takes_compact:
                        yield replace(chunks, whole=whole, compact=())
                    else:
                        yield chunks
                    if count := len(chunks.whole) + len(chunks.compact):
                        self._sent(call, count)
                        ends.add(chunks)
                if kept is not None:
                    await kept.ended()
            finally:
                ends.learn(call)

    def _kept(self, call: Call, body: RequestBody) -> AbstractAsyncContextManager[Kept | None]:
        """What is kept of a call for the store; None if its completion is not to be stored."""
        kept = None if self._storing is None else self._storing.begin(call, body)
        call.is_kept = kept is not None
        return kept or _NOTHING

    def _request(self, call: Call, body: RequestBody) -> UpstreamRequest:
        """The request for the upstream."""
        call.body = body
        headers = self.passed_on.of(call.metadata)
        if call.wish != "all":  # it counts for all relays on the way
            headers[RECORD_HEADER] = call.wish
        own = self._observer.upstream_headers(call)
        if "traceparent" in own:  # of another trace, unless it is in `own`
            headers.pop("tracestate", None)
        return UpstreamRequest(
            body,
            call.model,
            {**headers, **own},
            query=call.query,
            deadline=call.deadline,
            call_id=call.id,
            max_event_bytes=self._max_event_bytes,
            attempts=Attempts(call, self._observer),
        )

    def _sent(self, call: Call, chunks: int) -> None:
        now = time.monotonic()
        last = call.last_sent if call.last_sent is not None else call.started
        if call.first_sent is None:
            call.first_sent = now
        call.last_sent = now
        call.chunks += chunks
        self._observer.sent(call, chunks, now - last)


class Attempts:
    """Notes the attempts of a call, and tells the observer.

    Args:
        call: The call.
        observer: The observer.
    """

    __slots__ = ("_call", "_observer")

    def __init__(self, call: Call, observer: Observer) -> None:
        self._call = call
        self._observer = observer

    def attempting(self, upstream: str) -> None:
        """Notes which upstream is asked."""
        self._call.upstream = upstream
        self._call.attempts += 1

    def attempted(self, outcome: str, seconds: float) -> None:
        """Tells the observer."""
        self._observer.attempted(self._call, outcome, seconds)
