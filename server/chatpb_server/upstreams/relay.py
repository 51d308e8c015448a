"""An upstream that is a relay itself: one that feeds another, over one connection of gRPC."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit

import grpc
from grpc import aio
from pydantic import field_validator, model_validator

from chatpb._rpc.failure import FailedCall
from chatpb._rpc.metadata import QUERY_KEY, mapping
from chatpb._rpc.server import Server
from chatpb._rpc.stored import NO_STORE
from chatpb._wire import WireError, begun, flag, joined, part, spans
from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    StreamChatCompletionRequest,
    StreamChatCompletionResponse,
)
from chatpb.v1.model_service_pb2 import ListModelsResponse
from chatpb_server.access.secret import is_metadata_key
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.headers import NOT_STORED, STORED_HEADER
from chatpb_server.core.model_service import MODEL_SERVICE
from chatpb_server.core.models import ListedModel, ModelsRequest
from chatpb_server.core.offload import stepwise, threaded
from chatpb_server.core.service import SERVICE_NAME
from chatpb_server.core.stored import StoredRequest
from chatpb_server.core.upstream import (
    UpstreamAnswer,
    UpstreamChunks,
    UpstreamDataError,
    UpstreamError,
    UpstreamRequest,
    UpstreamStream,
    UpstreamTimeoutError,
)
from chatpb_server.core.waits import Wait, Waits
from chatpb_server.upstreams.model_list import models_in
from chatpb_server.upstreams.registry import register
from chatpb_server.upstreams.relay_faults import translated, upstream_headers
from chatpb_server.upstreams.remote import (
    RemoteSettings,
    RemoteTable,
    has_host,
)

_CREATE: Final = f"/{SERVICE_NAME}/CreateChatCompletion"
_STREAM: Final = f"/{SERVICE_NAME}/StreamChatCompletion"
_MODELS: Final = f"/{MODEL_SERVICE.full_name}/ListModels"
_CHUNKS: Final = StreamChatCompletionResponse.CHUNKS_FIELD_NUMBER
_COMPACT_CHUNKS: Final = StreamChatCompletionResponse.COMPACT_CHUNKS_FIELD_NUMBER
#: Without the callers' own tokens, all of them would be one caller there.
_WHO_ASKS: Final = (
    "Stored completions are in the next relay, which does not learn who asks: give this relay a"
    ' --store, or that upstream auth = "caller".'
)
_TOO_OLD: Final = (
    "The next relay is too old for stored completions: give this relay a --store, or replace that"
    " one."
)
#: How many milliseconds it takes at most to find a relay that was restarted.
_MAX_BACKOFF: Final = 2000


class GrpcUpstream:
    """An `Upstream` behind ``grpc://HOST:PORT``, or ``grpcs://HOST:PORT`` with TLS.

    All calls share one connection, and the chunks come compact where the other relay can do that.
    Its errors are final if the other relay has asked its own upstreams: it has tried again itself.

    Args:
        url: Where the other relay is.
        settings: How it is asked.

    Raises:
        OSError: The file of certificates cannot be read.
    """

    def __init__(self, url: str, settings: RemoteSettings | None = None) -> None:
        self._settings = settings = settings or RemoteSettings()
        parts = urlsplit(url)
        credentials = None
        if parts.scheme == "grpcs":
            trusted = settings.ca_file.read_bytes() if settings.ca_file is not None else None
            credentials = grpc.ssl_channel_credentials(trusted)
        proxy: list[tuple[str, Any]] = [("grpc.enable_http_proxy", int(settings.proxy is not None))]
        if settings.proxy is not None:
            proxy.append(("grpc.http_proxy", settings.proxy))
        self._server = Server(
            parts.netloc,
            credentials=credentials,
            token=None,
            allow_insecure_token=True,  # its headers are checked with the settings
            metadata=(),
            options=(
                *proxy,
                ("grpc.max_receive_message_length", settings.max_bytes),
                ("grpc.max_send_message_length", settings.max_bytes),
                ("grpc.min_reconnect_backoff_ms", round(settings.connect_timeout * 1000)),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", _MAX_BACKOFF),
            ),
            retries=False,
        )
        self._channel: aio.Channel | None = None  # not before there is a loop

    async def create(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Answers with a whole completion, as `Upstream.create` says."""
        field_number = CreateChatCompletionRequest.REQUEST_FIELD_NUMBER
        data = await _message(field_number, request)
        call = self._opened().unary_unary(_CREATE)(data, **self._arguments(request))
        with translated(has_begun=False):
            response = await call
            headers = upstream_headers(await call.trailing_metadata())
        try:
            number = CreateChatCompletionResponse.COMPLETION_FIELD_NUMBER
            completion = await stepwise(len(response), joined, response, number)
        except WireError as error:
            raise UpstreamDataError("could not be read: not a completion", headers) from error
        return UpstreamAnswer(completion, headers=headers)

    @asynccontextmanager
    async def stream(self, request: UpstreamRequest) -> AsyncIterator[UpstreamStream]:
        """Answers piece by piece, as `Upstream.stream` says."""
        number = StreamChatCompletionRequest.REQUEST_FIELD_NUMBER
        data = await _message(
            number, request, flag(StreamChatCompletionRequest.COMPACT_FIELD_NUMBER)
        )
        call = self._opened().unary_stream(_STREAM)(data, **self._arguments(request))
        try:
            with translated(has_begun=False):
                headers = upstream_headers(await self._soon(call.initial_metadata()))
            async with aclosing(self._chunks(call)) as chunks:
                yield UpstreamStream(chunks, headers)
        finally:
            call.cancel()

    async def models(self, request: ModelsRequest) -> Sequence[ListedModel]:
        """Lists its models, as `ListsModels.models` says.

        A relay that is too old to tell lists none.
        """
        call = self._opened().unary_unary(_MODELS)(b"", **self._arguments(request))
        try:
            with translated(has_begun=False):
                response = await call
        except UpstreamError as error:
            if _is_of_unknown_method(error):
                return ()
            raise
        try:
            binary = joined(response, ListModelsResponse.MODELS_FIELD_NUMBER)
        except WireError as error:
            raise UpstreamDataError("could not be read: not a list of models") from error
        return await models_in(binary)

    @property
    def passes_stored(self) -> bool:
        """True: it is a relay, as `PassesStored.passes_stored` says."""
        return True

    async def stored(self, request: StoredRequest) -> bytes:
        """The response of an rpc, as `PassesStored.stored` says."""
        if request.caller and not self._settings.takes_authorization:
            raise RefusalError(404, _WHO_ASKS, NO_STORE)
        call = self._opened().unary_unary(request.method)
        try:
            with translated(has_begun=False):
                response: bytes = await call(request.message, **self._arguments(request))
        except UpstreamError as error:
            if _is_of_unknown_method(error):
                raise RefusalError(404, _TOO_OLD, NO_STORE) from error
            raise
        return response

    async def close(self) -> None:
        """Closes the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _chunks(self, call: Any) -> AsyncGenerator[UpstreamChunks, None]:
        """The chunks of each response in one item."""
        has_begun = False
        while True:
            with translated(has_begun):
                response = await self._soon(call.read())
            if response is aio.EOF:
                with translated(has_begun):
                    trailers = mapping(await call.trailing_metadata())
                if trailers.get(STORED_HEADER) == NOT_STORED:
                    yield UpstreamChunks((), is_unstored=True)
                return
            has_begun = True
            yield await stepwise(len(response), _chunks_in, response)

    async def _soon(self, awaitable: Any) -> Any:
        """What is awaited, unless the other relay is silent for too long."""
        wait = Wait(self._silent)
        try:
            with wait:
                return await awaitable
        except TimeoutError as error:
            if not wait.is_over:
                raise
            raise UpstreamTimeoutError("silence") from error

    def _opened(self) -> Any:
        if self._channel is None:
            self._channel = self._server.open(aio.insecure_channel, aio.secure_channel)
            self._silent = Waits(self._settings.silence_timeout, Wait.end)
        return self._channel

    def _arguments(
        self, request: UpstreamRequest | ModelsRequest | StoredRequest
    ) -> dict[str, Any]:
        """The deadline and the metadata of a call."""
        metadata = {name.lower(): value for name, value in request.headers.items()}
        if not self._settings.takes_authorization:
            metadata.pop("authorization", None)
        if request.query:
            metadata[QUERY_KEY] = request.query
        for name, value in self._settings.headers().items():
            metadata[name.lower()] = value
        return {"metadata": tuple(metadata.items()), "timeout": request.seconds_left()}


def _is_of_unknown_method(error: UpstreamError) -> bool:
    """Whether the other relay is too old to know the rpc."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and FailedCall.of(cause).is_of_unknown_method


async def _message(field_number: int, request: UpstreamRequest, *more: bytes) -> bytes:
    """The message of an rpc, which has the request in a field, and more fields."""
    binary = await request.body.binary()
    pieces = [begun(field_number, len(binary)), binary, *more]
    return await threaded(len(binary), b"".join, pieces)


def _chunks_in(response: bytes) -> UpstreamChunks:
    """The chunks of a response, as bytes of it.

    Raises:
        UpstreamDataError: It is not the binary form of a message.
    """
    whole: list[bytes] = []
    compact: list[bytes] = []
    try:
        for span in spans(response):
            if span.number == _CHUNKS:
                whole.append(part(response, span.value, span.end))
            elif span.number == _COMPACT_CHUNKS:
                compact.append(part(response, span.value, span.end))
    except WireError as error:
        raise UpstreamDataError("could not be read: not chunks") from error
    return UpstreamChunks(whole, compact)


@register
class RelayTable(RemoteTable):
    """Another relay, over gRPC."""

    kind: ClassVar[str] = "another relay"
    form: ClassVar[str] = "grpc://HOST:PORT"
    expected: ClassVar[str] = "another relay, grpc://HOST:PORT"
    about: ClassVar[str] = "Another relay, over gRPC; grpcs://HOST:PORT is the same with TLS."
    owners: ClassVar[str] = "other relays"

    @classmethod
    def takes(cls, url: str) -> bool:
        """Whether a URL is one of gRPC."""
        return has_host(url, "grpc", "grpcs")

    @field_validator("url")
    @classmethod
    def _is_host_and_port(cls, text: str) -> str:
        url = urlsplit(text)
        if url.port is None or url.path.strip("/") or url.query:
            raise ValueError(f"expected {url.scheme}://HOST:PORT alone")
        return text

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.ca_file is not None and self.address.scheme == "grpc":
            raise ValueError("ca_file needs TLS: grpcs://HOST:PORT")
        for name in (self.api_key_header, *self.headers):
            if not is_metadata_key(name.lower()):
                raise ValueError(f"headers: {name} cannot be a key of metadata")
        return self

    def build(self, max_bytes: int) -> GrpcUpstream:
        """Makes the upstream; see `UpstreamTable.build`."""
        settings = self.settings(max_bytes)
        with self.reading_ca_file():
            if self.ca_file is not None:  # gRPC does not report a file that it cannot read
                ssl.create_default_context(cafile=self.ca_file)
            return GrpcUpstream(self.url, settings)
