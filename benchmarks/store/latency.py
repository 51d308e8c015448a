"""The latency of a relay that stores, next to one that does not: their calls take turns."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc

from chatpb import from_dict
from chatpb.v1 import ChatCompletionRequest, CreateChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub

_WARM: Final = 200
_SECONDS: Final = 30


def latencies(count: int, url: str) -> dict[str, float]:
    """The median of unary calls, in milliseconds, without and with a store, and the difference.

    Args:
        count: How many calls of each are measured.
        url: The database.
    """
    with ExitStack() as stack:
        plain = stack.enter_context(_relay())
        storing = stack.enter_context(_relay("--store", url))
        times: dict[str, list[float]] = {"without": [], "with": []}
        for number in range(count + _WARM):
            request = _request(number)
            for name, stub in (("without", plain), ("with", storing)):
                began = time.perf_counter()
                _, call = stub.CreateChatCompletion.with_call(request, timeout=_SECONDS)
                taken = time.perf_counter() - began
                if any(key == "chatpb-stored" for key, _ in call.trailing_metadata()):
                    raise RuntimeError("a completion was not stored")
                if number >= _WARM:
                    times[name].append(1000 * taken)
    found = {name: median(each) for name, each in times.items()}
    pairs = zip(times["with"], times["without"], strict=True)
    return {**found, "difference": median(stored - other for stored, other in pairs)}


def _request(number: int) -> CreateChatCompletionRequest:
    question = f"What is the square of {number}? Explain it to a child, in two or three sentences."
    messages = [
        {"role": "system", "content": "You are a helpful assistant of a school."},
        {"role": "user", "content": question},
    ]
    members = {"model": "builtin", "messages": messages, "store": True, "metadata": {"a": "b"}}
    return CreateChatCompletionRequest(request=from_dict(members, ChatCompletionRequest))


@contextmanager
def _relay(*arguments: str) -> Iterator[Any]:
    """A relay with the builtin model, and a stub that calls it."""
    command = [str(Path(sys.executable).with_name("chatpb-server")), "--listen", "127.0.0.1:0"]
    command += ["--log-level", "error", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().removeprefix("listening on ").strip()
            with grpc.insecure_channel(address) as channel:
                yield ChatCompletionServiceStub(channel)
        finally:
            process.terminate()
