"""From an HTTP request to a call, and what both transports share of sending it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import unquote

import grpc
import httpx2
from grpc import ChannelConnectivity

from chatpb._errors import ArgumentValueError, StateError, wrong_type
from chatpb._forks import Owner
from chatpb._mapping.convert import json_to_binary
from chatpb._rpc.deadline import ends_early_by
from chatpb._rpc.metadata import QUERY_KEY, Metadata, checked
from chatpb._rpc.server import Server, timeout_of
from chatpb._rpc.stored import SERVICE as STORED_SERVICE
from chatpb._rpc.stored import UPDATE, StoredPlace, path_of, request_of, stored_place
from chatpb._wire import embedded, spans
from chatpb.v1 import model_service_pb2
from chatpb.v1.chat_completion_request_pb2 import ChatCompletionRequest
from chatpb.v1.chat_completion_service_pb2 import (
    DESCRIPTOR,
    CreateChatCompletionRequest,
    StreamChatCompletionRequest,
)
from chatpb.v1.stored_chat_completion_pb2 import ChatCompletionUpdate

_TransportT = TypeVar("_TransportT", httpx2.BaseTransport, httpx2.AsyncBaseTransport)

PATH: Final = "/chat/completions"
_SERVICE: Final = DESCRIPTOR.services_by_name["ChatCompletionService"]
CREATE: Final = f"/{_SERVICE.full_name}/CreateChatCompletion"
STREAM: Final = f"/{_SERVICE.full_name}/StreamChatCompletion"
_MODEL_SERVICE: Final = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
LIST_MODELS: Final = f"/{_MODEL_SERVICE.full_name}/ListModels"
GET_MODEL: Final = f"/{_MODEL_SERVICE.full_name}/GetModel"
#: The rpcs without streams.
UNARIES: Final = (CREATE, LIST_MODELS, GET_MODEL, *map(path_of, STORED_SERVICE.methods))
_MODELS_PATH: Final = b"/models"
#: After a failure gRPC waits before it connects again, by default up to two minutes. Over HTTP,
#: every request would try to connect.
_RECONNECTING: Final = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}
#: Headers about HTTP itself, the connection or the body.
HTTPS_OWN: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_SECRETS: Final = frozenset({"authorization", "api-key", "x-api-key", "cookie"})
SETTLED: Final = (
    ChannelConnectivity.READY,
    ChannelConnectivity.TRANSIENT_FAILURE,
    ChannelConnectivity.SHUTDOWN,
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request in the form that gRPC takes.

    Attributes:
        method: The full name of the rpc.
        message: The message of the rpc.
        metadata: The metadata to send.
        patience: How many seconds the server may be silent; None: no limit.
    """

    method: str
    message: bytes
    metadata: Sequence[tuple[str, str | bytes]]
    patience: float | None

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream."""
        return self.method == STREAM

    def is_late(self, began: float) -> bool:
        """Whether a call that began then has taken all its time, as far as a relay gives it."""
        patience = self.patience
        if patience is None:
            return False
        return time.monotonic() - began > patience * 0.99 - ends_early_by(patience)


def _base_url(text: str) -> httpx2.URL:
    """The base URL of another server.

    Raises:
        ArgumentValueError: It is none.
    """
    expected = "expected a URL such as https://api.openai.com/v1 as the fallback"
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise ArgumentValueError(f"{expected}: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ArgumentValueError(f"{expected}, not one without http:// or https:// and a host")
    return url


class BaseTransport(Generic[_TransportT]):
    """What both transports share: everything except the waiting."""

    #: What a fallback must be, if it is not a URL.
    _kind: ClassVar[type]

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        allow_insecure_token: bool = False,
        metadata: Metadata = (),
        options: Sequence[tuple[str, Any]] = (),
        fallback: _TransportT | str | None = None,
    ) -> None:
        self._server = Server(
            target,
            credentials=credentials,
            token=token,
            allow_insecure_token=allow_insecure_token,
            metadata=metadata,
            options=[*_RECONNECTING.items(), *options],
            retries=False,
        )
        self._target = target
        self._names = {key for key, _ in self._server.metadata}
        self._is_closed = False
        self._base = _base_url(fallback) if isinstance(fallback, str) else None
        if not (fallback is None or self._base or isinstance(fallback, self._kind)):
            raise wrong_type(f"a URL or an httpx2.{self._kind.__name__} as the fallback", fallback)
        self._fallback: _TransportT | None = self._http() if isinstance(fallback, str) else fallback
        self._owner: Owner | None = None
        self._start()

    def _http(self) -> _TransportT:
        """The HTTP transport for a fallback that is a URL."""
        raise NotImplementedError

    def _start(self) -> None:
        """Prepares for calls."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise StateError("the transport is closed")

    def _belong(self) -> None:
        """Makes this process the owner, unless there is one.

        Raises:
            ForkedError: This process was forked from the owner.
        """
        if self._owner is None:
            self._owner = Owner()
        self._owner.check("the transport")

    @property
    def _is_forked(self) -> bool:
        """Whether this process was forked from the owner."""
        return self._owner is not None and not self._owner.is_here

    def _connect_error(self, seconds: float | None) -> httpx2.ConnectTimeout:
        return httpx2.ConnectTimeout(f"no connection to {self._target} within {seconds} seconds")

    def _elsewhere(self, request: httpx2.Request) -> httpx2.Request:
        """A request for another endpoint, in the form that the fallback takes."""
        if self._base is None:
            return request
        path, mark, query = request.url.raw_path.partition(b"?")
        _, version, rest = path.partition(b"/v1/")
        path = self._base.raw_path.rstrip(b"/") + (b"/" + rest if version else path)
        url = self._base.copy_with(raw_path=path + mark + query)
        headers = request.headers.copy()
        headers["host"] = url.netloc.decode()
        extensions = request.extensions
        return httpx2.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=extensions
        )

    def _metadata(self, request: httpx2.Request) -> list[tuple[str, str | bytes]]:
        """The headers and the query to pass on, as metadata.

        Raises:
            ValueError: A secret would leave this machine unencrypted, or a value cannot be sent.
        """
        passed: list[tuple[str, str | bytes]] = []
        for key, value in request.headers.multi_items():
            if key in (*HTTPS_OWN, QUERY_KEY) or key in self._names or key.endswith("-bin"):
                continue
            if key.startswith(("content-", "x-stainless-", "grpc-")):
                continue
            if key in _SECRETS and not self._server.may_send_secrets:
                raise self._server.refusal(f"header {key!r}")
            passed.append((key, value))
        if request.url.query and QUERY_KEY not in self._names:
            passed.append((QUERY_KEY, request.url.query.decode("ascii")))
        return [*self._server.metadata, *checked(passed)]

    def _call(self, request: httpx2.Request, data: bytes) -> Call:
        """The call for a request, from the binary form of its body."""
        is_stream = any(
            span.number == ChatCompletionRequest.STREAM_FIELD_NUMBER
            and data[span.value : span.end] == b"\1"
            for span in spans(data)
        )
        kind = StreamChatCompletionRequest if is_stream else CreateChatCompletionRequest
        message = embedded(kind.REQUEST_FIELD_NUMBER, [data])
        return self._unary(request, STREAM if is_stream else CREATE, message)

    def _models_call(self, request: httpx2.Request, name: str) -> Call:
        """The call that asks for all models, or for one if there is a name."""
        if not name:
            return self._unary(request, LIST_MODELS, b"")
        message = model_service_pb2.GetModelRequest(model=name).SerializeToString()
        return self._unary(request, GET_MODEL, message)

    def _stored_call(self, request: httpx2.Request, place: StoredPlace, body: bytes) -> Call:
        """The call that asks for stored completions.

        Args:
            request: The request.
            place: What its path names.
            body: Its body.

        Raises:
            ConversionError: The body is not JSON.
            ParameterError: A parameter cannot be read, or is missing.
        """
        method = place.methods[request.method]
        query = request.url.query.decode("ascii")
        update = json_to_binary(body, ChatCompletionUpdate) if method is UPDATE else b""
        message = request_of(method, place.completion_id, query, update)
        return self._unary(request, path_of(method), message)

    def _unary(self, request: httpx2.Request, method: str, message: bytes) -> Call:
        return Call(method, message, self._metadata(request), limit_of(request, "read"))


def models_asked(request: httpx2.Request) -> str | None:
    """The name of the model that a request asks for; empty for all; None if it asks otherwise."""
    if request.method != "GET":
        return None
    path = request.url.raw_path.partition(b"?")[0].rstrip(b"/")
    if path.endswith(_MODELS_PATH):
        return ""
    _, found, name = path.partition(_MODELS_PATH + b"/")
    return unquote(name.decode("ascii")) if found else None


def stored_asked(request: httpx2.Request) -> StoredPlace | None:
    """What the path of a request names of stored completions; None if it asks otherwise."""
    path = request.url.raw_path.partition(b"?")[0].decode("ascii")
    _, found, tail = path.rpartition(PATH)
    if not found or (tail and not tail.startswith("/")):
        return None
    place = stored_place(tail)
    return place if place is not None and request.method in place.methods else None


def is_for_completion(request: httpx2.Request) -> bool:
    """Whether a request asks for a completion."""
    return request.method == "POST" and request.url.path.endswith(PATH)


def limit_of(request: httpx2.Request, name: str) -> float | None:
    """One of the timeouts of a request, in seconds; None: no limit."""
    limits: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeout_of(limits.get(name))
