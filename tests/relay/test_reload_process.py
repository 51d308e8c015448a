"""SIGHUP: a running relay reads its settings and files again."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.access.tokens import new_token
from chatpb_server.core.gate import Gate, OverloadError
from chatpb_server.running.build import check_renewal
from chatpb_server.running.config import ConfigError, Given, load
from chatpb_server.running.reload import RENEWED, merged
from chatpb_server.running.settings import all_settings
from chatpb_server.upstreams.current import CurrentUpstream
from support.build import create_request, stream_request
from support.calls import OWN_CONNECTION
from support.limits import SOAK, TIMEOUT, within
from support.relay_process import Upstream, end, finish, listening, start
from support.scripted import Live

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")


@asynccontextmanager
async def relay(config: Path, *arguments: object) -> AsyncIterator[tuple[Process, str]]:
    """A relay process with a configuration file, and its address; its log is of level info."""
    process = await start("--config", config, "--listen", "127.0.0.1:0", *arguments)
    try:
        yield process, await listening(process)
    finally:
        await end(process)


async def logged(process: Process, text: str) -> str:
    """Reads the log up to a line with a text; returns the line."""
    assert process.stderr is not None
    line = ""
    while text not in line:
        data: bytes = await within(process.stderr.readline())
        assert data, f"the log ended before {text!r}"
        line = data.decode()
    return line


async def reloaded(process: Process) -> str:
    """Sends SIGHUP; returns what the log says of it."""
    process.send_signal(signal.SIGHUP)
    _, _, text = (await logged(process, "running.reload")).partition("running.reload: ")
    return text.rstrip()


async def asked(channel: aio.Channel, model: str, token: str = "") -> StatusCode:
    """How a call ends."""
    stub: Any = ChatCompletionServiceStub(channel)
    metadata = [("authorization", f"Bearer {token}")] if token else None
    call = stub.CreateChatCompletion(
        create_request(model=model), timeout=TIMEOUT, metadata=metadata
    )
    return StatusCode(await within(call.code()))


async def test_settings_and_files(tmp_path: Path) -> None:
    """Running calls go on with what they began with. Mistakes change nothing."""
    config, tokens = tmp_path / "relay.toml", tmp_path / "tokens.txt"
    (token, line), (other, other_line) = new_token("alice"), new_token("bob")
    tokens.write_text(line)
    async with Upstream(held=True).serving() as first, Upstream().serving() as second:
        text = 'tokens = "tokens.txt"\n[upstreams.a]\nurl = "{}"\nmodels = ["{}"]\n'
        config.write_text(text.format(first.url, "old"))
        async with (
            relay(config) as (process, target),
            aio.insecure_channel(target, OWN_CONNECTION) as channel,
        ):
            stub: Any = ChatCompletionServiceStub(channel)
            call = stub.StreamChatCompletion(
                stream_request(model="old"),
                timeout=TIMEOUT,
                metadata=[("authorization", f"Bearer {token}")],
            )
            await within(call.read())

            config.write_text(text.format(second.url, "new") + "[upstreams.b]\n")
            expected = f"the settings stay as they are: {config}: upstreams.b.url: is missing"
            assert expected == await reloaded(process)
            config.write_text(text.format(second.url, "new"))
            tokens.write_text("alice\n")
            said = await reloaded(process)
            assert said.startswith(f"the settings stay as they are: {tokens}, line 1: expected")
            assert StatusCode.NOT_FOUND == await asked(channel, "new", token)

            tokens.write_text(other_line)
            restart = '[metrics]\nlisten = "127.0.0.1:0"\n[limits]\nmax_running = 7\n'
            config.write_text(text.format(second.url, "new") + restart)
            expected = "read the settings again; these need a restart: metrics.listen"
            assert expected == await reloaded(process)
            assert StatusCode.UNAUTHENTICATED == await asked(channel, "new", token)
            assert StatusCode.OK == await asked(channel, "new", other)
            assert StatusCode.NOT_FOUND == await asked(channel, "old", other)
            first.go_on.set()
            while await within(call.read()) is not aio.EOF:
                pass
            assert StatusCode.OK == await call.code()

            config.write_text(text.format(second.url, "new") + '[log]\nlevel = "error"\n')
            process.send_signal(signal.SIGHUP)  # which is not logged any more, nor are calls
            process.terminate()
            code, _, errors = await finish(process)
    # On a busy machine, it may have looked at the changed file by itself before.
    others = ("call", f"read {tokens} again")
    rest = [line for line in errors.splitlines() if not any(each in line for each in others)]
    assert (0, []) == (code, rest)


async def test_a_file_that_never_ends_does_not_hold_the_end(tmp_path: Path) -> None:
    config, tokens = tmp_path / "relay.toml", tmp_path / "tokens.txt"
    tokens.write_text(new_token("alice")[1])
    config.write_text('tokens = "tokens.txt"\n')
    async with (
        relay(config) as (process, target),
        aio.insecure_channel(target, OWN_CONNECTION) as channel,
    ):
        tokens.unlink()
        os.mkfifo(tokens)  # who opens it waits until somebody writes
        process.send_signal(signal.SIGHUP)
        writer = await within(asyncio.to_thread(os.open, tokens, os.O_WRONLY))  # it is open
        try:
            assert await asked(channel, "m") is StatusCode.UNAUTHENTICATED
            process.send_signal(signal.SIGTERM)
            assert await within(process.wait()) == 0
        finally:
            os.close(writer)


async def test_workers(tmp_path: Path) -> None:
    """All get the settings, and so do those that are started later."""
    config = tmp_path / "relay.toml"
    text = '[upstreams.a]\nurl = "builtin"\nmodels = ["{}"]\n'
    config.write_text(text.format("old"))

    async def answers(model: str) -> set[StatusCode]:
        """How calls over several connections end."""
        codes = set()
        for _ in range(8):
            async with aio.insecure_channel(target, OWN_CONNECTION) as channel:
                codes.add(await asked(channel, model))
        return codes

    async with relay(config, "--workers", 2) as (process, target):
        assert {StatusCode.OK} == await answers("old")
        config.write_text(text.format("new"))
        assert "read the settings again" == await reloaded(process)
        async with asyncio.timeout(TIMEOUT):
            while {StatusCode.OK} != await answers("new"):
                pass
        config.write_text("x")
        assert (await reloaded(process)).startswith("the settings stay as they are: ")
        if SOAK:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            pid = children.split()[0]
            await (await asyncio.create_subprocess_exec("kill", "-KILL", pid)).wait()
            await logged(process, "is ready")
            assert {StatusCode.OK} == await answers("new")
        process.terminate()
        assert 0 == (await finish(process))[0]


def test_what_cannot_change(tmp_path: Path) -> None:
    """Nor may the settings that can change open a relay that began with others."""
    path = tmp_path / "relay.toml"

    def settings(text: str) -> Any:
        path.write_text(text)
        return load({"upstream": Given("--upstream", "builtin")}, path, {})

    token_file = 'tokens = "tokens.txt"\n'
    now = settings(f'listen = "0.0.0.0:1"\n{token_file}[tls]\ncert = "c"\nkey = "k"\n')
    new = settings("workers = 2\ngrace = 1\n[limits]\ntimeout = 2\nmax_event_bytes = 9\n")
    with pytest.raises(ConfigError, match=r"listen: .*0\.0\.0\.0"):
        merged(now, new)
    new = settings(
        f"workers = 2\ngrace = 1\n{token_file}[limits]\ntimeout = 2\nmax_event_bytes = 9"
    )
    result, others = merged(now, new)
    assert ["listen", "workers", "tls.cert", "tls.key", "limits.max_event_bytes"] == others
    assert (1, 2, 1) == (result.grace, result.limits.timeout, result.workers)


def test_files_of_tls_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text('upstream = "builtin"\n[tls]\ncert = "c"\nkey = "k"\n')
    with pytest.raises(ConfigError, match=f"cannot read the certificate {tmp_path}/c"):
        check_renewal(load({}, path, {}))


def test_names() -> None:
    known = {one.name for one in all_settings()}
    tables = {name.partition(".")[0] for name in known}
    assert [] == [name for name in RENEWED if name not in known | tables]


async def test_a_replaced_upstream_is_closed_after_its_last_call() -> None:
    old, new = Live(), Live()
    current = CurrentUpstream(old)
    request: Any = None
    async with current.stream(request):
        current.replace(new)
        await asyncio.sleep(0)
        assert not old.closed.is_set()
    await within(old.closed.wait())
    await current.close()
    assert new.closed.is_set()


async def test_a_gate_of_another_size() -> None:
    gate = Gate(1, 0)
    free: list[int] = []

    async def run(until: asyncio.Event) -> None:
        async with gate.turn(free.append):
            await until.wait()

    done = asyncio.Event()
    tasks = [asyncio.ensure_future(run(done)) for _ in range(2)]
    with pytest.raises(OverloadError):
        await tasks[1]
    gate.resize(2, 2)
    tasks += [asyncio.ensure_future(run(done)) for _ in range(2)]
    await asyncio.sleep(0)
    assert [1] == free  # one more runs, the other waits
    gate.resize(3, 2)  # and now it runs
    await asyncio.sleep(0)
    assert [1, 0] == free
    gate.resize(1, 2)
    waits = asyncio.ensure_future(run(done))
    await asyncio.sleep(0)
    assert [1, 0, 1] == free
    done.set()
    await within(asyncio.gather(tasks[0], *tasks[2:], waits))
    assert gate._free == 1
