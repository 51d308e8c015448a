"""The rpcs of the service: what gRPC's server calls, on bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast

import grpc

from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError, CallError, Guard
from chatpb_server.core.service import SERVICE, SERVICE_NAME, ChatCompletionService, Metadata
from chatpb_server.edges.exchange import ChatExchange
from chatpb_server.edges.messages import Messages

#: Tells gRPC in the caller not to retry by itself: an upstream was asked, and whether to ask it
#: again is for the program to decide. See https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
_NOT_AGAIN: Final = ("grpc-retry-pushback-ms", "-1")


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
        handlers: dict[str, Any] = {
            method.name: grpc.stream_stream_rpc_method_handler(cast("Any", self._guarded(method)))
            for method in SERVICE.methods
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)

    def _guarded(self, method: Any) -> Callable[[Any, Any], Awaitable[None]]:
        """Lets the guard serve an rpc.

        Args:
            method: Its descriptor.
        """

        async def guarded(_: Any, context: Any) -> None:
            metadata = context.invocation_metadata() or ()
            call = Call(f"/{SERVICE_NAME}/{method.name}", dict(metadata))
            exchange = ChatExchange(self._service, call, is_stream=method.server_streaming)

            async def read() -> None:
                self._check_metadata(metadata)
                await exchange.asked(await messages.read())

            async def begin(headers: Metadata) -> None:
                if headers:
                    await context.send_initial_metadata(headers)

            async def answer() -> None:
                await exchange.answer(begin, messages.write)

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
