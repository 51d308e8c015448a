"""Ends the spans of calls, once what the conventions for GenAI ask for has been read.

It is read in a thread, after the call is over. Only modules that need OpenTelemetry import this.
"""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.trace import Span, set_span_in_context

from chatpb_server.core.call import Call
from chatpb_server.watching.contents import ContentRecorder, Contents
from chatpb_server.watching.genai import (
    STOP_SEQUENCES,
    answer_attributes,
    request_attributes,
    request_binary,
)
from chatpb_server.watching.messages import input_messages, output_messages

_logger = logging.getLogger(__name__)

#: How many calls that are over can wait until what they asked has been read, and how many bytes
#: they can have. The spans of more lack what is read from the request and the answer.
_MOST_PENDING: Final = 256
_MOST_BYTES: Final = 64 * 1024 * 1024
#: The event with the details of a call.
EVENT: Final = "gen_ai.client.inference.operation.details"


class Details:
    """Adds to spans what is read from requests and answers, and ends them.

    Args:
        contents: Records the messages of calls. None: they are not asked for.
        on_spans: Whether the spans get the messages.
        events: Where an event with all attributes and messages goes. None: there is none.

    Attributes:
        contents: The argument.
    """

    def __init__(
        self,
        contents: ContentRecorder | None = None,
        *,
        on_spans: bool = True,
        events: LoggerProvider | None = None,
    ) -> None:
        self.contents = contents
        self._on_spans = on_spans
        self._events = events
        self._event_logger = None if events is None else events.get_logger("chatpb_server")
        self._thread = ThreadPoolExecutor(1, "chatpb.spans")
        self._pending = 0
        self._pending_bytes = 0
        self._lock = Lock()

    def end(self, span: Span, call: Call, *, is_stream: bool) -> None:
        """Ends the span of a call that is over, as of now."""
        contents = None if self.contents is None else self.contents.take(call.id)
        if call.body is not None and span.is_recording() and self._has_room(size := _size(call)):
            self._thread.submit(self._read, span, call, is_stream, contents, time.time_ns(), size)
        else:
            span.end()
            if contents is not None:
                contents.forget()

    def close(self) -> None:
        """Blocks until all that was read has been sent."""
        self._thread.shutdown()
        if self._events is not None:
            self._events.shutdown()

    def _has_room(self, size: int) -> bool:
        """Takes room for one more call that waits, if there is any."""
        with self._lock:
            if self._pending >= _MOST_PENDING or self._pending_bytes + size > _MOST_BYTES:
                return False
            self._pending += 1
            self._pending_bytes += size
            return True

    def _read(
        self,
        span: Span,
        call: Call,
        is_stream: bool,
        contents: Contents | None,
        end: int,
        size: int,
    ) -> None:
        try:
            assert call.body is not None
            request = request_binary(*call.body.given)
            attributes = request_attributes(request)
            if call.wish != "all":
                attributes.pop(STOP_SEQUENCES, None)  # texts of the caller
            span.set_attributes(attributes)
            span.set_attributes(answer_attributes(call.ends, is_stream=is_stream))
            if contents is not None:
                self._add_messages(span, request, contents, end)
        except Exception:
            _logger.exception("a span is not complete: a part of its call cannot be read")
        finally:
            span.end(end)
            if contents is not None:
                contents.forget()
            with self._lock:
                self._pending -= 1
                self._pending_bytes -= size

    def _add_messages(self, span: Span, request: bytes, contents: Contents, end: int) -> None:
        asked, asked_cut = input_messages(request if contents.request else b"")
        given, given_cut = output_messages(contents.completion, contents.chunks)
        messages: dict[str, Any] = {"gen_ai.input.messages": asked}
        if given:
            messages["gen_ai.output.messages"] = given
        if asked_cut or given_cut or contents.is_cut:
            span.set_attribute("chatpb.content.truncated", True)
        if self._event_logger is not None:
            attributes: dict[str, Any] = dict(getattr(span, "attributes", None) or {})
            record = LogRecord(
                timestamp=end,
                context=set_span_in_context(span, Context()),
                severity_number=SeverityNumber.INFO,
                event_name=EVENT,
                attributes=attributes | messages,
            )
            self._event_logger.emit(record)
        if self._on_spans:
            for name, value in messages.items():
                span.set_attribute(name, json.dumps(value, ensure_ascii=False))


def _size(call: Call) -> int:
    """How many bytes are kept until they have been read."""
    assert call.body is not None
    return len(call.body.given[0]) + sum(map(len, call.ends))
