"""A plain grpc.aio relay that converts nothing: what gRPC alone costs in Python."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio

from relay.processes import run_loop


class _Forward(grpc.GenericRpcHandler):
    """Sends the bytes of each message on, as they are."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """How the rpc of a path is answered."""
        path = handler_call_details.method
        if "/Stream" in path:
            stream: aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(path)

            async def forward_stream(request: bytes, _: object) -> AsyncIterator[bytes]:
                async for message in stream(request):
                    yield message

            return grpc.unary_stream_rpc_method_handler(forward_stream)
        unary: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)

        async def forward(request: bytes, _: object) -> bytes:
            return await unary(request)

        return grpc.unary_unary_rpc_method_handler(forward)


async def _serve(upstream: str) -> None:
    async with aio.insecure_channel(upstream) as channel:
        server = aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((_Forward(channel),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f"listening on 127.0.0.1:{port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    run_loop(_serve(sys.argv[1]), fast=False)
