"""Calls of the upstream that is built in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatpb.sse import DONE, Decoder
from chatpb_server.core.upstream import RequestBody, UpstreamError, UpstreamRequest
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream

HELLO = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "days", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
SHELL = {"type": "custom", "custom": {"name": "shell"}}
CALLED = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


def request(**members: Any) -> UpstreamRequest:
    text = json.dumps({"model": "m", "messages": [HELLO], **members}).encode()
    return UpstreamRequest(RequestBody(text=text))


async def create(**members: Any) -> Any:
    """The completion of a request."""
    answer = await BuiltinUpstream(lambda: 1700000000.9).create(request(**members))
    assert answer.text is not None
    return json.loads(answer.text)


async def chunks(**members: Any) -> list[Any]:
    """The chunks of a streamed request."""
    upstream = BuiltinUpstream(lambda: 1700000000.9)
    async with upstream.stream(request(**members, stream=True)) as stream:
        pieces = [arrived.text or b"" async for arrived in stream.chunks]
    events = [event for piece in pieces for event in Decoder().feed(piece)]
    assert DONE == events.pop().data
    return [json.loads(event.data) for event in events]


async def choice(**members: Any) -> Any:
    """The only choice of the completion of a request."""
    [only] = (await create(**members))["choices"]
    return only


async def text(**members: Any) -> str:
    """The content of the only choice."""
    content = (await choice(**members))["message"]["content"]
    assert isinstance(content, str)
    return content


async def refused(**members: Any) -> Any:
    """The error object that refuses a request."""
    with pytest.raises(UpstreamError) as caught:
        await BuiltinUpstream().create(request(**members))
    assert 400 == caught.value.http_status
    body = json.loads(caught.value.body)
    assert ["error"] == list(body)
    return body["error"]
