"""An HTTP upstream that behaves as badly as a test asks, in a process of its own.

The controller, `HttpUpstream`, starts the process and sends it the answers:

    async with HttpUpstream() as upstream:
        await upstream.answer(sse_answer(chunk("a"), WAIT, chunk("b"), RESET))
        ...  # call upstream.url
        request = await upstream.next_request()
        await upstream.next("waiting")
        await upstream.go()
        await upstream.next("done")

The process knows only where an HTTP request ends. An answer is a list of steps, made by the
controller, which the process carries out one by one. It can also run alone; it then reads commands
from standard input, one JSON text on each line: `PYTHONPATH=tests python -m support.http_upstream`.
"""

from support.http_upstream.answer import (
    CLOSE,
    HANG,
    RESET,
    WAIT,
    Answer,
    Framing,
    Headers,
    Mark,
    Repeat,
    Step,
    Writes,
    event,
    gzipped,
    head,
    http_answer,
    json_answer,
    raw,
    sse_answer,
)
from support.http_upstream.control import Event, HttpUpstream, Request, State
from support.http_upstream.unreachable import never_accepting, refusing

__all__ = [
    "CLOSE",
    "HANG",
    "RESET",
    "WAIT",
    "Answer",
    "Event",
    "Framing",
    "Headers",
    "HttpUpstream",
    "Mark",
    "Repeat",
    "Request",
    "State",
    "Step",
    "Writes",
    "event",
    "gzipped",
    "head",
    "http_answer",
    "json_answer",
    "never_accepting",
    "raw",
    "refusing",
    "sse_answer",
]
