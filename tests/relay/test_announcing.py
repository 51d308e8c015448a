"""What a relay reports when it is ready: on a terminal, and in the log."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from chatpb_server.access.address import Address
from chatpb_server.access.tokens import new_token
from chatpb_server.running.announcing import announce_start
from chatpb_server.running.settings import Settings
from chatpb_server.running.trying import commands, needs
from support.certificates import Certificates, chain
from support.http_upstream import never_accepting, refusing
from support.limits import within
from support.relay_process import Upstream, end, finish, listening, start, start_command
from support.terminal import relay_on_terminal, shell, tried

SECRET = "sk-very-secret"
FREE = ("--listen", "127.0.0.1:0")
HTTP = ("--http", "127.0.0.1:0")
curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@curl
async def test_the_command_for_curl_works() -> None:
    async with relay_on_terminal(*FREE, *HTTP) as lines:
        assert lines[0].startswith("listening on 127.0.0.1:")
        assert lines[1].startswith("http on http://127.0.0.1:")
        assert "  default: builtin; models *" in lines
        code, output, errors = await shell(tried(lines, "curl") + " --silent --show-error")
    assert (0, "") == (code, errors)
    assert "demo" == json.loads(output)["model"]


@curl
async def test_the_command_for_curl_works_with_tls_and_a_token(tmp_path: Path) -> None:
    """The certificate is for another name than the address that the relay listens on."""
    certificates = Certificates(tmp_path)
    leaf = certificates.authority.issue_cert("relay.test")
    certificates.certificate.write_bytes(chain(leaf))
    certificates.key.write_bytes(leaf.private_key_pem.bytes())
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(line)
    flags = (*certificates.flags, "--tokens", tmp_path / "tokens")
    async with relay_on_terminal(*FREE, *HTTP, *flags) as lines:
        assert "with TLS, to callers with a token." in "\n".join(lines)
        command = tried(lines, "curl") + " --silent --show-error"
        code, output, errors = await shell(command, TOKEN=token)
        assert (0, "") == (code, errors)
        assert "demo" == json.loads(output)["model"]
        assert "does not know this token" in (await shell(command, TOKEN="x"))[1]
    assert SECRET not in "\n".join(lines)


async def test_a_pipe_gets_the_addresses_alone() -> None:
    process = await start(*FREE, *HTTP, "--log-level", "error")
    await listening(process)
    assert process.stdout is not None
    assert (await process.stdout.readline()).startswith(b"http on ")
    process.send_signal(signal.SIGTERM)
    assert (0, "", "") == await finish(process)


async def test_nobody_reads_the_addresses() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    flags = (*FREE, *HTTP, "--log-format", "json")
    process = await start_command(*flags, stdout=writing)
    os.close(writing)
    assert process.stderr is not None
    lines = [json.loads(await within(process.stderr.readline())) for _ in range(2)]
    assert "ready" == lines[-1]["message"]
    process.send_signal(signal.SIGTERM)
    assert 0 == await within(process.wait())


def test_standard_output_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    announce_start(Settings.model_validate({"upstreams": {"a": {"url": "builtin"}}, "workers": 2}))


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        pytest.param({}, ["grpcurl -plaintext -d", '"model": "demo"', " 127.0.0.1:1 "], id="plain"),
        pytest.param({"listen": "[::]:1", "insecure_listen": True}, [" [::1]:1 "], id="any"),
        pytest.param(
            {"upstreams": {"a": {"url": "http://h/v1", "models": ["gpt-*", "llama"]}}},
            ['"model": "llama"'],
            id="model",
        ),
        pytest.param(
            {"upstreams": {"a": {"url": "http://h/v1"}}},
            ['"model": "MODEL"', "MODEL is a model"],
            id="unknown model",
        ),
        pytest.param(
            {"tls": {"cert": "a b.pem", "key": "k", "client_ca": "ca"}},
            ["-cacert 'a b.pem' -cert client.pem -key client.key -d", "that ca signs"],
            id="mutual TLS",
        ),
        pytest.param(
            {"tokens": "t"}, ['-H "authorization: Bearer $TOKEN"', "TOKEN is"], id="token"
        ),
    ],
)
def test_the_commands(settings: dict[str, Any], parts: list[str]) -> None:
    given = {"upstreams": {"a": {"url": "builtin"}}, "listen": "127.0.0.1:1", **settings}
    loaded = Settings.model_validate_json(json.dumps(given))
    address = Address.parse(loaded.listen)
    text = "\n".join([*commands(loaded, address, None), *needs(loaded)])
    assert [] == [part for part in parts if part not in text]


async def logged(*arguments: object, count: int, **environ: str) -> tuple[list[Any], str]:
    """The first lines of a relay's log, as JSON, and all of its log."""
    process = await start(*FREE, *arguments, "--log-format", "json", environ=environ)
    try:
        await listening(process)
        assert process.stderr is not None
        lines = [json.loads(await process.stderr.readline()) for _ in range(count)]
        process.send_signal(signal.SIGTERM)
        code, _, errors = await finish(process)
        assert 0 == code
        return lines, errors
    finally:
        await end(process)


async def test_the_configuration_is_one_line_of_the_log() -> None:
    async with Upstream().serving() as upstream:
        flags = ("--upstream", upstream.url, *HTTP, "--grace", 7)
        lines, _ = await logged(*flags, count=3, OPENAI_API_KEY=SECRET)
        [ready] = [line for line in lines if line["message"] == "ready"]
        assert f"default={upstream.url} with a key from OPENAI_API_KEY" == ready["upstreams"]
    assert SECRET not in str(lines)
    assert (False, "everybody", 1, 7) == tuple(
        ready[name] for name in ("tls", "callers", "workers", "grace_s")
    )
    assert ready["http"].startswith("127.0.0.1:")
    [reached] = [line["message"] for line in lines if "reached" in line["message"]]
    assert reached.startswith("upstream default: reached in ")
    assert upstream.asked.empty()  # nothing was asked for


async def test_an_upstream_that_cannot_be_reached_is_a_warning(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    relay = await start(*FREE, *HTTP, *certificates.flags, "--log-level", "error")
    try:
        address = await listening(relay)
        with refusing() as refused, never_accepting() as silent:
            (tmp_path / "relay.toml").write_text(
                f"[upstreams.refused]\nurl = '{refused}'\n"
                f"[upstreams.silent]\nurl = '{silent}'\nconnect_timeout = 0.2\n"
                f"[upstreams.unknown]\nurl = 'grpcs://{address}'\n"
                f"[upstreams.known]\nurl = 'grpcs://{address}'\nca_file = '{certificates.ca}'\n"
            )
            lines, _ = await logged("--config", tmp_path / "relay.toml", count=9)
    finally:
        await end(relay)
    found = {line["message"]: line["level"] for line in lines if "reached" in line["message"]}
    warnings = [message for message, level in found.items() if level == "warning"]
    start_of = "upstream {}: cannot be reached now: {}"
    assert sorted(warnings)[:2] == [
        start_of.format("refused", "connection refused"),
        start_of.format("silent", "no connection within 0.2 s"),
    ]
    assert start_of.format("unknown", "its certificate is refused: ") in sorted(warnings)[2]
    [reached] = [message for message, level in found.items() if level == "info"]
    assert reached.startswith("upstream known: reached in ")


async def test_a_silent_upstream_delays_neither_the_start_nor_the_end() -> None:
    with never_accepting() as silent:
        lines, _ = await logged("--upstream", silent, count=2)
    assert "ready" == lines[-1]["message"]
