"""OpenAI's Python SDK over gRPC: a transport for ``httpx2``, the HTTP library of the SDK.

    client = OpenAI(http_client=httpx2.Client(transport=GrpcTransport("127.0.0.1:50051")))

Chat completions go to a `ChatCompletionService`, models to a `ModelService`, and stored completions
to a `StoredChatCompletionService`: those of a relay.
The SDK behaves as it does over HTTP: it returns the same objects and raises the same errors. Needs
the extra ``chatpb[transport]``; nothing else of chatpb imports this package.

Requests. ``POST .../chat/completions`` becomes a call, which streams if the body contains
``"stream": true``; so do ``GET .../models`` and ``GET .../models/NAME``, unless the server has no
models: then they are requests to another endpoint. So do requests for stored completions, unless
the server knows none, or stores none and there is a fallback. The host of the URL is ignored: no
connection is made to it. Headers become metadata, except cookies, those about HTTP itself or the
body, and ``x-stainless-*``, and the query becomes the metadata ``chatpb-http-query``. So
``authorization``, which contains the SDK's ``api_key``, reaches the relay, which may take it as the
caller's token or pass it on; a `token` replaces it.

Answers. The server's metadata become headers: for a completion or an error all of it, for a stream
what is sent before its first chunk. A stream becomes an event stream of the chunks as they arrive,
which ends with ``[DONE]``. Closing the response cancels the call. If the caller reads slowly, the
server sends slowly.

Errors. A failure before the first chunk becomes an HTTP error, with OpenAI's error object,
``retry-after`` and ``x-request-id``. Its status is the upstream's, if the server sends that as
metadata ``chatpb-http-status``, and otherwise the one that corresponds to the gRPC status. A later
failure becomes an error event, as OpenAI sends it. If there is no answer, `httpx2.ConnectError` or
another `httpx2.TransportError` is raised; if a stream breaks off, `httpx2.RemoteProtocolError`.

Retries are left to the SDK. A call is sent once, unless gRPC knows that no server has seen it.

Timeouts are those of the request. ``connect`` limits the wait for a connection if there is none.
``read`` limits the silence of the server, as over HTTP. A completion arrives whole, so its limit
covers all the time from sending to answering, and is sent to the server as the deadline; in a
stream, the limit covers the time to the first chunk, and between chunks. ``write`` and ``pool`` are
ignored, because all calls share a connection.

After a fork, gRPC's connections do not work in the child. There, requests and streams raise
`RuntimeError` at once, and `close` does nothing; make another transport. An `AsyncGrpcTransport`
that was not used before the fork can be used in the child.
"""

from chatpb._extras import raise_hint
from chatpb._public import publish

try:
    from chatpb.transport._async import AsyncGrpcTransport
    from chatpb.transport._sync import GrpcTransport
except ModuleNotFoundError as missing:
    raise_hint("chatpb.transport", missing)

__all__ = ["AsyncGrpcTransport", "GrpcTransport"]

publish("chatpb.transport")
