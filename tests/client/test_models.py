"""Models, as the clients list them."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from chatpb import to_dict
from chatpb.client import ChatCompletionError
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import Route, Router
from support.chat_server import Server
from support.limits import within
from support.model_server import OPENROUTER, VLLM, listing, model_server


async def test_models(connect: Any) -> None:
    async with model_server(VLLM, OPENROUTER) as server:
        router = Router([Route("a", Http(server.url))])
        async with (
            serving(router, options=Options(models=None)) as port,
            connect(f"127.0.0.1:{port}") as client,
        ):
            assert listing(VLLM, OPENROUTER) == to_dict(await within(client.list_models()))
            assert VLLM == to_dict(await within(client.get_model("meta/llama", timeout=5)))
            with pytest.raises(ChatCompletionError) as caught:
                await within(client.get_model("no", metadata=(("x-a", "b"),)))
    error = caught.value
    assert (StatusCode.NOT_FOUND, "The model 'no' does not exist") == (error.code, error.message)
    assert error.error is not None
    assert "model_not_found" == error.error.code


async def test_a_server_without_models(connect: Any, server: Server) -> None:
    async with connect(server.address) as client:
        with pytest.raises(ChatCompletionError) as caught:
            await within(client.list_models())
    assert StatusCode.UNIMPLEMENTED == caught.value.code
