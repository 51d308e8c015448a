"""The settings that bound calls and connections."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from chatpb_server.core.setting import (
    MAX_MESSAGE_BYTES,
    Bytes,
    Count,
    Seconds,
    Setting,
    Table,
)
from chatpb_server.core.upstream import MAX_EVENT_BYTES

#: So many calls a connection can have at least, unless the settings say otherwise: the guard, which
#: tells why, refuses those that can neither run nor wait, and not gRPC.
_LEAST_STREAMS: Final = 1000
_GUIDE: Final = """\
These limits hold in each process, for callers with and without a token. How to choose them:

- Memory: a process of 70 MB holds in addition up to 1.2 times `max_held_bytes` of requests, one
  message of `max_message_bytes` while it is put together, 0.4 MB for each connection whose caller
  sends the next request before it has the answer, and the answers of running calls: 1 MB for each
  stream, and twice its size for an answer that comes as a whole. While such answers are sent, they
  count as held, so that new requests are refused if callers do not read. If the largest messages
  are much larger than the usual ones, set `max_held_bytes` by the memory of the machine.
- `max_connection_bytes`: lower it if callers share connections with others that are not trusted;
  leave it if another relay calls over one connection.
- A request that is passed to the fallback counts as 256 KiB, however long it and its answer are:
  no more of them is in memory.
- `max_connections`: each takes a file descriptor, and each running call takes another one. If
  there are too many, the connection that has been without a request for longest is closed; if all
  have one, the new connection is refused.
- `body_timeout` and `min_rate`: the largest message has to come in time over the slowest network
  of a caller. 64 MiB in 120 seconds need 4.5 Mbit/s.
- `stall_timeout`: longer than callers stop reading while they use what they have read. After
  SIGTERM it is 2 seconds at most.
- `idle_timeout`: longer than that of a load balancer in front of the relay, which otherwise sends
  a request on a connection that the relay is closing.
"""


class Limits(Table):
    """What bounds calls and connections, in each process."""

    title: ClassVar[str] = "Limits, in each process"
    guide: ClassVar[str] = _GUIDE

    max_running: Annotated[
        Count,
        Setting(
            "How many calls can run at once. A call runs until the last byte of its answer is"
            " sent.",
            flag="--max-running",
            unit="calls",
        ),
    ] = 1000
    max_waiting: Annotated[
        int,
        Field(ge=0),
        Setting(
            "How many more calls can wait for their turn. Further calls are refused.",
            flag="--max-waiting",
            unit="calls",
        ),
    ] = 1000
    timeout: Annotated[
        Seconds,
        Setting(
            "How long a call can take, even if its deadline is later. 0: no limit.",
            flag="--timeout",
            unit="seconds",
        ),
    ] = 3600
    max_message_bytes: Annotated[
        Bytes,
        Setting(
            "The largest message, in either direction. gRPC's own limit of 4 MiB is less than a"
            " request with images, or a completion with the log probabilities of many choices.",
            unit="bytes",
        ),
    ] = MAX_MESSAGE_BYTES
    max_event_bytes: Annotated[
        Bytes,
        Setting("The largest event in the stream of an upstream.", unit="bytes"),
    ] = MAX_EVENT_BYTES
    max_held_bytes: Annotated[
        Count | None,
        Setting(
            "How many bytes all requests together can hold, from their first byte until their"
            " calls end. Requests that need more are refused.",
            flag="--max-held-bytes",
            unit="bytes",
            default="8 times max_message_bytes",
        ),
    ] = None
    max_connection_bytes: Annotated[
        Count | None,
        Setting(
            "How many of these bytes the requests of one connection can hold.",
            flag="--max-connection-bytes",
            unit="bytes",
            default="half of max_held_bytes",
        ),
    ] = None
    max_connections: Annotated[
        Count,
        Setting(
            "How many connections callers can have at once. Further connections are refused.",
            flag="--max-connections",
            unit="connections",
        ),
    ] = 4096
    max_streams: Annotated[
        Count | None,
        Setting(
            "How many calls a gRPC connection can have at once. Clients hold further calls back"
            " until one has ended.",
            flag="--max-streams",
            unit="calls",
            default="max_running, but at least 1000",
        ),
    ] = None
    max_metadata_bytes: Annotated[
        int,
        Field(ge=1, le=2**20),
        Setting(
            "How many bytes the metadata of a gRPC call can have: for each entry those of its name"
            " and its value, and 32 more.",
            flag="--max-metadata-bytes",
            unit="bytes",
        ),
    ] = 16 * 1024
    head_timeout: Annotated[
        Seconds,
        Setting(
            "How long the headers of a request, and a TLS handshake, can take. 0: no limit.",
            flag="--head-timeout",
            unit="seconds",
        ),
    ] = 20
    body_timeout: Annotated[
        Seconds,
        Setting(
            "How long the body of a request can take as a whole, unless it goes to the fallback;"
            " over gRPC, a message in either direction. 0: no limit.",
            flag="--body-timeout",
            unit="seconds",
        ),
    ] = 120
    idle_timeout: Annotated[
        Seconds,
        Setting(
            "How long a connection without a request stays open. 0: no limit.",
            flag="--idle-timeout",
            unit="seconds",
        ),
    ] = 75
    stall_timeout: Annotated[
        Seconds,
        Setting(
            "Over how many seconds `min_rate` is measured, and how long a connection can make no"
            " progress at all. 0: no limit.",
            flag="--stall-timeout",
            unit="seconds",
        ),
    ] = 30
    min_rate: Annotated[
        int,
        Field(ge=0),
        Setting(
            "The least rate at which a caller has to send the body of a request, and to read an"
            " answer.",
            flag="--min-rate",
            unit="bytes per second",
        ),
    ] = 500

    @model_validator(mode="after")
    def _has_room_for_one(self) -> Self:
        for name in ("max_held_bytes", "max_connection_bytes"):
            value = getattr(self, name)
            if value is not None and value < self.max_message_bytes:
                raise ValueError(
                    f"{name} is less than max_message_bytes, {self.max_message_bytes}: the largest"
                    " message would never be accepted"
                )
        return self

    @property
    def seconds(self) -> float | None:
        """How many seconds a call can take. None: no limit."""
        return self.timeout or None

    @property
    def held_bytes(self) -> int:
        """How many bytes all requests together can hold."""
        return self.max_held_bytes or 8 * self.max_message_bytes

    @property
    def streams(self) -> int:
        """How many calls a gRPC connection can have at once."""
        return self.max_streams or max(_LEAST_STREAMS, self.max_running)

    @property
    def connection_bytes(self) -> int:
        """How many bytes the requests of one connection can hold."""
        return self.max_connection_bytes or max(self.max_message_bytes, self.held_bytes // 2)
