"""Redaction in front of the log: redactors of others, which may fail, hang or be slow."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatpb import ConversionError, to_dict
from chatpb.log import read
from chatpb.v1 import completion_record_pb2
from chatpb.v1.completion_record_pb2 import CompletionRecord
from chatpb_server.core.apart import Job
from chatpb_server.running.config import ConfigError
from chatpb_server.running.records import started_redaction
from chatpb_server.watching.record_limits import RecordTable
from chatpb_server.watching.redacting import Redaction, Spec, redact
from support.build import COMPLETION, create_request
from support.http_upstream import HttpUpstream, json_answer
from support.limits import TIMEOUT, within
from support.recording import KeptRedaction, over_both, records, relay
from support.relay_process import Upstream, finish, running

MODULE = """
import os, time

def shout(texts):
    return [text.upper() for text in texts]

def some(texts):
    if any("hang" in text for text in texts):
        time.sleep(1000)
    if any("die" in text for text in texts):
        os._exit(1)
    if any("fail" in text for text in texts):
        raise ValueError("quotes " + texts[0])
    if any("few" in text for text in texts):
        return []
    return shout(texts)
"""


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptRedaction]:
    """The redactor `some`, whose process finds its module."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "our_redactors.py").write_text(MODULE)
    redaction = KeptRedaction(Spec("our_redactors:some"), TIMEOUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        redaction.start()
        yield redaction
    redaction.end()


def record(text: str) -> bytes:
    record = CompletionRecord()
    record.error.error.message = text
    return record.SerializeToString()


def test_redactors_that_fail(some: KeptRedaction) -> None:
    for text, expected in (
        ("a", record("A")),
        ("fail", "error"),
        ("few", "error"),
        ("die", "error"),
        ("b", record("B")),
        ("hang", "timeout"),
        ("c", record("C")),
    ):
        seconds = 0.1 if text == "hang" else TIMEOUT
        assert expected == some.redacted(record(text), time.monotonic() + seconds)
    assert "timeout" == some.redacted(record("late"), time.monotonic() - 1)


def test_own_patterns_that_try_too_much_are_ended(tmp_path: Path) -> None:
    path = tmp_path / "patterns.toml"
    path.write_text("ticket = 'TCK-[0-9]+'\nevil = '(x+)+y'\n")
    table = RecordTable(directory=tmp_path, redact="patterns", redact_patterns=path)
    redaction = started_redaction(table)
    assert redaction is not None
    try:
        assert record("[ticket]") == redaction.redacted(record("TCK-1"), time.monotonic() + TIMEOUT)
        before = time.monotonic()
        assert "timeout" == redaction.redacted(record("x" * 60), before + 0.1)
        assert time.monotonic() - before < TIMEOUT
    finally:
        redaction.close()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"redact": "nowhere"}, "no package offers a redactor 'nowhere'"),
        ({"redact": "no_such_module:x"}, "No module named 'no_such_module'"),
        ({"redact": "json:nothing"}, "has no attribute 'nothing'"),
        ({"redact": "json:__name__"}, "expected a callable, got str"),
        ({"redact": "patterns", "redact_patterns": "nowhere.toml"}, "no such file"),
        ({"redact": "patterns", "redact_patterns": "bad.toml"}, "bad.toml: unterminated"),
        ({"redact_patterns": "bad.toml"}, "needs redact"),
    ],
)
def test_redactors_that_are_refused(
    settings: dict[str, Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.get("redact") != "nowhere":  # it alone is refused by a process
        monkeypatch.setattr(Redaction, "_call", lambda _self, _seconds, call, *args: call(*args))
    (tmp_path / "bad.toml").write_text("a = '['")
    if "redact_patterns" in settings:
        settings = {**settings, "redact_patterns": tmp_path / settings["redact_patterns"]}
    with pytest.raises(ConfigError) as caught:
        started_redaction(RecordTable(directory=tmp_path, **settings))
    [mistake] = caught.value.mistakes
    assert mistake.startswith("record: redact")
    assert text in mistake


@over_both
async def test_what_cannot_be_redacted_is_kept_as_metadata(
    edge: str, some: KeptRedaction, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    async with HttpUpstream() as upstream, relay(upstream.url, log, redaction=some) as client:
        for text in ("say", "fail"):
            await upstream.answer(json_answer(COMPLETION))
            messages = [{"role": "user", "content": text}]
            saw = await client.call(edge, stream=False, messages=messages)
            assert COMPLETION == saw.completion
    redacted, metadata = records(log)
    assert [{"role": "user", "content": "SAY"}] == to_dict(redacted.request)["messages"]
    assert completion_record_pb2.RECORD_KEPT_REDACTED == redacted.kept
    assert completion_record_pb2.RECORD_KEPT_METADATA == metadata.kept
    assert b"fail" not in metadata.SerializeToString()
    assert redacted.request_bytes > 0 < metadata.answer_bytes
    assert ["redacted", "metadata"] == client.kept
    lines = [each for each in caplog.records if "redaction failed" in each.getMessage()]
    assert [logging.ERROR] == [line.levelno for line in lines]
    assert "quotes" not in caplog.text


def test_a_process_that_hangs_ends_without_its_relay(some: KeptRedaction) -> None:
    job = Job(redact, some.spec, 0.1, record("hang"), False, processes=some._processes)
    with pytest.raises(ConversionError):
        job.run()


async def test_the_settings_of_recording_change_at_sighup(tmp_path: Path) -> None:
    path, log = tmp_path / "relay.toml", tmp_path / "log"

    def write(upstream: str, more: str) -> None:
        path.write_text(f'upstream = "{upstream}"\n[record]\ndirectory = "{log}"\n{more}\n')

    async with Upstream().serving() as upstream:
        write(upstream.url, 'rules = [{ caller = "b*", keep = "none" }]')
        async with running("--config", path, level="info") as (process, channel):
            assert process.stderr is not None
            create: Any = channel.unary_unary(
                "/chatpb.v1.ChatCompletionService/CreateChatCompletion",
                request_serializer=lambda message: message.SerializeToString(),
            )
            mail = [{"role": "user", "content": "a@b.com"}]
            for more in (None, 'redact = "patterns"', 'keep = "metadata"', 'keep = "none"'):
                if more is not None:
                    write(upstream.url, more)
                    process.send_signal(signal.SIGHUP)
                    while b"read the settings again" not in await within(process.stderr.readline()):
                        pass
                await within(create(create_request(messages=mail), timeout=TIMEOUT))
            process.send_signal(signal.SIGTERM)
            assert 0 == (await finish(process))[0]
    found = [entry.record for entry in read(log)]
    assert [0, completion_record_pb2.RECORD_KEPT_REDACTED, 1] == [each.kept for each in found]
    contents = [each.request.messages[0].content.text for each in found]
    assert ["a@b.com", "[email]", ""] == contents
