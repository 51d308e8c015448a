"""What the misbehaving upstream answers: bytes to write, and marks for everything else."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import responses
from typing import Any, Final, Literal


class Mark(StrEnum):
    """A step that writes nothing. Everything before it has been handed to the kernel."""

    WAIT = "wait"  # until `HttpUpstream.go`; reported by the event "waiting"
    HANG = "hang"  # until the peer leaves
    CLOSE = "close"  # end the connection in order, with FIN
    RESET = "reset"  # end the connection with RST


WAIT: Final = Mark.WAIT
HANG: Final = Mark.HANG
CLOSE: Final = Mark.CLOSE
RESET: Final = Mark.RESET


@dataclass(frozen=True, slots=True)
class Repeat:
    """A step that writes the same bytes many times; endlessly if `times` is None."""

    data: bytes
    times: int | None = None


Step = bytes | Repeat | Mark
Writes = Literal["whole", "steps", "bytes", "random"]
Framing = Literal["chunked", "length", "close"]
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer a request; see `json_answer`, `sse_answer` and `raw`.

    Attributes:
        steps: Bytes to write and marks to carry out, in this order.
        writes: How the bytes are cut: "steps" writes each step, and each repetition, at once;
            "whole" joins steps up to a mark; "random" does so and cuts anywhere; "bytes" writes
            byte by byte.
        seed: Of the random cuts.
        interval: Seconds between the beginnings of two writes.
        keep_alive: Whether the connection stays open at the end.
        is_early: Whether to answer as soon as the head of the request is read, without its body. If
            the peer has sent more than 2 MiB of body, it is not noticed when it leaves.
    """

    steps: tuple[Step, ...]
    writes: Writes = "steps"
    seed: int = 0
    interval: float = 0
    keep_alive: bool = True
    is_early: bool = False


def raw(
    *steps: Step,
    writes: Writes = "steps",
    seed: int = 0,
    interval: float = 0,
    keep_alive: bool = False,
    is_early: bool = False,
) -> Answer:
    """An answer that is written as given, without a head."""
    return Answer(steps, writes, seed, interval, keep_alive, is_early)


def http_answer(
    *body: Step,
    status: int = 200,
    headers: Headers = (),
    framing: Framing = "chunked",
    gzip: bool = False,
    before: Sequence[Step] = (),
    writes: Writes = "steps",
    seed: int = 0,
    interval: float = 0,
    is_early: bool = False,
) -> Answer:
    """An answer with a head and a body.

    Args:
        body: The body; each step is a chunk, if it goes in chunks.
        status: The HTTP status.
        headers: Headers in addition to those of framing and encoding. If one of those is given
            here, it is not added, so that a test can send a wrong one.
        framing: How the end of the body is marked. The length counts all steps, even those that a
            mark prevents from being written.
        gzip: Whether to compress the body.
        before: Steps before the head.
        writes: As in an `Answer`.
        seed: As in an `Answer`.
        interval: As in an `Answer`.
        is_early: As in an `Answer`.
    """
    lines = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in lines}
    steps = list(body)
    added: list[tuple[str, str]] = []
    if gzip:
        steps = gzipped(steps)
        added.append(("content-encoding", "gzip"))
    if framing == "chunked":
        steps = [*_in_chunks(steps), b"0\r\n\r\n"]
        added.append(("transfer-encoding", "chunked"))
    elif framing == "length":
        if "content-length" not in names:
            added.append(("content-length", str(_length(steps))))
    else:
        added.append(("connection", "close"))
    lines += [(name, value) for name, value in added if name not in names]
    return Answer(
        (*before, head(status, lines), *steps), writes, seed, interval, framing != "close", is_early
    )


def json_answer(
    *parts: Any, framing: Framing = "length", writes: Writes = "whole", **how: Any
) -> Answer:
    """An answer in JSON.

    Args:
        parts: The parts of its text: steps, or a value to be written as JSON.
        framing: As in `http_answer`.
        writes: As in an `Answer`.
        how: More for `http_answer`.
    """
    body = [part if isinstance(part, Step) else json.dumps(part).encode() for part in parts]
    return _typed("application/json", body, how, framing=framing, writes=writes)


def sse_answer(*events: Any, done: bool = True, **how: Any) -> Answer:
    """An answer that is an event stream.

    Args:
        events: Steps, which are written unchanged, or values of events (see `event`).
        done: Whether the event `[DONE]` follows.
        how: More for `http_answer`.
    """
    body = [part if isinstance(part, Step) else event(part) for part in events]
    if done:
        body.append(event(b"[DONE]"))
    return _typed("text/event-stream; charset=utf-8", body, how)


def event(data: Any) -> bytes:
    """An event of an event stream; its data is a text, or a value to write as JSON."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"data: " + text + b"\n\n"


def head(status: int, headers: Headers = ()) -> bytes:
    """The head of an answer, with the blank line that ends it."""
    lines = headers.items() if isinstance(headers, Mapping) else headers
    text = f"HTTP/1.1 {status} {responses.get(status, 'Odd')}\r\n"
    text += "".join(f"{n}: {v}\r\n" for n, v in lines)
    return (text + "\r\n").encode("latin-1")


def gzipped(steps: Iterable[Step]) -> list[Step]:
    """The same steps compressed; a repeated step is compressed once.

    So a gigabyte takes a few repetitions of a few bytes.
    """
    # Each step is flushed in full, so its bytes do not depend on those before it.
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed: list[Step] = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    check = size = 0
    for step in steps:
        if isinstance(step, Mark):
            packed.append(step)
            continue
        data = step.data if isinstance(step, Repeat) else step
        times = step.times or 0 if isinstance(step, Repeat) else 1
        small = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
        packed.append(Repeat(small, step.times) if isinstance(step, Repeat) else small)
        for _ in range(times):
            check = zlib.crc32(data, check)
        size += len(data) * times
    packed.append(packer.flush() + struct.pack("<II", check, size & 0xFFFFFFFF))
    return packed


def _typed(kind: str, body: Sequence[Step], how: Mapping[str, Any], **more: Any) -> Answer:
    """An answer of a content type, unless its headers have one."""
    headers = how.get("headers", ())
    lines = list(headers.items() if isinstance(headers, Mapping) else headers)
    if all(name.lower() != "content-type" for name, _ in lines):
        lines.insert(0, ("content-type", kind))
    return http_answer(*body, **{**how, **more, "headers": lines})


def _in_chunks(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Mark):
            yield step
        elif isinstance(step, Repeat):
            yield Repeat(_chunk(step.data), step.times)
        elif step:  # an empty chunk would be the end
            yield _chunk(step)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _length(steps: Iterable[Step]) -> int:
    length = 0
    for step in steps:
        if isinstance(step, bytes):
            length += len(step)
        elif isinstance(step, Repeat):
            if step.times is None:
                raise ValueError("an endless body has no length")
            length += len(step.data) * step.times
    return length
