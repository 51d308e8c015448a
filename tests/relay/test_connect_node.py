"""The Connect packages for Node and for web pages, in front of the relay; `make test-node`."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

import chatpb.v1
from chatpb import from_dict
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ErrorResponse
from support.build import chunk
from support.http_edge import HEADERS, base_url, completion, through
from support.http_upstream import HANG, HttpUpstream, json_answer, raw, sse_answer
from support.relay_process import finish

NODE = Path(__file__).parents[1] / "polyglot" / "node"
SCHEMA = Path(chatpb.v1.__file__).with_name("descriptor_set.binpb")
ERROR = {"error": {"message": "Slow down, 東京", "type": "requests", "param": None, "code": "x"}}
CHUNKS = [chunk("a"), chunk("b"), chunk("", finish_reason="stop")]


async def node(url: str) -> dict[str, Any]:
    """What each of the packages gives."""
    process = await asyncio.create_subprocess_exec(
        *("node", NODE / "connect.mjs", url.removesuffix("/v1"), SCHEMA), stdout=PIPE, stderr=PIPE
    )
    code, output, errors = await finish(process)
    assert (0, "") == (code, errors)
    results: dict[str, Any] = json.loads(output)
    return results


@pytest.mark.skipif(not (NODE / "node_modules").exists(), reason="make test-node has not been run")
@through
async def test_node(hops: int) -> None:
    async with HttpUpstream() as upstream, base_url(upstream.url, hops) as url:
        for model, answer in (
            ("unary", json_answer(completion(), headers=HEADERS)),
            ("stream", sse_answer(*CHUNKS)),
            ("error", json_answer(ERROR, status=429)),
            ("hang", raw(HANG)),
        ):
            await upstream.answer(answer, model=model, always=True)
        results = await node(url)
    assert 10 == len(results)
    failed = {
        "code": 8,
        "message": "Slow down, 東京",
        "error": json_format.MessageToDict(from_dict(ERROR, ErrorResponse)),
        "status": "429",
    }
    for name, result in results.items():
        whole = json_format.ParseDict(result["unary"]["completion"], ChatCompletion())
        assert from_dict(completion(), ChatCompletion) == whole, name
        chunks = [json_format.ParseDict(one, ChatCompletionChunk()) for one in result["stream"]]
        assert [from_dict(one, ChatCompletionChunk) for one in CHUNKS] == chunks, name
        assert "req_1" == result["requestId"], name
        assert failed == result["unaryError"]["failed"] == result["streamError"]["failed"], name
        assert 4 == result["late"]["failed"]["code"], name
