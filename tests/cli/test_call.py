"""The command `call`, with a server in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

import chatpb
from chatpb.v1 import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    ErrorResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.chat_completion_service_pb2_grpc import (
    ChatCompletionServiceServicer,
    add_ChatCompletionServiceServicer_to_server,
)
from support.build import PING
from support.command_line import PYTHON
from support.interruptible import interruptible

OPENAI = {"error": {"message": "no such\nmodel", "type": "invalid", "param": None, "code": None}}


class _Echo(ChatCompletionServiceServicer):
    """Answers with the model's name; a model's name may ask for trouble."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def CreateChatCompletion(  # noqa: N802 (gRPC's name)
        self, request: CreateChatCompletionRequest, context: Any
    ) -> CreateChatCompletionResponse:
        await self._trouble(request.request, context)
        size = 8 << 20 if request.request.model == "big" else 1
        completion = ChatCompletion(id="a", model=request.request.model * size)
        return CreateChatCompletionResponse(completion=completion)

    async def StreamChatCompletion(  # noqa: N802
        self, request: StreamChatCompletionRequest, context: Any
    ) -> AsyncIterator[StreamChatCompletionResponse]:
        yield StreamChatCompletionResponse(
            chunks=[ChatCompletionChunk(id="1"), ChatCompletionChunk(id="2")]
        )
        await self.release.wait()
        await self._trouble(request.request, context)
        yield StreamChatCompletionResponse(chunks=[ChatCompletionChunk(id="3")])

    async def _trouble(self, request: ChatCompletionRequest, context: Any) -> None:
        if request.model == "slow":
            self.began.set()
            try:
                await asyncio.sleep(60)
            finally:
                self.cancelled.set()
        code = {"error": 3, "plain": 8}.get(request.model, 0)
        if code:
            status = Status(code=code, message="the status")
            if request.model == "error":
                detail: AnyMessage = status.details.add()
                detail.Pack(chatpb.from_dict(OPENAI, ErrorResponse))
            await context.abort_with_status(rpc_status.to_status(status))


@asynccontextmanager
async def _served() -> AsyncIterator[tuple[_Echo, str]]:
    server, echo = grpc.aio.server(), _Echo()
    server_options = echo
    add_ChatCompletionServiceServicer_to_server(server_options, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield echo, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _start(*args: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    with interruptible():
        return await asyncio.create_subprocess_exec(
            *PYTHON, "call", *args, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 26
        )


async def _call(*args: str, model: str = "m") -> tuple[int | None, list[Any], str]:
    process = await _start(*args)
    out, err = await process.communicate(json.dumps(PING | {"model": model}).encode())
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


async def test_unary() -> None:
    async with _served() as (_, address):
        code, lines, err = await _call(address)
    expected = chatpb.to_dict(ChatCompletion(id="a", model="m"))
    assert (0, [expected], "") == (code, lines, err)


async def test_large_answer() -> None:
    async with _served() as (_, address):
        code, lines, _ = await _call(address, model="big")
    assert (code, len(lines[0]["model"])) == (0, 3 * (8 << 20))


async def test_chunks_are_printed_as_they_come() -> None:
    async with _served() as (echo, address):
        process = await _start(address, "--stream", "-")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(PING).encode())
        process.stdin.close()
        for expected in "123":
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            assert chatpb.to_dict(ChatCompletionChunk(id=expected)) == json.loads(line)
            if expected == "2":
                echo.release.set()
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("model", "exit_code", "expected"),
    [
        pytest.param("error", 67, "INVALID_ARGUMENT: no such model\n", id="openai"),
        pytest.param("plain", 72, "RESOURCE_EXHAUSTED: the status\n", id="status"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors(model: str, exit_code: int, expected: str, stream: bool) -> None:
    async with _served() as (echo, address):
        echo.release.set()
        code, lines, err = await _call(address, *["--stream"] * stream, model=model)
    assert (exit_code, 2 * stream, expected) == (code, len(lines), err)


async def test_timeout() -> None:
    async with _served() as (echo, address):
        code, _, err = await _call(address, "--timeout", "0.5", model="slow")
        await asyncio.wait_for(echo.cancelled.wait(), 5)
    assert (code, err) == (68, "DEADLINE_EXCEEDED: Deadline Exceeded\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for other processes")
@pytest.mark.parametrize("stream", [False, True])
async def test_interrupt_cancels_the_call(stream: bool) -> None:
    import signal

    async with _served() as (echo, address):
        echo.release.set()
        process = await _start(address, *["--stream"] * stream)
        assert process.stdin is not None
        process.stdin.write(json.dumps(PING | {"model": "slow"}).encode())
        process.stdin.close()
        await asyncio.wait_for(echo.began.wait(), 20)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 130
        await asyncio.wait_for(echo.cancelled.wait(), 5)
        assert process.stderr is not None
        assert (await process.stderr.read()).strip() == b""


async def test_no_server() -> None:
    code, lines, err = await _call("127.0.0.1:1", "--timeout", "10")
    assert (code, lines, err[:13], err.count("\n")) == (78, [], "UNAVAILABLE: ", 1)


async def test_bad_request_is_not_sent() -> None:
    process = await _start("127.0.0.1:1")
    _, err = await process.communicate(b'{"model":}')
    reason = b"<stdin>: $.model (byte 9): expected a value, got '}'"
    assert (1, b"chatpb: error: " + reason + b"\n") == (process.returncode, err)
