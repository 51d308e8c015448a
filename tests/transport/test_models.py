"""``models.list()`` and ``models.retrieve()`` of OpenAI's SDK, over gRPC."""

from __future__ import annotations

import httpx2
import openai
import pytest

from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import Route, Router
from support.model_server import OPENROUTER, VLLM, model_server
from support.sdk import Sdk, grpc_transport, pair


async def test_models(is_async: bool) -> None:
    async with model_server(VLLM, OPENROUTER) as server:
        router = Router([Route("a", Http(server.url))])
        async with (
            serving(router, options=Options(models=None)) as port,
            pair(is_async, server.url, f"127.0.0.1:{port}") as (direct, through),
        ):
            pages = [
                await sdk.run(lambda client: client.models.list()) for sdk in (direct, through)
            ]
            assert [["meta/llama", "openai/gpt-4o:free"]] * 2 == [
                [model.id for model in page.data] for page in pages
            ]
            assert pages[0].to_dict() == pages[1].to_dict()
            model = await through.run(lambda client: client.models.retrieve(OPENROUTER["id"]))
            assert OPENROUTER == model.to_dict()
            with pytest.raises(openai.NotFoundError) as caught:
                await through.run(lambda client: client.models.retrieve("no/model"))
    assert "model_not_found" == caught.value.code
    assert "The model 'no/model' does not exist" in caught.value.message


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/models/ft:x"), ("POST", "/models"), ("GET", "/modelsx"), ("GET", "/my-models/x")],
)
async def test_what_is_not_about_models(is_async: bool, method: str, path: str) -> None:
    async with Sdk(is_async, grpc_transport(is_async, "127.0.0.1:1")) as sdk:
        with pytest.raises(openai.NotFoundError):
            await sdk.run(
                lambda client: getattr(client, method.lower())(path, cast_to=httpx2.Response)
            )
