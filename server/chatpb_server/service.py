"""The rpcs. Errors pass through: the interceptor turns them into statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceServicer
from chatpb_server.conversion import read_chunks, read_completion, request_json
from chatpb_server.upstream import Upstream


class ChatCompletionService(ChatCompletionServiceServicer):
    """The service, answered by an upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def CreateChatCompletion(  # noqa: N802 (the name of the rpc)
        self,
        request: CreateChatCompletionRequest,
        context: Any,  # noqa: ARG002 (the runtime gives it)
    ) -> CreateChatCompletionResponse:
        """Answers with the upstream's completion."""
        answer = await self._upstream.create(request_json(request.request, stream=False))
        return CreateChatCompletionResponse(completion=read_completion(answer))

    async def StreamChatCompletion(  # noqa: N802 (the name of the rpc)
        self,
        request: StreamChatCompletionRequest,
        context: Any,  # noqa: ARG002 (the runtime gives it)
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        """Answers with the upstream's chunks, as many in a response as arrived together."""
        stream = self._upstream.stream(request_json(request.request, stream=True))
        async with aclosing(stream) as batches:
            async for batch in batches:
                for response in read_chunks(batch):
                    yield response
