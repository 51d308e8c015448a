"""One call of an rpc over HTTP: Connect or gRPC-Web, from its body to the last byte of its answer.

The service, the guard and the bounds are those of all other calls.
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from google.protobuf.descriptor_pb2 import MethodOptions

from chatpb import ConversionError
from chatpb._rpc.metadata import QUERY_KEY
from chatpb_server.core.budget import Share
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError, StoppingError
from chatpb_server.core.failure import Failure
from chatpb_server.core.guard import CallerGoneError, CallError, Peer
from chatpb_server.core.offload import stepwise, threaded
from chatpb_server.core.service import Metadata
from chatpb_server.core.upstream import UpstreamDataError
from chatpb_server.edges.http.answering import GONE, LAST, Answering
from chatpb_server.edges.http.connect import connect, grpc_web
from chatpb_server.edges.http.connect.envelopes import (
    COMPRESSED,
    GZIP,
    PREFIX_BYTES,
    check_encoding,
    compressed,
    framed,
    only_message,
    takes_gzip,
)
from chatpb_server.edges.http.connect.protobuf_json import read_json, write_json
from chatpb_server.edges.http.connect.protocols import Protocol, RpcPeer, content_types, protocol_of
from chatpb_server.edges.services import DESCRIPTORS

#: The rpcs, by their paths.
_RPCS: Final = MappingProxyType(
    {
        f"/{service.full_name}/{method.name}": method
        for service in DESCRIPTORS
        for method in service.methods
    }
)
#: How the paths of rpcs begin.
RPCS: Final = "/chatpb.v1."


class RpcAnswering(Answering):
    """One request, which can be the call of an rpc. See `Answering`."""

    _protocol: Protocol | None = None
    _call: Call
    _method: Any
    _sends_gzip = False
    _is_between_messages = True

    async def rpc(self, path: str) -> web.StreamResponse:
        """POST, and for rpcs without side effects GET, of the path of an rpc."""
        method = _RPCS.get(path)
        if method is None:
            return await self.refuse(RefusalError(404, f"There is no rpc {path}"))
        is_get = self._request.method == "GET" and _is_safe(method)
        if self._request.method != "POST" and not is_get:
            return await self.refuse(self._wrong_method("POST"))
        kind = self._metadata.get("content-type", "")
        if is_get:
            kind = f"application/{self._request.rel_url.query.get('encoding', '')}"
        protocol = protocol_of(kind, is_stream=method.server_streaming)
        if protocol is None:
            expected = ", ".join(content_types(is_stream=method.server_streaming))
            text = f"The content type of the request is not supported: expected {expected}."
            if kind.startswith("application/grpc"):
                text += " gRPC itself is on the port of --listen."
            return await self.refuse(RefusalError(415, text))
        self._protocol = protocol
        self._method = method
        self._sends_gzip = takes_gzip(self._metadata.get(protocol.accepts, ""))
        call = self._call = Call(path, self._metadata, query=self._metadata.get(QUERY_KEY, ""))
        exchange = self._services.exchange(method, call)

        async def read() -> None:
            if self._is_draining():
                raise StoppingError
            data = await (self._queried(share) if is_get else self._message(protocol, share))
            if protocol.form == connect.JSON:
                data = await read_json(data, method.input_type.full_name)
            await exchange.asked(data)

        async def respond() -> None:
            if protocol.is_framed:
                await exchange.answer(self._begin_messages, self._write)
                await self._end(self._guard.trailers(call))
            else:
                await exchange.answer(self._begin_messages, partial(self._send_only, share))

        with self._budget.share(self._connection) as share:
            return await self._serve(call, respond, read)

    def _peer(self, call: Call) -> Peer:
        if self._protocol is None:
            return super()._peer(call)
        return RpcPeer(self._request, call, self._protocol)

    async def _queried(self, share: Share) -> bytes:
        """The message of a GET request."""
        message, encoding = connect.asked_by_get(self._request.rel_url.raw_query_string)
        check_encoding(encoding)
        return await self._bodies.inflated(message, encoding, share)

    async def _message(self, protocol: Protocol, share: Share) -> bytes:
        """The message of a POST request."""
        connect.check_version(self._metadata.get("connect-protocol-version"))
        encoding = self._metadata.get(protocol.encoding, "").strip().lower()
        check_encoding(encoding)
        if not protocol.is_framed:
            return await self._bodies.read(self._request, share)
        framing = PREFIX_BYTES
        if protocol.is_text:
            framing += self._bodies.most // 3 + 2 * PREFIX_BYTES
        body = await self._bodies.read(self._request, share, framing=framing)
        if protocol.is_text:
            body = await stepwise(len(body), grpc_web.decoded, body)
        return await only_message(body, encoding, self._bodies, share)

    async def _in_form(self, data: bytes) -> tuple[bytes, bool]:
        """A message of the answer as it is sent, and whether it is compressed.

        Raises:
            UpstreamDataError: It has no JSON form.
        """
        assert self._protocol is not None
        if self._protocol.form == connect.JSON:
            try:
                data = await write_json(data, self._method.output_type.full_name)
            except ConversionError as error:
                raise UpstreamDataError("could not be read: not a message") from error
        if self._sends_gzip and (short := await compressed(data)) is not None:
            return short, True
        return data, False

    async def _send_only(self, share: Share, data: bytes) -> None:
        """Sends the message of an answer without framing."""
        assert self._protocol is not None
        body, is_compressed = await self._in_form(data)
        headers = {"content-type": self._protocol.content_type, "vary": "accept-encoding"}
        if is_compressed:
            headers[self._protocol.compresses] = GZIP
        share.give_back()
        share.hold(len(body))
        headers |= connect.trailer_headers(self._guard.trailers(self._call))
        await self._send(web.Response(body=body, headers=self._headers(self._call, headers)))

    async def _begin_messages(self, headers: Metadata) -> None:
        """Begins an answer of framed messages."""
        protocol = self._protocol
        assert protocol is not None
        kind = {
            "content-type": protocol.content_type,
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
        }
        if self._sends_gzip:
            kind[protocol.compresses] = GZIP
        response = web.StreamResponse(headers=self._headers(self._call, kind, headers))
        self._begin(response)
        with GONE:
            await response.prepare(self._request)

    async def _write(self, data: bytes) -> None:
        """Writes a message of the answer."""
        data, is_compressed = await self._in_form(data)
        await self._write_framed(COMPRESSED if is_compressed else 0, data)

    async def _write_framed(self, flags: int, data: bytes) -> None:
        assert self._protocol is not None
        if self._response is None:
            await self._begin_messages(self._guard.trailers(self._call))
        data = await threaded(len(data), framed, flags, data)
        if self._protocol.is_text:
            data = await threaded(len(data), grpc_web.encoded, data)
        self._is_between_messages = False
        with GONE:
            await self._connection.write(self._request, data)
        self._is_between_messages = True

    async def _end(self, trailers: connect.Trailers, failure: Failure | None = None) -> None:
        """Ends an answer of framed messages."""
        assert self._protocol is not None
        await self._write_framed(*self._protocol.end(trailers, failure))
        self._is_between_messages = False  # nothing can follow, even if this is not read in time
        assert self._response is not None
        with GONE:
            await self._connection.end_stream(self._response)

    async def _failed(self, call: Call, error: CallError) -> web.StreamResponse:
        protocol, failure = self._protocol, error.failure
        if protocol is None:
            return await super()._failed(call, error)
        trailers = (*failure.trailers(), *self._guard.trailers(call))
        if not protocol.is_framed:
            if self._response is not None:  # it has begun, and nothing can be added
                self._connection.abort()
                return self._response
            headers = {"content-type": "application/json", **connect.trailer_headers(trailers)}
            body = connect.error_json(failure)
            response = web.Response(
                status=connect.http_status(failure.code),
                body=body,
                headers=self._headers(call, headers | failure.http_headers),
            )
            return await self._send(response)
        try:
            async with asyncio.timeout(LAST):  # the caller may read no more
                if self._is_between_messages:
                    await self._end(trailers, failure)
                else:
                    await self._connection.flush()
                    self._connection.close_now()
        except (ConnectionError, CallerGoneError, TimeoutError):
            self._connection.abort()
        assert self._response is not None
        return self._response


def _is_safe(method: Any) -> bool:
    """Whether an rpc has no side effects."""
    level: int = method.GetOptions().idempotency_level
    return level == MethodOptions.NO_SIDE_EFFECTS
