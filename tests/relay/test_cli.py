"""The relay's command line: the process as its users start it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from grpc import StatusCode, aio
from grpc_channelz.v1.channelz_pb2 import GetServersRequest
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub
from chatpb_server.running.cli import run
from support.build import COMPLETION, create_request, stream_request
from support.calls import OWN_CONNECTION
from support.certificates import Certificates, channel_credentials
from support.limits import TIMEOUT, within
from support.relay_process import (
    Upstream,
    end,
    finish,
    listening,
    running,
    start,
    start_command,
)

SECRET = "sk-very-secret"
COMPLETION_FILE = Path(__file__).parents[2] / "examples/completion.json"


Said = Callable[..., tuple[int, str, str]]
Patch = pytest.MonkeyPatch


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs the command in this process, for what needs no other."""

    def run_and_read(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run_and_read


async def created(channel: aio.Channel, **options: Any) -> Any:
    """What the relay answers."""
    stub = ChatCompletionServiceStub(channel)
    return await stub.CreateChatCompletion(create_request(), timeout=TIMEOUT, **options)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_answers_until_it_is_told_to_stop(signal_number: int) -> None:
    async with running(start=start_command) as (process, channel):
        assert "m" == (await created(channel)).completion.model
        process.send_signal(signal_number)
        assert (0, "", "") == await finish(process)


async def test_a_watcher_of_health_does_not_hold_the_process_up() -> None:
    async with running() as (process, channel):
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(), timeout=TIMEOUT)
        assert HealthCheckResponse.SERVING == (await watch.read()).status
        process.send_signal(signal.SIGTERM)
        assert HealthCheckResponse.NOT_SERVING == (await watch.read()).status
        assert (0, "", "") == await finish(process)


async def test_a_second_signal_stops_the_process_at_once() -> None:
    """A stream that does not end holds the first stop up."""
    async with (
        Upstream(held=True).serving() as upstream,
        running("--upstream", upstream.url, start=start_command) as (process, channel),
    ):
        call = ChatCompletionServiceStub(channel).StreamChatCompletion(stream_request())
        await within(call.read())
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(), timeout=TIMEOUT)
        assert HealthCheckResponse.SERVING == (await watch.read()).status
        process.send_signal(signal.SIGTERM)
        assert HealthCheckResponse.NOT_SERVING == (await watch.read()).status
        process.send_signal(signal.SIGTERM)
        assert (1, "", "") == await finish(process)
        assert StatusCode.UNAVAILABLE == await call.code()


async def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await start_command("--listen", address)
        expected = f"chatpb-server: cannot listen on {address}: address already in use\n"
        assert (1, "", expected) == await finish(process)


@pytest.mark.parametrize(
    ("arguments", "variables", "part"),
    [
        pytest.param(["--listen", "0.0.0.0:50051"], {}, "will not listen on 0.0.0.0", id="beyond"),
        pytest.param(["--listen", "nowhere"], {}, "--listen: expected HOST:PORT", id="address"),
        pytest.param(["--grace", "-1"], {}, "--grace: expected a number", id="range"),
        pytest.param(["--loud"], {}, "--loud", id="flag"),
        pytest.param(["extra"], {}, "extra", id="argument"),
        pytest.param(["--upstream", f"http://a:{SECRET}@b/"], {}, "--upstream: expected", id="url"),
        pytest.param([], {"GRACE": "soon"}, "CHATPB_SERVER_GRACE", id="variable's type"),
        pytest.param([], {"WORKERS": "0"}, "CHATPB_SERVER_WORKERS: expected", id="variable"),
        pytest.param(
            [], {"UPSTREM": SECRET}, "did you mean CHATPB_SERVER_UPSTREAM?", id="misspelt"
        ),
        pytest.param(["--config", "nowhere"], {}, "cannot read the configuration", id="file"),
        pytest.param(["--tokens", "nowhere"], {}, "cannot read the tokens", id="named file"),
        pytest.param(["token", "a b"], {}, "expected a name", id="caller"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], variables: dict[str, str], part: str, said: Said, monkeypatch: Patch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"CHATPB_SERVER_{name}", value)
    code, output, errors = said(*arguments)
    assert (2, "") == (code, output)
    [line] = errors.splitlines()
    assert line.startswith("chatpb-server: ")
    assert part in line
    assert SECRET not in line


async def test_a_mistake_ends_the_process() -> None:
    code, output, errors = await finish(await start_command("--grace", -1))
    expected = "chatpb-server: --grace: expected a number greater than or equal to 0\n"
    assert (2, "", expected) == (code, output, errors)


def test_help_and_version(said: Said) -> None:
    code, output, _ = said("--help")
    assert 0 == code
    assert "chatpb-server --listen 127.0.0.1:0" in output
    code, output, _ = said("--version")
    assert 0 == code
    assert output.startswith("chatpb-server, version ")


@pytest.mark.parametrize(
    "module",
    ["aiohttp", "click", "grpc", "grpc_health", "grpc_reflection", "prometheus_client", "pydantic"],
)
async def test_without_the_extra_there_is_a_hint(module: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from chatpb_server.running.main import main;"
        " main()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=PIPE, stderr=PIPE
    )
    hint = f"chatpb-server: error: needs {module}: pip install 'chatpb[server]'\n"
    assert (2, "", hint) == await finish(process)


def test_the_configuration_of_the_help_is_right(
    tmp_path: Path, said: Said, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    Certificates(tmp_path)
    token(tmp_path)
    key = tmp_path / "azure"
    key.write_text(SECRET)
    _, text, _ = said("--help")
    text = text[text.index('  listen = "0.0.0.0') :].replace("/run/secrets/azure", str(key))
    (tmp_path / "relay.toml").write_text(text)
    code, output, errors = said("--config", tmp_path / "relay.toml", "--check-config")
    assert (0, "") == (code, errors)
    assert SECRET not in output
    upstreams = re.findall(r"^upstream (\w+) +(\S+) with (.*?);", output, re.MULTILINE)
    assert [
        ("openai", "https://api.openai.com/v1", "a key from OPENAI_API_KEY"),
        ("azure", "https://example.openai.azure.com/openai/deployments/gpt", f"a key from {key}"),
        ("vllm", "http://10.0.0.7:8000/v1", "no key"),
    ] == upstreams


def test_a_configuration_is_checked_without_serving(said: Said) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, output, errors = said("--check-config", "--listen", address)
    assert (0, "") == (code, errors)
    assert f"{address}, without TLS, no tokens, workers: 1" in output.splitlines()[0]
    expected = "chatpb-server: cannot read the tokens nowhere: no such file or directory\n"
    assert (2, "", expected) == said("--check-config", "--tokens", "nowhere")


def headers_of(head: dict[str, str]) -> dict[str, str]:
    return {name: head[name] for name in ("authorization", "api-key", "x-team") if name in head}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param("api_key_env = 'KEY'", {"authorization": f"Bearer {SECRET}"}, id="key"),
        pytest.param(
            "api_key_file = 'key'", {"authorization": "Bearer of-a-file"}, id="key in a file"
        ),
        pytest.param(
            "api_key_env = 'KEY'\napi_key_header = 'api-key'", {"api-key": SECRET}, id="Azure's key"
        ),
        pytest.param("auth = 'caller'", {"authorization": "Bearer mine"}, id="the caller's"),
        pytest.param("headers = { X-Team = 'a' }", {"x-team": "a"}, id="no key"),
    ],
)
async def test_whose_authorization_an_upstream_gets(
    tmp_path: Path, lines: str, expected: dict[str, str]
) -> None:
    (tmp_path / "key").write_text("of-a-file\n")
    async with Upstream().serving() as upstream:
        (tmp_path / "relay.toml").write_text(
            f"[upstreams.a]\nurl = '{upstream.url}'\nmodels = ['m']\n{lines}\n"
            f"query = {{ api-version = '1' }}\n"
            # Another one takes the callers', so that the relay passes it on.
            f"[upstreams.b]\nurl = '{upstream.url}'\nmodels = ['n']\nauth = 'caller'"
        )
        arguments = ("--config", tmp_path / "relay.toml")
        async with running(*arguments, environ={"KEY": SECRET}) as (_, channel):
            mine = (("authorization", "Bearer mine"), ("api-key", "mine"))
            answer = await created(channel, metadata=mine)
        assert COMPLETION["id"] == answer.completion.id
        head = await within(upstream.asked.get())
        assert expected == headers_of(head)
        assert "POST /v1/chat/completions?api-version=1 HTTP/1.1" == head["request"]


async def test_a_key_is_seen_by_nobody() -> None:
    """Neither in the log nor among the arguments of processes."""
    async with Upstream().serving() as upstream:
        arguments = ("--upstream", upstream.url, "--workers", 2)
        settings: dict[str, Any] = {"environ": {"OPENAI_API_KEY": SECRET}, "level": "debug"}
        async with running(*arguments, start=start_command, **settings) as (process, channel):
            await created(channel)
            table = subprocess.run(
                ["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True
            )
            assert "chatpb_server.running.worker" in table.stdout
            assert SECRET not in table.stdout
            process.send_signal(signal.SIGTERM)
            code, _, errors = await finish(process)
        assert 0 == code
        assert f"upstream default: {upstream.url} with a key from OPENAI_API_KEY" in errors
        assert SECRET not in errors
        assert f"Bearer {SECRET}" == (await within(upstream.asked.get()))["authorization"]


async def test_recordings() -> None:
    async with running("--upstream", f"replay:{COMPLETION_FILE}") as (_, channel):
        answer = await created(channel)
    assert json.loads(COMPLETION_FILE.read_bytes())["id"] == answer.completion.id


def token(folder: Path) -> str:
    """The token of a new caller, as the command makes it."""
    script = Path(sys.executable).with_name("chatpb-server")
    done = subprocess.run([script, "token", "alice"], capture_output=True, text=True, check=True)
    (folder / "tokens.txt").write_text(done.stdout)
    found = re.search(r"^  (chatpb_\S+)$", done.stderr, re.MULTILINE)
    assert found
    assert found[1] not in done.stdout
    return found[1]


async def test_tls_and_tokens(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    secret = token(tmp_path)
    process = await start(
        *("--listen", "127.0.0.1:0", "--log-format", "json"),
        *certificates.flags,
        *("--tokens", tmp_path / "tokens.txt"),
    )
    try:
        credentials = channel_credentials(certificates.authority)
        async with aio.secure_channel(await listening(process), credentials) as channel:
            for metadata, text in (
                ((), "The relay requires the metadata authorization: Bearer TOKEN."),
                ((("authorization", "Bearer x"),), "The relay does not know this token."),
            ):
                with pytest.raises(aio.AioRpcError) as caught:
                    await created(channel, metadata=metadata)
                assert StatusCode.UNAUTHENTICATED == caught.value.code()
                assert text in (caught.value.details() or "")
            metadata = (("authorization", f"Bearer {secret}"),)
            assert "m" == (await created(channel, metadata=metadata)).completion.model
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
        lines = [json.loads(line) for line in errors.splitlines()]
        calls = [line for line in lines if line["message"] == "call ended"]
        assert (0, [None, None, "alice"]) == (code, [call.get("caller") for call in calls])
    finally:
        await end(process)


async def test_mutual_tls_names_the_caller(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    process = await start(
        *("--listen", "127.0.0.1:0"),
        *certificates.flags,
        *("--tls-client-ca", certificates.ca),
    )
    try:
        authority = certificates.authority
        credentials = channel_credentials(authority, authority.issue_cert("batch.test"))
        async with aio.secure_channel(await listening(process), credentials) as channel:
            await created(channel)
        process.send_signal(signal.SIGTERM)
        assert "caller=batch.test" in (await finish(process))[2]
    finally:
        await end(process)


async def test_it_listens_beyond_loopback_if_told_so_out_loud() -> None:
    process = await start("--listen", "0.0.0.0:0", "--insecure-listen")
    try:
        address = await listening(process)
        assert address.startswith("0.0.0.0:")
        async with aio.insecure_channel(
            address.replace("0.0.0.0", "127.0.0.1"), OWN_CONNECTION
        ) as channel:
            stub = ChatCompletionServiceStub(channel)
            await stub.CreateChatCompletion(create_request(), timeout=TIMEOUT)
    finally:
        await end(process)


async def test_metrics() -> None:
    async with running("--metrics-listen", "127.0.0.1:0") as (process, channel):
        await created(channel)
        assert process.stdout is not None
        line = (await within(process.stdout.readline())).decode()
        url = f"http://{line.removeprefix('metrics on ').rstrip()}/metrics"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as page:
            text = page.read().decode()
        assert 'chatpb_relay_upstream_attempts_total{outcome="200",upstream="default"} 1.0' in text


async def test_channelz() -> None:
    async with running("--channelz") as (_, channel):
        stub: Any = ChannelzStub(cast("Any", channel))
        servers = await stub.GetServers(GetServersRequest(), timeout=TIMEOUT)
        assert 1 == len(servers.server)
