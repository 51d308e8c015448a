"""The rpcs of the services: what gRPC's server calls, on bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast

import grpc

from chatpb._rpc.metadata import QUERY_KEY
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.guard import CallerGoneError, CallError, Guard
from chatpb_server.core.headers import one_of_each
from chatpb_server.core.service import Metadata
from chatpb_server.edges.grpc.messages import CallMessages, Messages
from chatpb_server.edges.services import DESCRIPTORS, Services

#: Tells gRPC in the caller not to retry by itself: an upstream was asked, and whether to ask it
#: again is for the program to decide. See https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
_NOT_AGAIN: Final = ("grpc-retry-pushback-ms", "-1")


class Rpcs:
    """The rpcs.

    Args:
        services: What answers.
        guard: Admits and bounds every call.
        messages: Reads and writes within bounds.
        max_metadata_bytes: The most bytes of a caller's metadata.
    """

    def __init__(
        self,
        services: Services,
        guard: Guard,
        messages: Messages,
        max_metadata_bytes: int,
    ) -> None:
        self._services = services
        self._guard = guard
        self._messages = messages
        self._max_metadata_bytes = max_metadata_bytes

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What the server calls.

        For gRPC's runtime both sides of every rpc are streams, whose messages are read and written
        when the handler asks for it. On the wire there is no difference.
        """
        return [
            grpc.method_handlers_generic_handler(
                service.full_name,
                {
                    method.name: grpc.stream_stream_rpc_method_handler(
                        cast("Any", self._guarded(f"/{service.full_name}/{method.name}", method))
                    )
                    for method in service.methods
                },
            )
            for service in DESCRIPTORS
        ]

    def _guarded(self, name: str, method: Any) -> Callable[[Any, Any], Awaitable[None]]:
        """Lets the guard serve an rpc.

        Args:
            name: Its full name.
            method: Its descriptor.
        """

        async def guarded(_: Any, context: Any) -> None:
            with self._messages.of(context) as messages:
                failed = await self._serve(name, method, context, messages)
                if failed is not None:
                    # gRPC keeps what this raises, and its frames. The request is in none of them.
                    await messages.fail(*failed)

        return guarded

    async def _serve(
        self, name: str, method: Any, context: Any, messages: CallMessages
    ) -> tuple[Any, ...] | None:
        """Serves a call.

        Args:
            name: As for `_guarded`.
            method: As for `_guarded`.
            context: gRPC's context of the call.
            messages: Its messages.

        Returns:
            What to end it with, if it failed: the arguments of `CallMessages.fail`.
        """
        metadata = context.invocation_metadata() or ()
        call = Call(name, one_of_each(metadata))
        call.query = call.metadata.get(QUERY_KEY, "")
        exchange = self._services.exchange(method, call)

        async def read() -> None:
            self._check_metadata(metadata)
            await exchange.asked(await messages.read())

        async def begin(headers: Metadata) -> None:
            if headers:
                await context.send_initial_metadata(headers)

        async def answer() -> None:
            await exchange.answer(begin, messages.write)

        try:
            await self._guard.serve(call, context, answer, read)
        except CallError as error:
            again = (_NOT_AGAIN,) if call.attempts else ()
            return (error.failure, *self._guard.trailers(call), *again)
        except asyncio.CancelledError as error:
            if isinstance(error.__cause__, CallerGoneError):
                messages.leave()
            raise
        context.set_trailing_metadata(self._guard.trailers(call))
        return None

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
