"""Structured logs: one line for each call that is over.

What is never in them: requests, answers, metadata, and the texts of exceptions that may quote them.
The traceback of an exception is logged as types, files, lines and functions. The text of an
exception is logged only for the faults of upstreams, whose texts are fixed, and for errors of the
operating system. Other texts may contain content (``KeyError`` shows the key, `ConversionError`
what it has read), so they are left out, even if another library logs them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import PurePath
from traceback import walk_tb
from types import MappingProxyType
from typing import Any, Final, Literal, TextIO

from grpc import StatusCode

from chatpb import ConversionError
from chatpb.store import StoreError
from chatpb_server.core.call import Call
from chatpb_server.core.upstream import UpstreamFault
from chatpb_server.watching.descriptors import is_out_of_descriptors, log_out_of_descriptors
from chatpb_server.watching.observers import SilentObserver
from chatpb_server.watching.repeats import Repeats

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_PACKAGE: Final = "chatpb_server"
_logger = logging.getLogger(__name__)

# What the standard library looks up for each record, and no line shows.
_NOT_SHOWN: Final = ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks")
_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
_MOST_LENGTH: Final = 200
_MOST_FRAMES: Final = 30
_MOST_CAUSES: Final = 10

# Statuses that no caller can do anything about, and those that an operator should look at.
_ERRORS: Final = frozenset({StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS})
_WARNINGS: Final = frozenset(
    {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED}
)

# Arguments that are shown in the messages of other libraries.
_SHOWN: Final = int | float | Enum | PurePath

# What needs no quotes in a line of text.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@+-]+", re.ASCII)


class LogObserver(SilentObserver):
    """Logs each call at its end, and each attempt where the level is ``debug``.

    A call is INFO, even if it fails by its caller's fault; WARNING if the upstream or the relay
    could not take it; ERROR, with a traceback, if something is broken.
    """

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:
        """Logs an attempt."""
        if _logger.isEnabledFor(logging.DEBUG):
            fields = {
                "id": call.id,
                "upstream": call.upstream,
                "outcome": outcome,
                "duration_ms": _milliseconds(seconds),
            }
            _logger.debug("upstream asked", extra={"fields": fields})

    def ended(self, call: Call, code: StatusCode, error: BaseException | None) -> None:
        """Logs the call."""
        level = logging.INFO
        if code in _ERRORS:
            level = logging.ERROR
        elif code in _WARNINGS:
            level = logging.WARNING
        if not _logger.isEnabledFor(level):
            return
        first = None if call.first_sent is None else call.first_sent - call.started
        fields = {
            "id": call.id,
            "method": call.method.rpartition("/")[2],
            "caller": call.caller,
            "model": call.model,
            "upstream": call.upstream,
            "code": code.name,
            "attempts": call.attempts,
            "chunks": call.chunks,
            "tokens_in": call.tokens_in,
            "tokens_out": call.tokens_out,
            "duration_ms": _milliseconds(time.monotonic() - call.started),
            "first_ms": None if first is None else _milliseconds(first),
            "trace_id": call.trace_id,
        }
        if error is not None:
            fields["error"] = _line(error)
            if (cause := _cause(error)) is not None:
                fields["cause"] = _line(cause)
        trace = None
        if error is not None and level == logging.ERROR:
            trace = (type(error), error, error.__traceback__)
        # Not `log`, which looks for the line of code that called it.
        record = logging.LogRecord(__name__, level, "", 0, "call ended", None, trace)
        record.fields = fields
        _logger.handle(record)


def configure_logging(
    format: LogFormat = "text",  # noqa: A002 (the name of the option)
    level: LogLevel = "info",
    stream: TextIO | None = None,
) -> None:
    """Writes the logs of the process, one record a line (a traceback in text takes more).

    Of repeated warnings and errors, one a second is written; see `Repeats`.

    Args:
        format: ``json``, or ``text``: time, level, message, and ``name=value``.
        level: The least level of this package's records. Other libraries' begin at ``warning``:
            below that, some log what they send.
        stream: Where to write; None is standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(Repeats())
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    logging.getLogger(_PACKAGE).setLevel(number)
    # A record that cannot be written would be shown whole, with its arguments.
    logging.raiseExceptions = False
    for name in _NOT_SHOWN:
        setattr(logging, name, False)


def log_loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:  # noqa: ARG001
    """Logs an error that no task took, for ``loop.set_exception_handler``.

    The loop's own handler shows the task with the text of its exception, and arguments.
    """
    error = context.get("exception")
    if is_out_of_descriptors(error):  # asyncio's server cannot accept a connection
        log_out_of_descriptors()
    else:
        _logger.error("error in the event loop", exc_info=error)


def describe(error: BaseException) -> str:
    """The traceback of an exception and of its causes, without source text and values."""
    return "\n".join(_trace(error, set()))


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    yield _line(error)
    # RecursionError has a thousand of them; the last ones say where it is.
    frames = deque(walk_tb(error.__traceback__), _MOST_FRAMES)
    for frame, line in frames:
        yield f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            if id(part) not in seen and len(seen) < _MOST_CAUSES:
                yield from ("  " + text for text in _trace(part, seen))
    cause = _cause(error)
    if cause is not None and id(cause) not in seen and len(seen) < _MOST_CAUSES:
        yield "caused by"
        yield from _trace(cause, seen)


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _line(error: BaseException) -> str:
    """The type of an exception, and its text if that cannot quote anything."""
    kind = type(error)
    text = ""
    if isinstance(error, (UpstreamFault, StoreError)):
        text = str(error)
    elif isinstance(error, OSError):
        text = error.strerror or ""
    elif isinstance(error, ConversionError) and error.offset is not None:
        text = f"byte {error.offset}"
    return f"{kind.__qualname__}: {_cut(text)}" if text else kind.__qualname__


def _message(record: logging.LogRecord) -> str:
    """The message of a record: whole if it is ours, else a line without arguments that are text.

    Paths are shown: operators choose them, callers do not.
    """
    if record.name.partition(".")[0] == _PACKAGE:
        return record.getMessage()
    text = record.msg if isinstance(record.msg, str) else type(record.msg).__qualname__
    if isinstance(record.args, tuple) and record.args:
        args = tuple(arg if isinstance(arg, _SHOWN) else "..." for arg in record.args)
        with suppress(TypeError, ValueError):  # it stays a template
            text %= args
    return _cut(text.partition("\n")[0])


class _Formatter(logging.Formatter):
    """What both formats have in common. The handler's lock is held while they are used."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._second_text = ""

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:  # busy relays write hundreds of lines in a second
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int(record.msecs):03d}Z"


class _JsonFormatter(_Formatter):
    # The standard library's writer, not orjson: it escapes all that is not ASCII, so that nothing
    # a caller has chosen can end a line or reach a terminal, and takes lone surrogates.
    def format(self, record: logging.LogRecord) -> str:
        members = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in getattr(record, "fields", _NO_FIELDS).items():
            if value is not None and value != "":
                members[name] = _cut(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[1] is not None:
            members["traceback"] = describe(record.exc_info[1])
        return _escaped(members)


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = _escaped(_message(record))[1:-1]
        if record.name != __name__:
            message = f"{record.name}: {message}"
        words = [self._time(record), record.levelname, message]
        for name, value in getattr(record, "fields", _NO_FIELDS).items():
            if value is not None and value != "":
                words.append(f"{name}={_plain(value)}")
        line = " ".join(words)
        if record.exc_info and record.exc_info[1] is not None:
            trace = describe(record.exc_info[1]).split("\n")
            line = "\n".join([line, *(f"  {_escaped(text)[1:-1]}" for text in trace)])
        return line


def _plain(value: object) -> str:
    if type(value) is int or type(value) is float:
        return str(value)
    if isinstance(value, str):
        value = _cut(value)
        if _PLAIN.fullmatch(value):
            return value
    return _escaped(value)


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _escaped(value: object) -> str:
    return _encode(value).replace("\x7f", "\\u007f")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LENGTH else text[:_MOST_LENGTH] + "..."


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
