"""An upstream that lists models, and keeps what it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.build import choice, completion

#: What vLLM sends.
VLLM = {
    "id": "meta/llama",
    "object": "model",
    "created": 1731601644,
    "owned_by": "vllm",
    "root": "/models/llama",
    "parent": None,
    "max_model_len": 8192,
    "permission": [{"id": "modelperm-1", "allow_logprobs": True, "group": None}],
}
#: What OpenRouter sends.
OPENROUTER = {
    "id": "openai/gpt-4o:free",
    "created": 1715367049,
    "name": "OpenAI: GPT-4o",
    "context_length": 128000,
    "architecture": {"modality": "text->text", "tokenizer": "GPT"},
    "pricing": {"prompt": "0.0000025", "completion": "0.00001", "request": 0},
    "per_request_limits": None,
}


def listing(*models: Any) -> dict[str, Any]:
    """OpenAI's object of models; a name stands for a plain one."""
    plain = {"object": "model", "created": 1, "owned_by": "o"}
    data = [{"id": model, **plain} if isinstance(model, str) else model for model in models]
    return {"object": "list", "data": data}


@dataclass
class ModelServer:
    """A server of OpenAI's API.

    Attributes:
        url: Its base URL.
        value: What it lists: a JSON value, or bytes.
        status: The HTTP status of the list.
        headers: The headers of its answers.
        asked: The requests for the list.
        chats: The requests for completions.
        leaves: Is set when a request for the list was cancelled.
        hold: The list does not come while this is cleared.
    """

    url: str = ""
    value: Any = field(default_factory=listing)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[web.BaseRequest] = field(default_factory=list)
    chats: list[web.BaseRequest] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers any request."""
        how: Callable[..., web.Response] = web.Response
        if request.method == "POST":
            self.chats.append(request)
            body = json.dumps(completion(choice("pong"))).encode()
            return how(body=body, headers=self.headers, content_type="application/json")
        self.asked.append(request)
        self.came.set()
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.leaves.set()
            raise
        value = self.value
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return how(
            status=self.status, body=body, headers=self.headers, content_type="application/json"
        )


@asynccontextmanager
async def model_server(*models: Any) -> AsyncIterator[ModelServer]:
    """A server that lists some models."""
    server = ModelServer(value=listing(*models))
    server.hold.set()
    runner = web.ServerRunner(web.Server(server.answer, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        server.hold.set()
        await runner.cleanup()
