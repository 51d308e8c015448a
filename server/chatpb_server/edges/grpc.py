"""The server: the service, health and reflection on one port, OpenAI's HTTP API on another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import grpc
from grpc import aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from pydantic import Field

from chatpb_server.access.address import Address, AddressError, check_exposure
from chatpb_server.core.call import Observer, Recorder
from chatpb_server.core.gate import Gate
from chatpb_server.core.guard import Authenticate, Guard
from chatpb_server.core.service import SERVICE_NAME, ChatCompletionService
from chatpb_server.core.setting import Bytes, Count, Seconds, Setting, Table
from chatpb_server.core.upstream import Upstream
from chatpb_server.edges.http import HttpEdge
from chatpb_server.watching.logs import LogObserver

#: The headers of an upstream's answer that callers get, if they are not told otherwise.
PASSED_HEADERS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "openai-*",
    "x-ratelimit-*",
    "x-ms-region",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "cf-ray",
)


#: How many seconds the runtime waits longer for calls to end than they may take.
_MARGIN: Final = 5.0
#: How many seconds a call that was taken before the end may need to reach the guard.
_ARRIVING: Final = 0.1


class Limits(Table):
    """What bounds calls, in each process."""

    title: ClassVar[str] = "Limits, in each process"

    max_running: Annotated[
        Count,
        Setting(
            "How many calls can run at once.",
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
    ] = 64 * 1024 * 1024
    max_event_bytes: Annotated[
        Bytes,
        Setting("The largest event in the stream of an upstream.", unit="bytes"),
    ] = 16 * 1024 * 1024

    @property
    def seconds(self) -> float | None:
        """How many seconds a call can take. None: no limit."""
        return self.timeout or None


@dataclass(frozen=True, slots=True)
class Options:
    """How an upstream is served.

    Attributes:
        grace: How many seconds calls may take to finish at the end. None: they end at once.
        limits: What bounds calls.
        observer: Watches the calls.
        recorder: Records them. None: nobody does.
        credentials: For TLS. None: none.
        authenticate: Says who calls. None: everybody may.
        headers: The headers of the upstream's answers that callers get, as trailing metadata or as
            headers.
        passed_on: The callers' metadata that the upstream gets as headers.
        share_port: Whether other processes may serve the same ports, each some of the connections.
        insecure: Whether to listen beyond loopback also without TLS or without authentication.
        channelz: Whether the state of the connections can be asked for.
        http: Where to serve OpenAI's HTTP API too, as ``HOST:PORT``. None: nowhere.
        ssl_context: For TLS there. None: none.
        models: The models that the HTTP API lists, each with the name of who owns it.
    """

    grace: float | None = None
    limits: Limits = field(default_factory=Limits)
    observer: Observer = field(default_factory=LogObserver)
    recorder: Recorder | None = None
    credentials: grpc.ServerCredentials | None = None
    authenticate: Authenticate | None = None
    headers: tuple[str, ...] = PASSED_HEADERS
    passed_on: tuple[str, ...] = ()
    share_port: bool = False
    insecure: bool = False
    channelz: bool = False
    http: str | None = None
    ssl_context: SSLContext | None = None
    models: Mapping[str, str] = field(default_factory=dict)


class Ports(NamedTuple):
    """Where a relay serves.

    Attributes:
        grpc: The port of the service.
        http: That of the HTTP API; None if it is not served.
    """

    grpc: int
    http: int | None


@asynccontextmanager
async def serving(
    upstream: Upstream, listen: str = "127.0.0.1:0", options: Options | None = None
) -> AsyncIterator[int]:
    """Serves an upstream as `serving_all` does, and yields the port of the service alone."""
    async with serving_all(upstream, listen, options) as ports:
        yield ports.grpc


@asynccontextmanager
async def serving_all(
    upstream: Upstream, listen: str = "127.0.0.1:0", options: Options | None = None
) -> AsyncIterator[Ports]:
    """Serves an upstream for as long as the context lasts.

    At the end of the context health says NOT_SERVING, no call is taken any more, and the calls that
    run may finish. If the task is cancelled meanwhile, they end at once.

    Args:
        upstream: What answers the requests. It is closed after the last call.
        listen: Where to listen, as ``HOST:PORT``; port 0 asks for a free one.
        options: How.

    Yields:
        The ports.

    Raises:
        AddressError: An address cannot be listened on.
    """
    options = options or Options()
    limits = options.limits
    async with AsyncExitStack() as stack:
        stack.push_async_callback(upstream.close)
        guard = Guard(
            options.observer,
            Gate(limits.max_running, limits.max_waiting),
            limit=limits.seconds,
            headers=options.headers,
            authenticate=options.authenticate,
            recorder=options.recorder,
        )
        service = ChatCompletionService(
            upstream,
            options.observer,
            max_event_bytes=limits.max_event_bytes,
            passed_on=options.passed_on,
            passed_back=guard.passed_back,
        )
        address = Address.parse(listen)
        _check_exposure(address, options, tls=options.credentials is not None)
        server = aio.server(options=_arguments(options))
        port = _bind(server, address, options)
        server.add_generic_rpc_handlers((service.handlers(guard.rpc),))
        health_servicer = health.aio.HealthServicer()
        add_HealthServicer_to_server(health_servicer, server)
        await health_servicer.set(SERVICE_NAME, HealthCheckResponse.SERVING)
        names = [SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME]
        if options.channelz:
            names.append(_add_channelz(server))
        reflection.enable_server_reflection(names, server)
        edge: HttpEdge | None = None
        http_port = None
        if options.http is not None:
            address = Address.parse(options.http)
            _check_exposure(address, options, tls=options.ssl_context is not None)
            edge = HttpEdge(
                service, guard, max_body_bytes=limits.max_message_bytes, models=options.models
            )
            stack.push_async_callback(edge.close)
            http_port = await edge.start(
                address, ssl_context=options.ssl_context, share_port=options.share_port
            )
        await server.start()
        try:
            yield Ports(port, http_port)
        finally:
            if edge is not None:
                await edge.drain()
            await health_servicer.enter_graceful_shutdown()
            await _stop(server, guard, options.grace)


def _check_exposure(address: Address, options: Options, *, tls: bool) -> None:
    check_exposure(
        address,
        tls=tls,
        authentication=options.authenticate is not None,
        insecure=options.insecure,
    )


async def _stop(server: aio.Server, guard: Guard, grace: float | None) -> None:
    """Takes no more calls, and ends those that run in the grace period."""
    # The runtime cancels without a word to callers. So it is told to wait longer than the guard.
    stopping = asyncio.ensure_future(server.stop((grace or 0) + _MARGIN))
    try:
        if grace:  # ends sooner where the runtime has no call at all
            await asyncio.wait({stopping}, timeout=min(grace, _ARRIVING))
        await guard.stop(grace)
    finally:
        await guard.stop(None)
        await server.stop(None)
        await stopping


def _arguments(options: Options) -> tuple[tuple[str, Any], ...]:
    return (
        ("grpc.max_receive_message_length", options.limits.max_message_bytes),
        ("grpc.max_send_message_length", options.limits.max_message_bytes),
        # Two relays on one port would share the calls between them by accident.
        ("grpc.so_reuseport", int(options.share_port)),
        # By default a client that pings every 30 seconds while it waits for a slow model is sent
        # away.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # What takes no answer is not kept for ever.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.ping_timeout_ms", 20_000),  # without it, a minute
        ("grpc.enable_channelz", int(options.channelz)),
    )


def _bind(server: aio.Server, address: Address, options: Options) -> int:
    if not options.share_port:
        address.check_free()
    try:
        if options.credentials is not None:
            return server.add_secure_port(str(address), options.credentials)
        return server.add_insecure_port(str(address))
    except RuntimeError:  # taken since it was checked
        raise AddressError(f"cannot listen on {address}") from None


def _add_channelz(server: aio.Server) -> str:
    from grpc_channelz.v1 import channelz, channelz_pb2

    channelz.add_channelz_servicer(server)
    return channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name
