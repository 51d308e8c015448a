"""Logs: the line of each call, and what is never in it."""

# Assertions read `expected == actual`, also where what is expected is a literal.

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from chatpb import ConversionError
from chatpb_server.core.call import Call
from chatpb_server.core.upstream import UpstreamConnectError, UpstreamError
from chatpb_server.watching.logs import (
    LogFormat,
    LogLevel,
    LogObserver,
    configure_logging,
    describe,
    log_loop_error,
)
from chatpb_server.watching.observers import Observers, SilentObserver
from support.calls import STREAM


class Output(io.StringIO):
    """What is logged."""

    def lines(self) -> list[str]:
        """The lines, as a reader splits them that knows all of Unicode's line ends."""
        return self.getvalue().splitlines()

    def records(self) -> list[dict[str, Any]]:
        """The objects."""
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def output() -> Iterator[Output]:
    """Where `configured` logs. The logging of the process is afterwards what it was before."""
    root, ours = logging.getLogger(), logging.getLogger("chatpb_server")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    raise_exceptions = logging.raiseExceptions
    for handler in handlers:  # `configure_logging` would close pytest's
        root.removeHandler(handler)
    try:
        yield Output()
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        logging.raiseExceptions = raise_exceptions


def a_call(**members: Any) -> Call:
    members = {"id": "c1", "caller": "alice", "model": "m", "upstream": "vllm", **members}
    return Call(STREAM, {"authorization": "Bearer secret"}, **members)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The error, with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_call(output: Output) -> None:
    configure_logging("json", stream=output)
    now = time.monotonic()
    call = a_call(
        attempts=2,
        chunks=3,
        tokens_in=10,
        tokens_out=0,
        started=now - 2,
        first_sent=now - 0.5,
        trace_id="ab",
    )
    LogObserver().attempted(call, "200", 1.5)
    LogObserver().ended(call, StatusCode.OK, None)
    [record] = output.records()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert 2000 <= record.pop("duration_ms") < 60_000
    expected = {
        "level": "info",
        "logger": "chatpb_server.watching.logs",
        "message": "call ended",
        "id": "c1",
        "method": "StreamChatCompletion",
        "caller": "alice",
        "model": "m",
        "upstream": "vllm",
        "code": "OK",
        "attempts": 2,
        "chunks": 3,
        "tokens_in": 10,
        "tokens_out": 0,
        "first_ms": 1500.0,
        "trace_id": "ab",
    }
    assert expected == record


def test_a_call_as_text(output: Output) -> None:
    configure_logging("text", stream=output)
    LogObserver().ended(a_call(model="two words"), StatusCode.OK, None)
    [line] = output.lines()
    line = re.sub(r"^\S+Z ", "", re.sub(r"(duration_ms)=\S+", r"\1=0", line))
    expected = (
        "INFO call ended id=c1 method=StreamChatCompletion caller=alice "
        'model="two words" upstream=vllm code=OK attempts=0 chunks=0 duration_ms=0'
    )
    assert expected == line


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (StatusCode.OK, "info"),
        (StatusCode.CANCELLED, "info"),
        (StatusCode.INVALID_ARGUMENT, "info"),
        (StatusCode.UNAUTHENTICATED, "info"),
        (StatusCode.RESOURCE_EXHAUSTED, "warning"),
        (StatusCode.UNAVAILABLE, "warning"),
        (StatusCode.DEADLINE_EXCEEDED, "warning"),
        (StatusCode.DATA_LOSS, "error"),
        (StatusCode.INTERNAL, "error"),
        (StatusCode.UNKNOWN, "error"),
    ],
)
def test_levels(code: StatusCode, level: str, output: Output) -> None:
    configure_logging("json", stream=output)
    LogObserver().ended(a_call(), code, None)
    assert [level] == [record["level"] for record in output.records()]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["upstream asked", "call ended", "call ended"]),
        ("info", ["call ended", "call ended"]),
        ("warning", ["call ended"]),
        ("error", []),
    ],
)
def test_the_least_level(level: LogLevel, expected: list[str], output: Output) -> None:
    configure_logging("json", level, output)
    observer = LogObserver()
    observer.attempted(a_call(), "200", 0.1)
    observer.ended(a_call(), StatusCode.OK, None)
    observer.ended(a_call(), StatusCode.UNAVAILABLE, None)
    logging.getLogger("aiohttp").info("what others say of it")
    assert expected == [record["message"] for record in output.records()]


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param("m\nINFO call ended code=OK", id="newline"),
        pytest.param('m" code=OK "', id="quote"),
        pytest.param("m\r\x1b[2J\x9b2J\x7f\x00\\", id="terminal"),
        pytest.param("m\u2028n\u2029o\u0085p\u202e", id="unicode line ends"),
        pytest.param("m\ud800", id="surrogate"),
    ],
)
def test_what_a_caller_sends_stays_in_its_place(
    form: LogFormat, model: str, output: Output
) -> None:
    configure_logging(form, stream=output)
    LogObserver().ended(a_call(model=model), StatusCode.OK, None)
    [line] = output.lines()
    assert line.isascii()
    assert line.isprintable()
    if form == "json":
        assert model == json.loads(line)["model"]
    else:
        assert f" model={json.dumps(model)} ".replace("\x7f", "\\u007f") in line


@pytest.mark.parametrize("form", ["json", "text"])
def test_long_values_are_cut(form: LogFormat, output: Output) -> None:
    configure_logging(form, stream=output)
    LogObserver().ended(a_call(model="x" * 1_000_000), StatusCode.OK, None)
    [line] = output.lines()
    assert "x" * 200 + "..." in line
    assert len(line) < 1000


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_unknown_error_shows_where_it_is_and_not_what_it_says(
    form: LogFormat, output: Output
) -> None:
    configure_logging(form, stream=output)
    deep = raised(ConversionError("expected ',', got 'secret'", "$.secret", 7))
    error = raised(KeyError("secret"), deep)
    LogObserver().ended(a_call(), StatusCode.INTERNAL, error)
    assert "secret" not in output.getvalue()
    if form == "json":
        [record] = output.records()
        assert ("error", "c1", "KeyError") == (record["level"], record["id"], record["error"])
        trace = record["traceback"].splitlines()
    else:
        line, *trace = output.lines()
        assert "ERROR call ended id=c1" in line
        trace = [text.removeprefix("  ") for text in trace]
    where = rf"  {re.escape(__file__)}:\d+ in raised"
    for pattern, text in zip(
        ["KeyError", where, "caused by", "ConversionError: byte 7", where], trace, strict=True
    ):
        assert re.fullmatch(pattern, text)


def test_a_callers_fault_has_no_traceback(output: Output) -> None:
    configure_logging("json", stream=output)
    error = raised(UpstreamError(429, b'{"error": {"message": "secret"}}'))
    LogObserver().ended(a_call(), StatusCode.RESOURCE_EXHAUSTED, error)
    assert "secret" not in output.getvalue()
    [record] = output.records()
    assert "UpstreamError: the upstream answered with HTTP status 429" == record["error"]
    assert "traceback" not in record


def test_why_an_upstream_was_not_reached(output: Output) -> None:
    configure_logging("json", stream=output)
    refused = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    error = raised(UpstreamConnectError("no connection"), refused)
    LogObserver().ended(a_call(), StatusCode.UNAVAILABLE, error)
    [record] = output.records()
    assert "UpstreamConnectError: no connection" == record["error"]
    assert "ConnectionRefusedError: Connection refused" == record["cause"]


class RequestError(ValueError):
    """An error of the relay's own that quotes what it has read."""

    __module__ = "chatpb_server.core.service"


def test_the_relays_own_errors_are_not_trusted_either() -> None:
    assert "RequestError" == describe(RequestError("secret"))


def test_the_text_of_the_operating_system_is_shown() -> None:
    error = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), "secret")
    assert "ConnectionRefusedError: Connection refused" == describe(error)


def test_groups_and_circles() -> None:
    group = ExceptionGroup("secret", [ValueError("secret"), TypeError("secret")])
    group.__cause__ = group.exceptions[0]
    assert ["ExceptionGroup", "  ValueError", "  TypeError"] == describe(group).splitlines()
    circle = KeyError("secret")
    circle.__context__ = group
    group.exceptions[1].__context__ = circle
    expected = ["KeyError", "caused by", "ExceptionGroup", "  ValueError", "  TypeError"]
    assert expected == describe(circle).splitlines()


def test_a_deep_recursion_is_short() -> None:
    def recurse() -> None:
        recurse()

    with pytest.raises(RecursionError) as caught:
        recurse()
    assert 31 == len(describe(caught.value).splitlines())


class Odd:
    """What has a secret for a text."""

    def __str__(self) -> str:
        return "secret"


def test_other_libraries_texts_are_not_trusted(output: Output) -> None:
    configure_logging("json", stream=output)
    logger = logging.getLogger("library")
    code = StatusCode.UNAVAILABLE
    logger.warning("sent %s to %r: %s, %d of %.1f", "secret", Odd(), code, 3, 2.5)
    logger.warning("%(key)s", {"key": "secret"})
    logger.warning("%d", "secret")
    logger.warning("cannot write %s", Path("/log"))
    logger.error(Odd())
    logger.error("task failed\nfuture: <Task exception=secret>")
    logger.error("failed", exc_info=raised(ValueError("secret")))
    assert "secret" not in output.getvalue()
    records = output.records()
    expected = [
        "sent ... to '...': StatusCode.UNAVAILABLE, 3 of 2.5",
        "%(key)s",
        "%d",
        "cannot write /log",
        "Odd",
        "task failed",
        "failed",
    ]
    assert expected == [record["message"] for record in records]
    assert records[-1]["traceback"].startswith("ValueError\n")


class Unloggable(SilentObserver):
    """An observer that fails with what it has seen."""

    def began(self, call: Call) -> None:
        """Fails."""
        raise ValueError(call.metadata)


def test_the_faults_of_observers_show_no_metadata(output: Output) -> None:
    configure_logging("json", stream=output)
    Observers([Unloggable()]).began(a_call())
    assert "secret" not in output.getvalue()
    [record] = output.records()
    assert "Unloggable.began failed; further failures are not logged" == record["message"]


async def test_errors_that_no_task_took(output: Output) -> None:
    configure_logging("json", stream=output)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)

    def fail(text: str) -> None:
        raise ValueError(text)

    called = asyncio.Event()
    loop.call_soon(fail, "secret")
    loop.call_soon(called.set)
    await called.wait()
    assert "secret" not in output.getvalue()
    [record] = output.records()
    assert "error in the event loop" == record["message"]
    assert record["traceback"].startswith("ValueError\n")
