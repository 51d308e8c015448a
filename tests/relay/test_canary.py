"""No byte of a log tells what was asked, if only metadata, redacted texts or nothing is kept."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from chatpb.log import read
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.core.keeping import RECORD_HEADER
from chatpb_server.watching.record_limits import RecordLimits
from chatpb_server.watching.record_policy import RecordPolicy
from chatpb_server.watching.redacting import Redaction, Spec
from support.build import USAGE, choice, chunk, completion, stream_request
from support.http_upstream import HANG, HttpUpstream, json_answer, sse_answer
from support.limits import SOAK, TIMEOUT, within
from support.recording import EDGES, KeptRedaction, Relay, relay
from support.relay_process import Upstream, finish, running

#: Pieces of three letters are found too: no other word has two of these letters.
CANARY = "qxjzqxjzqxjz@qxjz.example"
FORMS = [b"qx", b"xj", b"jz", b"zq", base64.b64encode(CANARY.encode())[:-4]]
LEVELS = ["metadata", "none", "redacted"]


@pytest.fixture(scope="module")
def patterns() -> Iterator[Redaction]:
    redaction = KeptRedaction(Spec("patterns"), TIMEOUT)
    yield redaction
    redaction.end()


@pytest.fixture
def redaction(level: str, patterns: Redaction) -> Redaction | None:
    return patterns if level == "redacted" else None


def policy(level: str) -> RecordPolicy:
    return RecordPolicy.model_validate({"keep": "all" if level == "redacted" else level})


def assert_clean(directory: Path, count: int) -> None:
    """Looks at every byte of all files, as they are and decompressed."""
    for path in directory.rglob("*"):
        data = path.read_bytes()
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            plain = reader.read()
        assert plain
        for form in FORMS:
            at = plain.find(form)
            assert at < 0, plain[max(0, at - 60) : at + 60]
        assert FORMS[-1] not in data
    assert count == len(list(read(directory)))


def pieces(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def tool_call(**members: Any) -> dict[str, Any]:
    return {"index": 0, "id": "call", "type": "function", "function": members}


URL = f"data:text/plain;base64,{base64.b64encode(CANARY.encode()).decode()}"
ASKED: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": f"I am {CANARY}"},
        {
            "role": "user",
            "name": CANARY,
            "content": [
                {"type": "text", "text": CANARY},
                {"type": "image_url", "image_url": {"url": URL}},
            ],
        },
        {"role": "assistant", "tool_calls": [tool_call(name="f", arguments=f'["{CANARY}"]')]},
        {"role": "tool", "tool_call_id": CANARY, "content": CANARY},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"enum": [CANARY]}}},
        {"type": "function", "function": {"name": "g", "description": CANARY}},
    ],
    "metadata": {"a": CANARY, CANARY: "b"},
    "user": CANARY,
    "stop": [CANARY],
    "unknown": {"x": [CANARY], CANARY: URL},
}


def answers() -> list[tuple[bool, Any]]:
    """Answers of an upstream, each with whether a stream is asked for."""
    logprobs = {
        "content": [
            {"token": piece, "logprob": -1.0, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece in pieces(f"to {CANARY}!")
        ],
        "refusal": None,
    }
    whole = completion(choice(CANARY, tool_calls=[tool_call(name="f", arguments=CANARY)]))
    whole["choices"][0]["logprobs"] = logprobs
    whole |= {"usage": USAGE, "unknown": CANARY}
    error = {"error": {"message": f"cannot take {CANARY}", "type": "t", "param": CANARY}}
    texts = [chunk(piece) for piece in pieces(f"to {CANARY}!")]
    calls = []
    for piece in pieces(json.dumps({"to": CANARY})):
        calls.append(chunk(""))
        calls[-1]["choices"][0]["delta"] = {"tool_calls": [tool_call(arguments=piece)]}
    reasons = []
    for piece, one in zip(pieces(CANARY), logprobs["content"] or [], strict=False):
        reasons.append(chunk(""))
        reasons[-1]["choices"][0] |= {
            "delta": {
                "reasoning": piece,
                "reasoning_details": [{"type": "text", "text": piece}],
                "unknown": piece,
                "content": [{"type": "text", "text": piece}],
            },
            "logprobs": {"content": [one], "refusal": None},
        }
    return [
        (False, json_answer(whole)),
        (False, json_answer(error, status=400)),
        (False, json_answer({"detail": f"no {CANARY}", "error": CANARY}, status=500)),
        (True, json_answer(error, status=429)),
        (True, sse_answer(*texts, chunk("", "stop"))),
        (True, sse_answer(*calls, chunk("", "tool_calls"))),
        (True, sse_answer(*reasons, chunk("", "stop"))),
        (True, sse_answer(texts[0], error, done=False)),
    ]


async def cancelled(client: Relay, upstream: HttpUpstream) -> None:
    """A call whose caller leaves in the middle of the answer."""
    await upstream.answer(sse_answer(chunk(f"it is {CANARY} or {CANARY[:7]}"), HANG))
    call = client.stub.StreamChatCompletion(stream_request(**ASKED), timeout=TIMEOUT)
    await within(call.read())
    call.cancel()


@pytest.mark.parametrize("level", LEVELS)
async def test_no_byte_tells(level: str, redaction: Redaction | None, tmp_path: Path) -> None:
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, policy=policy(level), redaction=redaction) as client,
    ):
        for edge in EDGES:
            for is_stream, answer in answers():
                await upstream.answer(answer)
                await client.call(edge, stream=is_stream, **ASKED)
        await cancelled(client, upstream)
        count = 2 * len(answers()) + 1
        while len(client.kept) < count:
            await asyncio.sleep(0.01)
    assert {level} == set(client.kept)
    assert_clean(tmp_path, 0 if level == "none" else count)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [300, 1000, 3000, 10_000] if SOAK else [300])
async def test_records_that_are_cut(
    level: str, size: int, redaction: Redaction | None, tmp_path: Path
) -> None:
    limits = RecordLimits(exchange_bytes=size)
    async with (
        HttpUpstream() as upstream,
        relay(upstream.url, tmp_path, limits, policy=policy(level), redaction=redaction) as client,
    ):
        for is_stream, answer in answers():
            await upstream.answer(answer)
            await client.call("grpc", stream=is_stream, **ASKED)
    assert_clean(tmp_path, 0 if level == "none" else len(answers()))


@pytest.mark.parametrize("level", LEVELS)
async def test_a_relay_that_is_killed(level: str, tmp_path: Path) -> None:
    flags = ["--record-redact", "patterns"] if level == "redacted" else ["--record-keep", level]
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url, "--record", tmp_path, *flags) as (process, channel),
    ):
        stub: Any = ChatCompletionServiceStub(channel)
        calls = [
            stub.StreamChatCompletion(stream_request(**ASKED), timeout=TIMEOUT) for _ in range(3)
        ]
        for call in calls:
            await within(call.read())
        calls[0].cancel()
        process.kill()
        await finish(process)
    for path in tmp_path.iterdir():
        assert all(form not in path.read_bytes() for form in FORMS)
    for entry in read(tmp_path, on_damage=lambda _: None):
        assert all(form not in entry.data for form in FORMS)


async def test_a_caller_that_asks_for_less(tmp_path: Path) -> None:
    async with HttpUpstream() as upstream, relay(upstream.url, tmp_path) as client:
        for edge in EDGES:
            for wish in ("none", "metadata"):
                await upstream.answer(answers()[0][1])
                await client.call(edge, stream=False, headers=[(RECORD_HEADER, wish)], **ASKED)
    assert_clean(tmp_path, 2)
