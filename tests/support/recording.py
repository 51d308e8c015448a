"""A relay that records, callers over gRPC and over HTTP, and what they received."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpc import StatusCode, aio
from multidict import CIMultiDict

from chatpb import to_dict
from chatpb.log import LogWriter, PendingFullError, Position, read
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.http import HttpUpstream as Http
from chatpb_server.upstreams.router import RetryPolicy, Route, Router
from chatpb_server.watching.record_limits import Outcome, RecordLimits
from chatpb_server.watching.record_policy import Kept, RecordPolicy
from chatpb_server.watching.recording import LogRecorder
from chatpb_server.watching.redacting import Redaction
from support.build import PING, create_request, error_object, stream_request
from support.calls import OWN_CONNECTION
from support.limits import TIMEOUT, within

MORE: dict[str, Any] = {"temperature": 0.5, "x_top_k": {"a": [1.50, None]}}
ERROR = error_object("no", code="c", x=[1])
EDGES = ["grpc", "http"]
over_both = pytest.mark.parametrize("edge", EDGES)


def records(directory: Path) -> list[CompletionRecord]:
    """The records of a log; their bytes are those that protobuf would write."""
    entries = list(read(directory))
    for entry in entries:
        assert entry.record.SerializeToString(deterministic=True) == entry.data
    return [entry.record for entry in entries]


def chunks_of(record: CompletionRecord) -> list[Any]:
    return [to_dict(part) for part in record.chunks]


class Saw:
    """What a caller received.

    Attributes:
        completion: The completion, as a JSON value, if there was one.
        chunks: The chunks, as JSON values.
        status: The gRPC status, or the HTTP status.
        error: OpenAI's error, as a JSON value, if there was one.
    """

    def __init__(self) -> None:
        self.completion: Any = None
        self.chunks: list[Any] = []
        self.status: StatusCode | int = 0
        self.error: Any = None


class Relay:
    """A relay that records, and callers of it."""

    def __init__(self, channel: aio.Channel, url: str, recorder: LogRecorder) -> None:
        self.stub: Any = ChatCompletionServiceStub(channel)
        self.channel = channel
        self.url = url
        self.recorder = recorder
        self.grpc_port = 0
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.kept: list[Kept] = []

    async def call(
        self, edge: str, *, stream: bool, headers: Sequence[tuple[str, str]] = (), **members: Any
    ) -> Saw:
        """Calls over one of the edges; returns what the caller received."""
        saw = Saw()
        if edge == "http":
            body = {**PING, **members, **({"stream": True} if stream else {})}
            async with (
                aiohttp.ClientSession() as session,
                session.post(self.url, json=body, headers=CIMultiDict(headers)) as response,
            ):
                text = await within(response.read())
            saw.status = response.status
            if response.content_type == "application/json":
                value = json.loads(text)
                values = [value]
            else:
                data = [line[6:] for line in text.splitlines() if line.startswith(b"data: {")]
                values = [json.loads(line) for line in data]
            for value in values:
                if "error" in value:
                    saw.error = value
                elif stream:
                    saw.chunks.append(value)
                else:
                    saw.completion = value
            return saw
        try:
            if stream:
                async for response in self.stub.StreamChatCompletion(
                    stream_request(**members), timeout=TIMEOUT, metadata=tuple(headers)
                ):
                    saw.chunks += [to_dict(part) for part in response.chunks]
            else:
                response = await self.stub.CreateChatCompletion(
                    create_request(**members), timeout=TIMEOUT, metadata=tuple(headers)
                )
                saw.completion = to_dict(response.completion)
            saw.status = StatusCode.OK
        except aio.AioRpcError as error:
            saw.status = error.code()
            saw.error = error.details()
        return saw


class KeptRedaction(Redaction):
    """A redaction whose process stays when a relay ends."""

    def close(self) -> None:
        """Leaves it to `end`."""

    def end(self) -> None:
        """Ends the process."""
        super().close()


class Watched(LogWriter):
    """A log that reports when somebody waits for room in it."""

    def __init__(self, *arguments: Any, **how: Any) -> None:
        self.is_waited_for = threading.Event()
        super().__init__(*arguments, **how)

    def append(self, record: CompletionRecord | bytes, *, block: bool = True) -> Future[Position]:
        """Appends a record."""
        try:
            return super().append(record, block=False)
        except PendingFullError:
            if not block:
                raise
            self.is_waited_for.set()
            return super().append(record)


@asynccontextmanager
async def relay(
    url: str,
    directory: Path,
    limits: RecordLimits | None = None,
    *,
    open_writer: Callable[[], LogWriter] | None = None,
    options: Options | None = None,
    labels: dict[str, str] | None = None,
    policy: RecordPolicy | None = None,
    redaction: Redaction | None = None,
    upstream: Any = None,
) -> AsyncIterator[Relay]:
    """A relay in front of the upstream at a URL; on exit, all records are in the directory."""
    loop = asyncio.get_running_loop()
    kept: list[Kept] = []
    counted: asyncio.Queue[Outcome] = asyncio.Queue()

    def count(outcome: Outcome) -> None:
        loop.call_soon_threadsafe(counted.put_nowait, outcome)

    recorder = LogRecorder(
        open_writer or (lambda: LogWriter(directory)),
        limits,
        policy=policy,
        redaction=redaction,
        labels=labels,
        count=count,
        count_kept=kept.append,
    )
    router = Router([Route("up", upstream or Http(url))], RetryPolicy(attempts=1))
    options = options or Options()
    how = {"http": "127.0.0.1:0", "recorder": recorder}
    fields = {name: getattr(options, name) for name in Options.__dataclass_fields__}
    try:
        async with (
            serving_all(router, options=Options(**{**fields, **how})) as ports,
            aio.insecure_channel(f"127.0.0.1:{ports.grpc}", OWN_CONNECTION) as channel,
        ):
            path = f"http://127.0.0.1:{ports.http}/v1/chat/completions"
            client = Relay(channel, path, recorder)
            client.outcomes, client.kept = counted, kept
            client.grpc_port = ports.grpc
            yield client
    finally:
        await within(asyncio.to_thread(recorder.close))
    assert 0 == recorder.held
