"""A server that is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.load import PATH
from relay.plan import Plan

DIRECT: Final = "direct"
PASSTHROUGH: Final = "grpc.aio pass-through"
RELAY: Final = "chatpb relay"
EDGE: Final = "HTTP edge"
TWO: Final = "HTTP edge, relay"
PAIR: Final = "relay, relay"
ENVOY: Final = "Envoy's transcoder"
TENSORZERO: Final = "TensorZero"
LITELLM: Final = "LiteLLM's proxy"


def as_planned(plan: Plan) -> None:
    """No other body than that of the plan."""


@dataclass(frozen=True)
class Subject:
    """A server that answers.

    Attributes:
        name: What the tables call it.
        grpc: Whether it speaks gRPC.
        port: Where it listens, on 127.0.0.1.
        pids: The process whose use is watched, and those behind it.
        upstream: The process that answers in the end.
        key: The bearer token that it requires.
        compact: Whether it is asked for compact chunks.
        path: The path of requests over HTTP.
        body: The body of the request of a plan, over HTTP. None: that of the plan.
        streams: Whether it streams.
    """

    name: str
    grpc: bool
    port: int
    pids: tuple[int, ...]
    upstream: int
    key: str = "none"
    compact: bool = False
    path: str = PATH
    body: Callable[[Plan], str | None] = as_planned
    streams: bool = True
