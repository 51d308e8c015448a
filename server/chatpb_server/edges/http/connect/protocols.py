"""The protocols in which rpcs can be called over HTTP, by the content type of a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiohttp import web

from chatpb_server.core.call import Call
from chatpb_server.core.failure import Failure
from chatpb_server.edges.http.connect import connect, grpc_web
from chatpb_server.edges.http.request import HttpPeer


class Protocol(NamedTuple):
    """How a call speaks.

    Attributes:
        content_type: The content type, of the request and of the answer.
        form: The form of its messages, JSON or binary.
        encoding: The header that names how messages of the request are compressed.
        accepts: The header that names how those of the answer may be.
        compresses: The header of an answer that names how they are.
        is_framed: Whether messages have a prefix. Otherwise a body is a message.
        is_text: Whether bodies are in base64.
        seconds: Says how long the caller waits, by its headers.
        end: The last message of a framed answer, by the trailing metadata and the failure.
    """

    content_type: str
    form: str
    encoding: str = "content-encoding"
    accepts: str = "accept-encoding"
    compresses: str = "content-encoding"
    is_framed: bool = False
    is_text: bool = False
    seconds: Callable[[Mapping[str, str]], float | None] = connect.seconds
    end: Callable[[connect.Trailers, Failure | None], tuple[int, bytes]] = connect.end_of_stream


def content_types(*, is_stream: bool) -> list[str]:
    """The content types of requests of an rpc."""
    return [*(connect.STREAMS if is_stream else connect.UNARY), *grpc_web.BINARY, *grpc_web.TEXT]


def protocol_of(content_type: str, *, is_stream: bool) -> Protocol | None:
    """The protocol that a content type belongs to; None if there is none for such an rpc."""
    kind = content_type.partition(";")[0].strip().lower()
    if not is_stream and (form := connect.UNARY.get(kind)):
        return Protocol(kind, form)
    if is_stream and (form := connect.STREAMS.get(kind)):
        names = ("connect-content-encoding", "connect-accept-encoding", "connect-content-encoding")
        return Protocol(kind, form, *names, is_framed=True)
    if form := grpc_web.BINARY.get(kind) or grpc_web.TEXT.get(kind):
        return Protocol(
            kind,
            form,
            *("grpc-encoding", "grpc-accept-encoding", "grpc-encoding"),
            is_framed=True,
            is_text=kind in grpc_web.TEXT,
            seconds=grpc_web.seconds,
            end=grpc_web.trailers,
        )
    return None


class RpcPeer(HttpPeer):
    """Who calls an rpc.

    Args:
        request: The request.
        call: The call.
        protocol: How it speaks.
    """

    def __init__(self, request: web.BaseRequest, call: Call, protocol: Protocol) -> None:
        super().__init__(request, call)
        self._protocol = protocol

    def time_remaining(self) -> float | None:
        """What is left of the time in the protocol's header, or in that of all requests.

        Raises:
            RefusalError: The header does not hold a time.
        """
        seconds = self._protocol.seconds(self._call.metadata)
        if seconds is None:
            return super().time_remaining()
        return seconds - (time.monotonic() - self._call.started)
