"""The commands and examples of docs/recording.md, as they are there."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from chatpb.log import read
from chatpb.redaction import PatternRedactor, Redactor
from chatpb.v1 import completion_record_pb2
from chatpb_server.core.call import Call
from chatpb_server.running.config import load
from chatpb_server.watching.redacting import Spec, spec_of
from relay.test_http_edge_process import running
from support.build import PING
from support.command_line import run
from support.http_edge import post
from support.limits import within
from support.relay_process import finish

TEXT = (Path(__file__).parents[2] / "docs" / "recording.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def flags(command: str) -> list[str]:
    """The flags of a command that starts the relay, except its port."""
    words = shlex.split(command)
    assert ["chatpb-server", "--http", "127.0.0.1:8080"] == words[:3]
    return words[3:]


async def curl(script: str) -> None:
    process = await create_subprocess_exec("sh", "-ec", script, stdout=PIPE, stderr=PIPE)
    _, errors = await within(process.communicate())
    assert 0 == process.returncode, errors.decode()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
async def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata, reading, wish, redaction = blocks("sh")
    log = tmp_path / "log"
    for command, kept in (
        (metadata, completion_record_pb2.RECORD_KEPT_METADATA),
        (redaction, completion_record_pb2.RECORD_KEPT_REDACTED),
    ):
        words = [str(log) if word == "log" else word for word in flags(command)]
        async with running(*words) as (process, _, url):
            http = url.removeprefix("http://").removesuffix("/v1")
            messages = [{"role": "user", "content": "I am a@b.com"}]
            status, _, _ = await post(url, PING | {"messages": messages})
            assert 200 == status
            await curl(wish.replace("127.0.0.1:8080", http))
            process.send_signal(signal.SIGTERM)
            assert 0 == (await finish(process))[0]
        assert kept == [*read(log)][-1].record.kept
    first, second = (entry.record.request.messages[0].content.text for entry in read(log))
    assert ("", "I am [email]") == (first, second)
    monkeypatch.chdir(tmp_path)
    output = ""
    for line in reading.splitlines():
        command, *arguments = shlex.split(line)
        assert "chatpb" == command
        result = run(*arguments)
        assert 0 == result.exit_code, result.output
        output += result.output
    assert 2 == output.count('"request_bytes":')
    assert 1 == output.count("I am [email]")
    assert 1 == output.count('"kept":"metadata"') == output.count('"kept":"redacted"')


def test_rules(tmp_path: Path) -> None:
    rules, own = blocks("toml")
    path = tmp_path / "relay.toml"
    path.write_text('upstream = "builtin"\n' + rules)
    policy = load({}, path).record
    for caller, model, keep in (
        ("evaluation-1", "medical-1", "all"),
        ("a", "medical-1", "none"),
        ("a", "b", "metadata"),
    ):
        assert keep == policy.keep_of(Call("", caller=caller, model=model))
    patterns = tmp_path / "patterns.toml"
    patterns.write_text(own)
    settings = policy.model_copy(update={"redact": "patterns", "redact_patterns": patterns})
    spec = spec_of(settings)
    assert isinstance(spec, Spec)
    assert ["[ticket] of [employee]"] == PatternRedactor(dict(spec.own))(["TCK-1 of E123456"])


def test_a_redactor() -> None:
    [example] = blocks("python")
    names: dict[str, Any] = {}
    exec(example, names)
    redactor: Redactor = names["Names"]()
    assert ["I am [name]", ""] == list(redactor(["I am Ada Lovelace", ""]))
