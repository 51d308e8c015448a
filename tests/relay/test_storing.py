"""Storing: a completion is in the store before its caller has the last byte of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from chatpb import to_dict
from chatpb_server.core.keeping import RECORD_HEADER
from chatpb_server.running.serving import Options
from support.build import COMPLETION, PING, chunk, create_request, error_object, stream_request
from support.http_upstream import CLOSE, WAIT, HttpUpstream, json_answer, sse_answer
from support.limits import TIMEOUT, within
from support.rpc_http import CONNECT, GRPC_WEB
from support.rpc_http import call as rpc
from support.storing import CHUNKS, COMMENT, DONE, FOLDED, KINDS, STORE, answers, relay

ASKED = PING | STORE
HIDDEN = {"headers": {RECORD_HEADER: "none"}}

over_both = pytest.mark.parametrize("edge", ["grpc", "http"])
# The store is that of the only relay, or of a core behind an edge.
through = pytest.mark.parametrize("hops", [1, 2], ids=["relay", "edge and core"])


@through
async def test_what_is_stored(hops: int) -> None:
    metadata = {"team": "a", "ü": ""}
    async with HttpUpstream() as upstream, relay(upstream.url, hops) as client:
        for edge, stream in KINDS:
            client.store.rows.clear()
            await answers(upstream, stream)
            saw = await client.call(edge, stream=stream, **STORE, metadata=metadata)
            [record] = client.store.records
            [((caller, name), row)] = client.store.rows.items()
            expected = FOLDED if stream else COMPLETION
            assert (CHUNKS if stream else [COMPLETION]) == saw.values
            assert expected == to_dict(record.completion)
            asked = ASKED | {"metadata": metadata} | ({"stream": True} if stream else {})
            assert asked == to_dict(record.request)
            assert ("", expected["id"], "m", 1) == (caller, name, row.model, row.created)
            assert (expected["id"], metadata) == (row.id, row.metadata)
            assert (0, 200, "up") == (record.status, record.http_status, record.upstream)
            assert 0 < record.duration_us < TIMEOUT * 1_000_000
            assert not record.chunks
            assert not saw.is_unstored
    assert ["stored"] * 4 == client.outcomes


@pytest.mark.parametrize(
    ("members", "rules", "count"),
    [
        pytest.param({}, {}, 0, id="not asked for"),
        pytest.param({"store": False}, {}, 0, id="refused"),
        pytest.param({"store": None}, {}, 0, id="null"),
        pytest.param({}, {"all": True}, 4, id="all"),
        pytest.param({"store": False}, {"all": True}, 0, id="all but this"),
        pytest.param(HIDDEN, {"all": True}, 0, id="not to be recorded"),
    ],
)
async def test_which_are_stored(members: Any, rules: Any, count: int) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, **rules) as client:
        for edge, stream in KINDS:
            await answers(upstream, stream)
            saw = await client.call(edge, stream=stream, **members)
            assert not saw.is_unstored
    assert ["stored"] * count == client.outcomes
    assert min(count, 2) == len(client.store.rows)  # the upstream has the same ids for both edges


async def test_the_last_byte_waits_for_the_store() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        for edge, stream in KINDS:
            client.store.rows.clear()
            client.store.open.clear()
            client.store.waiting.clear()
            await answers(upstream, stream)
            calling = asyncio.ensure_future(client.call(edge, stream=stream, **STORE))
            await within(client.store.waiting.wait())
            assert not calling.done()
            client.store.open.set()
            saw = await calling
            assert 1 == len(client.store.rows)
            assert not saw.is_unstored


async def test_chunks_do_not_wait() -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url) as client,
        aiohttp.ClientSession() as session,
    ):
        await upstream.answer(
            sse_answer(CHUNKS[0], CHUNKS[1], b"data: [DO", WAIT, b"NE]\n\n", done=False)
        )
        client.store.open.clear()
        async with session.post(client.url, json=ASKED | {"stream": True}) as answer:
            came = b""
            while came.count(b"\n\n") < 2:
                came += await within(answer.content.readany())
            await upstream.next("waiting")
            assert b"[DO" not in came
            await upstream.go()
            await within(client.store.waiting.wait())
            assert b"" == answer.content.read_nowait()
            client.store.open.set()
            assert DONE == await within(answer.content.read())


@through
async def test_a_store_that_fails(hops: int) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, hops) as client:
        for edge, stream in KINDS:
            await answers(upstream, stream)
            client.store.failures = 1
            saw = await client.call(edge, stream=stream, **STORE)
            assert saw.is_ok
            assert (CHUNKS if stream else [COMPLETION]) == saw.values
            assert saw.is_unstored
            if stream and edge == "http":
                assert saw.text.endswith(b"\n\n" + COMMENT + DONE)
                assert 1 == saw.text.count(COMMENT)
    assert ["failed", "failed", "failed", "paused"] == client.outcomes


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param([b"data: [DONE]\r\n\r\n"], b"\r\n\r\n" + COMMENT + b"data: [DONE]", id="cr"),
        pytest.param(
            [b"event: end\ndata: [DONE]\n\n"],
            b"event: end\n" + COMMENT[:-1] + b"data: [DONE]",
            id="in an event",
        ),
        pytest.param([b"da", WAIT, b"ta:[DONE]\n\n"], COMMENT + b"data:[DONE]", id="split"),
        pytest.param([], b"\n\n" + COMMENT, id="no end"),
    ],
)
async def test_where_an_event_stream_says_so(pieces: list[Any], expected: bytes) -> None:
    steps = [*pieces]
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        events = [chunk("a"), chunk("b", "stop")]
        if pieces[:1] == [b"data: [DONE]\r\n\r\n"]:
            steps = [b"data: %s\r\n\r\n" % json.dumps(chunk("c")).encode(), *steps]
        await upstream.answer(sse_answer(*events, *steps, done=False))
        client.store.failures = 1
        calling = asyncio.ensure_future(client.call("http", stream=True, **STORE))
        if WAIT in pieces:
            await upstream.next("waiting")
            await upstream.go()
        saw = await calling
    assert expected in saw.text
    assert 1 == saw.text.count(COMMENT[:-1])


@over_both
async def test_a_stream_that_breaks_off_is_not_stored(edge: str) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(chunk("a"), CLOSE))
        saw = await client.call(edge, stream=True, **STORE)
    assert not saw.is_ok
    assert ({}, []) == (client.store.rows, client.outcomes)


async def test_the_other_protocols_of_rpcs_say_so_too() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        url = client.url.removesuffix("/v1/chat/completions")
        for kind in ("application/proto", CONNECT, GRPC_WEB):
            client.store.failures = 1
            await answers(upstream, kind == CONNECT)
            ask = stream_request if kind == CONNECT else create_request
            answer, _ = await rpc(url, ask(**STORE), kind)
            if kind == CONNECT:
                said = answer.end["metadata"]["chatpb-stored"]
            elif kind == GRPC_WEB:
                said = [answer.trailers["chatpb-stored"]]
            else:
                said = [answer.headers["trailer-chatpb-stored"]]
            assert ["false"] == said


async def test_a_long_stream() -> None:
    tokens = [chunk(f"{number} ") for number in range(2000)]
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(*tokens, chunk(None, "stop"), writes="whole"))
        saw = await client.call("http", stream=True, **STORE)
    assert not saw.is_unstored
    [record] = client.store.records
    text = record.completion.choices[0].message.content
    assert "".join(f"{number} " for number in range(2000)) == text


async def test_rows_belong_to_their_callers() -> None:
    options = Options(authenticate=lambda call, _: call.metadata["x-name"])
    async with HttpUpstream() as upstream, relay(upstream.url, options=options) as client:
        for edge, name in (("grpc", "alice"), ("http", "bob")):
            await answers(upstream, False)
            await client.call(edge, stream=False, headers={"x-name": name}, **STORE)
    assert [("alice", COMPLETION["id"]), ("bob", COMPLETION["id"])] == [*client.store.rows]
    assert ["alice", "bob"] == [record.caller for record in client.store.records]


async def test_an_error_is_not_stored() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        for edge, stream in KINDS:
            await upstream.answer(json_answer(error_object("no"), status=429))
            saw = await client.call(edge, stream=stream, **STORE)
            assert not saw.is_ok
            assert not saw.is_unstored
    assert ({}, []) == (client.store.rows, client.outcomes)


async def test_a_caller_who_went_gets_nothing_stored() -> None:
    async with HttpUpstream() as upstream, relay(upstream.url) as client:
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b", "stop")))
        call = client.stub.StreamChatCompletion(stream_request(**STORE), timeout=TIMEOUT)
        await within(call.read())
        await upstream.next("waiting")
        call.cancel()
        await upstream.next("closed")
    assert ({}, []) == (client.store.rows, client.outcomes)
