"""An upstream, served: the core with both edges, gRPC on one port and HTTP on another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final, NamedTuple

import grpc

from chatpb.store import Store
from chatpb_server.access.address import Address, check_exposure
from chatpb_server.core.budget import Budget
from chatpb_server.core.call import Observer, Recorder
from chatpb_server.core.gate import Gate
from chatpb_server.core.guard import Authenticate, Guard
from chatpb_server.core.headers import PASSED_BACK, PassedOn
from chatpb_server.core.limits import Limits
from chatpb_server.core.model_service import ModelService
from chatpb_server.core.models import NamedModels
from chatpb_server.core.passing import Fallback, Passing
from chatpb_server.core.service import ChatCompletionService
from chatpb_server.core.store_rules import Outcome, StoreRules
from chatpb_server.core.stored import StoredChatCompletionService
from chatpb_server.core.storing import Storing
from chatpb_server.core.upstream import Upstream
from chatpb_server.edges.grpc.edge import GrpcEdge
from chatpb_server.edges.grpc.inspection import MOST_RUNNING, MOST_SECONDS
from chatpb_server.edges.http.cors import Cors
from chatpb_server.edges.http.edge import HttpEdge
from chatpb_server.edges.services import Services
from chatpb_server.upstreams.current import CurrentFallback
from chatpb_server.watching.logs import LogObserver

#: The headers of an upstream's answer that callers get by default.
PASSED_HEADERS: Final = tuple(PASSED_BACK)


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
        passed_on: The callers' metadata that the upstream gets as headers, in addition to
            `PASSED_ON`.
        share_port: Whether other processes may serve the same ports, each some of the connections.
        insecure: Whether to listen for other machines even without TLS or authentication.
        channelz: Whether the state of the connections can be asked for.
        http: Where to serve OpenAI's HTTP API too, as ``HOST:PORT``. None: nowhere.
        ssl_context: For TLS there. None: none.
        cors_origins: The origins whose web pages may call there (see `Cors`).
        models: The models that are listed, each with the name of who owns it. None: those that the
            upstream lists.
        fallback: Where the HTTP API passes the requests of all other paths. None: nowhere.
        store: Where completions are stored. It is closed by who has opened it. None: nowhere, and
            an upstream that is a relay is asked for stored completions.
        store_rules: Which completions are stored.
        count_stored: Is called with what happened to each that was to be stored.
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
    cors_origins: tuple[str, ...] = ()
    models: Mapping[str, str] | None = field(default_factory=dict)
    fallback: Fallback | None = None
    store: Store | None = None
    store_rules: StoreRules = field(default_factory=StoreRules)
    count_stored: Callable[[Outcome], None] | None = None


class Ports(NamedTuple):
    """Where a relay serves.

    Attributes:
        grpc: The port of the service.
        http: That of the HTTP API; None if it is not served.
        renew: Changes the options while it runs: the grace, how many calls run and wait and for how
            long, who may call and from which origins, what is passed on and back, the models, the
            fallback and which completions are stored. Others stay.
        load: Gives what is held and open now, by the names in `watching.vitals.GAUGES`.
    """

    grpc: int
    http: int | None
    renew: Callable[[Options], None]
    load: Callable[[], Mapping[str, float]]


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

    At the end of the context health reports NOT_SERVING, no more calls are accepted, and running
    calls may finish. If the task is cancelled meanwhile, they end at once.

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
        budget = Budget(limits.held_bytes, limits.connection_bytes)
        storing = None
        if options.store is not None:
            storing = Storing(options.store, options.store_rules, options.count_stored)
        service = ChatCompletionService(
            upstream,
            options.observer,
            max_event_bytes=limits.max_event_bytes,
            passed_on=PassedOn(options.passed_on),
            passed_back=guard.passed_back,
            storing=storing,
        )
        fallback = CurrentFallback(options.fallback)
        stack.push_async_callback(fallback.close)
        passing = Passing(fallback, options.observer)
        models = ModelService(_lister(upstream, options), service.passed_on)
        stored = StoredChatCompletionService(upstream, options.store, service.passed_on)
        services = Services(service, models, stored)
        address = Address.parse(listen)
        _check_exposure(address, options, tls=options.credentials is not None)
        inspecting = Guard(
            options.observer,
            Gate(MOST_RUNNING, 0),
            limit=MOST_SECONDS,
            headers=(),
            authenticate=options.authenticate,
        )
        edge = GrpcEdge(
            services,
            guard,
            inspecting,
            limits=limits,
            budget=budget,
            share_port=options.share_port,
            channelz=options.channelz,
        )
        port = edge.bind(address, options.credentials)
        http_edge: HttpEdge | None = None
        http_port = None
        if options.http is not None:
            address = Address.parse(options.http)
            _check_exposure(address, options, tls=options.ssl_context is not None)
            http_edge = HttpEdge(
                services,
                guard,
                limits=limits,
                budget=budget,
                cors=Cors(options.cors_origins),
                passing=passing if options.fallback is not None else None,
            )
            stack.push_async_callback(http_edge.close)
            http_port = await http_edge.start(
                address, ssl_context=options.ssl_context, share_port=options.share_port
            )

        def renew(new: Options) -> None:
            nonlocal options
            options = new
            guard.renew(
                new.limits.max_running,
                new.limits.max_waiting,
                limit=new.limits.seconds,
                headers=new.headers,
                authenticate=new.authenticate,
            )
            inspecting.renew(
                MOST_RUNNING, 0, limit=MOST_SECONDS, headers=(), authenticate=new.authenticate
            )
            service.passed_on = models.passed_on = stored.passed_on = PassedOn(new.passed_on)
            models.upstream = _lister(upstream, new)
            if storing is not None:
                storing.rules = new.store_rules
            if http_edge is not None:
                http_edge.cors = Cors(new.cors_origins)
                http_edge.passing = passing if new.fallback is not None else None
                fallback.replace(new.fallback)

        def load() -> Mapping[str, float]:
            open_now = {} if http_edge is None else {"http_connections": http_edge.connections}
            kept = {} if storing is None else {"store_running_bytes": storing.held}
            return {"held_bytes": budget.held, **open_now, **kept}

        await edge.start()
        try:
            yield Ports(port, http_port, renew, load)
        finally:
            if http_edge is not None:
                await http_edge.drain()
            await edge.stop(options.grace)


def _lister(upstream: Upstream, options: Options) -> object:
    """What lists the models."""
    return upstream if options.models is None else NamedModels(options.models)


def _check_exposure(address: Address, options: Options, *, tls: bool) -> None:
    check_exposure(
        address,
        tls=tls,
        authentication=options.authenticate is not None,
        insecure=options.insecure,
    )
