"""The relay in front of llama.cpp with a real model: what it sends arrives unchanged."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
from grpc import StatusCode, aio

import chatpb
from chatpb import to_json
from chatpb.log import read
from chatpb.sse import DONE, Decoder
from chatpb.table import Dataset
from chatpb.v1 import ChatCompletion, ChatCompletionChunk
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.error_pb2 import ErrorResponse
from relay.test_http_edge_process import running
from support.build import PING, create_request, stream_request
from support.calls import OWN_CONNECTION
from support.command_line import run
from support.equality import exact, tagged
from support.http_edge import posting
from support.http_relay import details
from support.limits import TIMEOUT, within
from support.llama import VARIABLE, Exchange, Llama, Tee, folder, serving
from support.relay_process import finish

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        folder() is None,
        reason=f"{VARIABLE} names no environment with llama.cpp: make test-llama",
    ),
]

#: What llama.cpp sends that has no typed field, and what of OpenAI's it leaves out: the state of
#: the member, and its path. There is nothing else.
RESIDUE: Final = {
    ("absent", "$.choices[].logprobs"),
    ("absent", "$.choices[].logprobs.refusal"),
    ("absent", "$.choices[].message.annotations"),
    ("absent", "$.choices[].message.refusal"),
    ("absent", "$.usage.prompt_tokens_details.audio_tokens"),
    ("extra", "$.__verbose"),
    ("extra", "$.prompt_progress"),
    ("null", "$.choices[].delta.content"),
}
LOGPROBS: Final = {"logprobs": True, "top_logprobs": 20, "max_tokens": 6}
CALL: Final = {
    "id": "c",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
}
TOOLS: Final = {
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"enum": ["Paris", "Rome"]}},
                    "required": ["city"],
                },
            },
        }
    ],
    "tool_choice": "required",
    # The model is too small to follow a description, but it repeats what it sees.
    "messages": [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        {"role": "user", "content": "Weather in Paris?"},
    ],
    "max_tokens": 40,
    "temperature": 0,
}
SCHEMA: Final = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2]}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
#: The members of the requests; the rest of each is PING.
CASES: Final[dict[str, dict[str, Any]]] = {
    "plain": {"max_tokens": 8},
    "logprobs": LOGPROBS,
    "tools": TOOLS,
    "schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "p", "schema": SCHEMA, "strict": True},
        },
        "max_tokens": 40,
        "temperature": 0,
    },
    "three": {"n": 3, "max_tokens": 3},
    "usage": {"stream_options": {"include_usage": True}, "max_tokens": 2},
    "text beyond ASCII": {"grammar": r'root ::= "🏳️‍🌈" "𓃀" "é\"\\"', **LOGPROBS, "max_tokens": 40},
    "members of llama.cpp": {
        "timings_per_token": True,
        "return_progress": True,
        "n_probs": 3,
        "verbose": True,
        "min_p": 0.05,
        "max_tokens": 3,
    },
}
ERRORS: Final[dict[str, dict[str, Any]]] = {
    "grammar": {"grammar": "root ::= (", "max_tokens": 1},
    "too long": {"messages": [{"role": "user", "content": "a b c " * 1000}], "max_tokens": 1},
    "choices": {"n": 99, "max_tokens": 1},
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}],
            }
        ],
        "max_tokens": 1,
    },
}
#: More tokens than a call that ends early generates, and fewer than the model has room for.
MANY: Final = {"max_tokens": 1500, "ignore_eos": True}
#: Seconds: an unary call that nobody waits for ends only if nothing else is asked for a second.
PATIENCE: Final = 2.5

over_both = pytest.mark.parametrize("edge", ["grpc", "http"])
both_calls = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])


class Saw(NamedTuple):
    """What a caller received: JSON texts, and the text of an error."""

    documents: list[bytes]
    error: bytes = b""
    status: StatusCode | int = StatusCode.OK


class Session:
    """A relay between a tee and callers.

    Attributes:
        llama: The model's server.
        tee: What lies between the relay and that server.
    """

    def __init__(self, llama: Llama, tee: Tee, channel: aio.Channel, url: str) -> None:
        self.llama = llama
        self.tee = tee
        self.stub: Any = ChatCompletionServiceStub(channel)
        self._url = url
        self._found: dict[str, tuple[Saw, Exchange]] = {}

    async def call(self, edge: str, stream: bool, **members: Any) -> tuple[Saw, Exchange]:
        """Calls, unless that was called before: what came out, and what llama.cpp sent."""
        key = json.dumps([edge, stream, members])
        if key not in self._found:
            ask = self._over_http if edge == "http" else self._over_grpc
            saw = await within(ask(stream, members))
            self._found[key] = saw, self.tee.exchanges[-1]
        return self._found[key]

    def start(self, edge: str, stream: bool, members: dict[str, Any]) -> Callable[[], None]:
        """Starts a call; returns what the caller does to leave."""
        if edge == "http":
            task = asyncio.ensure_future(self._over_http(stream, members))
            return task.cancel  # type: ignore[return-value]
        if stream:
            call = self.stub.StreamChatCompletion(stream_request(**members), timeout=TIMEOUT)
        else:
            call = self.stub.CreateChatCompletion(create_request(**members), timeout=TIMEOUT)
        return call.cancel  # type: ignore[no-any-return]

    async def _over_http(self, stream: bool, members: dict[str, Any]) -> Saw:
        body = {**PING, **members, **({"stream": True} if stream else {})}
        async with posting(self._url, body) as response:
            data = await response.read()
        if response.status != 200:
            return Saw([], data, response.status)
        if not stream:
            return Saw([data])
        decoder = Decoder()
        events = [event.data for event in (*decoder.feed(data), *decoder.close())]
        assert DONE == events.pop()
        return Saw(events)

    async def _over_grpc(self, stream: bool, members: dict[str, Any]) -> Saw:
        found: list[bytes] = []
        try:
            if not stream:
                request = create_request(**members)
                response = await self.stub.CreateChatCompletion(request, timeout=TIMEOUT)
                return Saw([to_json(response.completion)])
            asked = stream_request(**members)
            async for part in self.stub.StreamChatCompletion(asked, timeout=TIMEOUT):
                found += [to_json(chunk) for chunk in part.chunks]
            return Saw(found)
        except aio.AioRpcError as error:
            text = to_json(details(error)[ErrorResponse])
            return Saw(found, text, error.code())


@pytest.fixture(scope="module")
def llama() -> Iterator[Llama]:
    environment = folder()
    assert environment is not None
    with serving(environment) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(llama: Llama) -> AsyncIterator[Session]:
    async with (
        Tee().serving(llama.url) as tee,
        running("--upstream", tee.url) as (_, address, url),
        aio.insecure_channel(address, OWN_CONNECTION) as channel,
    ):
        yield Session(llama, tee, channel, url)


@over_both
@both_calls
@pytest.mark.parametrize("case", CASES)
async def test_what_is_sent_arrives(session: Session, case: str, stream: bool, edge: str) -> None:
    saw, sent = await session.call(edge, stream, **CASES[case])
    expected = {**PING, **CASES[case], **({"stream": True} if stream else {})}
    assert tagged(expected) == exact(sent.request)
    assert (200, b"") == (sent.status, saw.error)
    assert sent.values == [exact(document) for document in saw.documents]
    assert len(sent.values) > stream  # a stream has several chunks


@over_both
@both_calls
@pytest.mark.parametrize("case", ERRORS)
async def test_errors_arrive(session: Session, case: str, stream: bool, edge: str) -> None:
    saw, sent = await session.call(edge, stream, **ERRORS[case])
    assert [] == saw.documents
    assert sent.values == [exact(saw.error)]
    if edge == "http":
        assert (sent.status, bytes(sent.body)) == (saw.status, saw.error)
    else:
        codes = {400: StatusCode.INVALID_ARGUMENT, 500: StatusCode.INTERNAL}
        assert codes[sent.status] == saw.status


async def test_the_cases_have_what_they_are_for(session: Session) -> None:
    """The model is small, but grammars hold it to what was asked for."""
    answers = {}
    for case, members in CASES.items():
        saw, _ = await session.call("grpc", False, **members)
        answers[case] = json.loads(saw.documents[0])
    tokens = answers["logprobs"]["choices"][0]["logprobs"]["content"]
    assert [20] * 6 == [len(token["top_logprobs"]) for token in tokens]
    [call] = answers["tools"]["choices"][0]["message"]["tool_calls"]
    assert "get_weather" == call["function"]["name"]
    assert ["city"] == list(json.loads(call["function"]["arguments"]))
    assert {"a", "b"} == set(json.loads(answers["schema"]["choices"][0]["message"]["content"]))
    assert [0, 1, 2] == [choice["index"] for choice in answers["three"]["choices"]]


async def test_residue(session: Session) -> None:
    found = set()
    for members in CASES.values():
        for stream in (False, True):
            saw, _ = await session.call("grpc", stream, **members)
            kind = ChatCompletionChunk if stream else ChatCompletion
            for text in saw.documents:
                residue = chatpb.residue(chatpb.from_json(text, kind))
                found |= {(item.state, re.sub(r"\[\d+\]", "[]", item.path)) for item in residue}
    assert RESIDUE == found


@over_both
@both_calls
async def test_a_caller_that_leaves_stops_the_model(
    session: Session, stream: bool, edge: str
) -> None:
    llama = session.llama
    assert await asyncio.to_thread(llama.is_idle)
    before = await asyncio.to_thread(llama.decoded)
    leave = session.start(edge, stream, MANY)
    async with asyncio.timeout(TIMEOUT):
        while await asyncio.to_thread(llama.decoded) < before + 5:
            await asyncio.sleep(0.05)
        leave()
        # llama.cpp has no event for it, and looks after an unary call only while it is left alone.
        await asyncio.sleep(PATIENCE)
        while not await asyncio.to_thread(llama.is_idle):
            await asyncio.sleep(PATIENCE)
    assert session.tee.exchanges[-1].is_left
    assert await asyncio.to_thread(llama.decoded) - before < MANY["max_tokens"] / 2


async def test_a_recorded_session(llama: Llama, tmp_path: Path) -> None:
    """From the relay's log to a table, to SQL, and back to JSON."""
    log, table = tmp_path / "log", tmp_path / "table"
    flags = ("--record", log, "--record-label", "run=llama")
    async with (
        Tee().serving(llama.url) as tee,
        running("--upstream", tee.url, *flags) as (process, address, url),
        aio.insecure_channel(address, OWN_CONNECTION) as channel,
    ):
        session = Session(llama, tee, channel, url)
        await session.call("grpc", False, **LOGPROBS)
        await session.call("http", True, **LOGPROBS, stream_options={"include_usage": True})
        await session.call("http", False, **TOOLS)
        await session.call("grpc", True, **ERRORS["grammar"])
        process.send_signal(signal.SIGTERM)
        assert 0 == (await finish(process))[0]
    unary, stream, tools, error = tee.exchanges
    records = [entry.record for entry in read(log)]
    asked = [exact(each.request) for each in tee.exchanges]
    del asked[3]["stream"]  # over gRPC the method says it
    assert asked == [exact(to_json(record.request)) for record in records]
    assert unary.values == [exact(to_json(records[0].completion))]
    assert stream.values == [exact(to_json(chunk)) for chunk in records[1].chunks]
    assert tools.values == [exact(to_json(records[2].completion))]
    assert error.values == [exact(to_json(records[3].error))]

    result = run("compact", log, table)
    assert 0 == result.exit_code, result.output
    printed = run("cat", "--chunks", table).stdout.splitlines()
    assert unary.values + stream.values + tools.values == [exact(line) for line in printed]
    printed = run("cat", "--what", "error", table).stdout.splitlines()
    assert error.values == [exact(line) for line in printed]

    answers = [json.loads(each.documents[-1]) for each in (unary, stream, tools)]
    totals = [answer["usage"]["total_tokens"] for answer in answers]
    failure = json.loads(error.documents[0])["error"]["message"]
    assert [("gemma-3-270m", 3, sum(totals)), (None, 1, None)] == sql(
        table,
        "SELECT model, count(*), sum(total_tokens)::BIGINT FROM exchanges"
        " GROUP BY model ORDER BY model",
    )
    # The token itself is not stored twice: its rank says where it was among the alternatives.
    alternatives = "len(logprobs[1].top_logprobs) + (logprobs[1].rank IS NOT NULL)::INT"
    assert [(6, 20), (6, 20)] == sql(
        table, f"SELECT len(logprobs), {alternatives} FROM records WHERE len(logprobs) > 0"
    )
    assert [("get_weather",)] == sql(table, "SELECT name FROM tool_calls WHERE choice IS NOT NULL")
    assert [(failure, "llama")] == sql(table, "SELECT error_message, labels['run'] FROM errors")


def sql(table: Path, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query of a table."""
    with Dataset(table).sql() as connection:
        return connection.execute(statement).fetchall()
