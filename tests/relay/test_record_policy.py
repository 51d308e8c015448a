"""How much is recorded: by caller, by model, and by the wish of the caller."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from pydantic import ValidationError

from chatpb import to_dict
from chatpb.v1 import completion_record_pb2
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.core.call import Call
from chatpb_server.core.keeping import KEEPS, RECORD_HEADER, least, wished
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.relay import GrpcUpstream
from chatpb_server.watching.record_policy import RecordPolicy
from support.build import COMPLETION, PING, chunk
from support.http_upstream import HttpUpstream, json_answer, sse_answer
from support.recording import EDGES, ERROR, over_both, records, relay

METADATA = RecordPolicy(keep="metadata")
NONE = RecordPolicy(keep="none")
SECRET = "violet-canary"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": SECRET}], "user": SECRET}


def policy(keep: str = "all", *rules: dict[str, str]) -> RecordPolicy:
    return RecordPolicy.model_validate({"keep": keep, "rules": rules}, strict=False)


def header(*values: str) -> list[tuple[str, str]]:
    return [(RECORD_HEADER, value) for value in values]


@pytest.mark.parametrize(
    ("caller", "model", "keep"),
    [
        ("alice", "m", "metadata"),
        ("audit", "m", "all"),
        ("batch-1", "m", "none"),
        ("batch-1", "open-7b", "all"),
        ("alice", "secret-1", "none"),
        ("audit", "secret-1", "all"),  # the first rule that matches counts
        ("", "open-7b", "metadata"),
        ("alice", "", "none"),  # as long as the model is not known
        ("audit", "", "all"),
    ],
)
def test_the_first_rule_that_matches_counts(caller: str, model: str, keep: str) -> None:
    rules = policy(
        "metadata",
        {"caller": "audit", "keep": "all"},
        {"caller": "batch-*", "model": "open-*", "keep": "all"},
        {"caller": "batch-*", "keep": "none"},
        {"model": "secret-*", "keep": "none"},
    )
    assert keep == rules.keep_of(Call("", caller=caller, model=model))


@pytest.mark.parametrize("rule", [{}, {"caller": "a"}, {"keep": "some"}, {"keep": "all", "x": "y"}])
def test_rules_that_are_refused(rule: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        policy("all", rule)


@pytest.mark.parametrize(("wish", "keep"), list(itertools.product(KEEPS, KEEPS)))
def test_a_caller_can_ask_for_less_alone(wish: Any, keep: Any) -> None:
    assert least(wish, keep) == RecordPolicy(keep=keep).keep_of(Call("", wish=wish))


@pytest.mark.parametrize(
    ("values", "wish"),
    [
        ([], "all"),
        (["all"], "all"),
        ([" Metadata "], "metadata"),
        ([b"none"], "none"),
        (["none", "all"], "none"),
        (["all, metadata"], "metadata"),
        (["no"], "none"),
        ([""], "none"),
        ([b"\xff"], "none"),
    ],
)
def test_wishes(values: list[str | bytes], wish: str) -> None:
    assert wish == wished([("a", "none"), *((RECORD_HEADER, value) for value in values)])


def read_reduced(directory: Path) -> CompletionRecord:
    """The record of a directory, kept as metadata."""
    [record] = records(directory)
    assert completion_record_pb2.RECORD_KEPT_METADATA == record.kept
    for path in directory.iterdir():
        assert SECRET.encode() not in path.read_bytes()
    assert SECRET.encode() not in record.SerializeToString()
    return record


@over_both
async def test_the_metadata_of_a_completion(edge: str, tmp_path: Path) -> None:
    answer = {**COMPLETION, "unknown": SECRET}
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, policy=METADATA) as client:
        await upstream.answer(json_answer(answer))
        saw = await client.call(edge, stream=False, temperature=0.5, **ASKED)
        assert answer == saw.completion
    record = read_reduced(tmp_path)
    messages = [{"role": "user", "content": []}]
    assert {"model": "m", "messages": messages, "temperature": 0.5} == to_dict(record.request)
    kept = to_dict(record.completion)
    for name in ("id", "model", "created", "usage"):
        assert COMPLETION.get(name) == kept.get(name)
    assert ["stop"] == [each["finish_reason"] for each in kept["choices"]]
    assert (0, 200, "up") == (record.status, record.http_status, record.upstream)
    assert record.request_bytes > len(SECRET) * 2
    assert record.answer_bytes > len(SECRET)
    assert record.duration_us > 0
    assert ["metadata"] == client.kept


@over_both
async def test_the_metadata_of_a_stream(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, policy=METADATA) as client:
        await upstream.answer(sse_answer(chunk(SECRET), chunk("b"), chunk("c", "stop")))
        await client.call(edge, stream=True, **ASKED)
    record = read_reduced(tmp_path)
    assert 3 == len(record.chunks) == len(record.chunk_times_us)
    assert [None, None, "stop"] == [
        to_dict(part)["choices"][0]["finish_reason"] for part in record.chunks
    ]
    assert record.answer_bytes > 3 * 10 + len(SECRET)


@over_both
async def test_the_metadata_of_an_error(edge: str, tmp_path: Path) -> None:
    error = {"error": {**ERROR["error"], "message": f"cannot take {SECRET}", "param": SECRET}}
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, policy=METADATA) as client:
        await upstream.answer(json_answer(error, status=429))
        await client.call(edge, stream=False, **ASKED)
    record = read_reduced(tmp_path)
    assert (429, "c") == (record.http_status, record.error.error.code)
    assert not record.HasField("answer_bytes")


@over_both
async def test_nothing_is_recorded(edge: str, tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, policy=NONE) as client:
        await upstream.answer(json_answer(COMPLETION))
        assert COMPLETION == (await client.call(edge, stream=False, **ASKED)).completion
        assert 0 == client.recorder.held
    assert [] == records(tmp_path)
    assert ["none"] == client.kept


@over_both
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_a_caller_asks_for_less(edge: str, stream: bool, tmp_path: Path) -> None:
    answer = sse_answer(chunk("a", "stop")) if stream else json_answer(COMPLETION)
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        for values in (["metadata"], ["none"], ["none", "all"], ["all"], []):
            await upstream.answer(answer)
            await client.call(edge, stream=stream, headers=header(*values), **ASKED)
    assert ["all", "all", "metadata", "none", "none"] == sorted(client.kept)
    assert 3 == len(records(tmp_path))


async def test_rules_know_the_model(tmp_path: Path) -> None:
    rules = policy("all", {"model": "secret-*", "keep": "none"})
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path, policy=rules) as client:
        for edge in EDGES:
            for model in ("m", "secret-1"):
                await upstream.answer(json_answer(COMPLETION))
                await client.call(edge, stream=False, model=model)
    assert [PING | {"model": "m"}] * 2 == [to_dict(each.request) for each in records(tmp_path)]


async def test_a_changed_policy_counts_for_running_calls_if_it_keeps_less(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        for now, new in ((NONE, RecordPolicy()), (RecordPolicy(), NONE)):
            client.recorder.policy = now
            exchange = client.recorder.begin(Call(""))
            exchange.asked(b"")
            client.recorder.policy = new
            await exchange.end(StatusCode.OK, None)
    assert [] == records(tmp_path)


@over_both
@pytest.mark.parametrize("through", ["grpc", "http"])
async def test_the_wish_goes_from_relay_to_relay(edge: str, through: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path / "core") as core,
    ):
        port = core.grpc_port
        inner: Any = (
            GrpcUpstream(f"grpc://127.0.0.1:{port}")
            if through == "grpc"
            else Http(core.url.removesuffix("/chat/completions"))
        )
        async with relay("", tmp_path / "edge", upstream=inner) as outer:
            for values in (["none"], ["metadata"], []):
                await upstream.answer(json_answer(COMPLETION))
                await outer.call(edge, stream=False, headers=header(*values))
                request = await upstream.next_request()
                sent = [request.headers[name] for name in request.headers if name == RECORD_HEADER]
                assert values == sent
    assert ["all", "metadata", "none"] == sorted(core.kept) == sorted(outer.kept)
