"""Clients of `ChatCompletionService`, such as the relay: one for asyncio, and one without.

Needs the extra ``chatpb[client]``. Nothing else of chatpb imports this package, except the command
``call``.

A call that fails with UNAVAILABLE before its first answer, because the relay cannot be reached or
is stopping, is tried up to three times, with pauses. Any other failure is left to the caller (see
`ChatCompletionError.retry_after`), in particular UNAVAILABLE after the relay asked an upstream.

After a fork, gRPC's connections do not work in the child. There, a client that has a connection
and its streams raise `RuntimeError` at once, and `close` does nothing; make another client. An
`AsyncClient` that was not used before the fork can be used in the child.

While a model thinks, the connection is pinged every 30 seconds, so that a broken one is noticed.
The relay permits that. For a server that answers ``too_many_pings``, set the channel option
``grpc.keepalive_time_ms`` to what the server permits; gRPC's default is 300,000.
"""

from chatpb._extras import raise_hint
from chatpb._public import publish

try:
    from chatpb.client._async import AsyncChatCompletionStream, AsyncClient
    from chatpb.client._shared import ChatCompletionError
    from chatpb.client._sync import ChatCompletionStream, Client
except ModuleNotFoundError as missing:
    raise_hint("chatpb.client", missing)

__all__ = [
    "AsyncChatCompletionStream",
    "AsyncClient",
    "ChatCompletionError",
    "ChatCompletionStream",
    "Client",
]

publish("chatpb.client")
