"""Builds a relay from its settings."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import grpc

from chatpb_server.access.address import Address
from chatpb_server.access.reload import read_all_again
from chatpb_server.access.tls import (
    TlsError,
    caller_of,
    check_files,
    server_context,
    server_credentials,
)
from chatpb_server.access.tokens import API_KEY, Tokens, TokensError, token_in
from chatpb_server.core.call import Call, Observer
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.guard import Authenticate, Peer
from chatpb_server.core.headers import ACCOUNT, PASSED_BACK
from chatpb_server.running.config import ConfigError
from chatpb_server.running.fallback import find_fallback
from chatpb_server.running.records import (
    RecordCounts,
    open_recorder,
    started_redaction,
    unrecordable,
)
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.running.settings import Settings
from chatpb_server.running.threads import in_daemon_thread
from chatpb_server.upstreams.current import CurrentUpstream
from chatpb_server.upstreams.registry import UpstreamSettingsError
from chatpb_server.upstreams.router import Route, Router
from chatpb_server.watching.descriptors import watch_descriptors
from chatpb_server.watching.logs import LogObserver, log_loop_error
from chatpb_server.watching.metrics import MetricsObserver
from chatpb_server.watching.metrics_server import serve_metrics
from chatpb_server.watching.observers import Observers, Recorders
from chatpb_server.watching.record_limits import OUTCOMES
from chatpb_server.watching.record_policy import KEPT
from chatpb_server.watching.redacting import FAILURES
from chatpb_server.watching.servers import Server
from chatpb_server.watching.tracing import TracingError, meter_observer, tracer_observer
from chatpb_server.watching.vitals import Read, Vitals

if TYPE_CHECKING:
    from chatpb_server.watching.meters import MeterObserver
    from chatpb_server.watching.spans import SpanObserver

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """The addresses of a running relay, with the real ports.

    Attributes:
        address: The address of the service.
        metrics: The address of the metrics. None: this process does not serve them.
        http: The address of the HTTP API. None: it is not served.
        renew: Changes the settings that can change while it runs, and reads all files again. It
            raises ConfigError, and changes nothing, if something cannot be used.
    """

    address: Address
    metrics: Address | None
    http: Address | None
    renew: Callable[[Settings], Awaitable[None]] = field(compare=False, repr=False)


def check(settings: Settings) -> None:
    """Checks that everything that the settings name can be read.

    Raises:
        ConfigError: Something cannot be read.
    """
    parts = _build(settings)
    parts.close()
    _check_redaction(settings)


def check_renewal(settings: Settings) -> None:
    """Checks that a running relay can change to some settings.

    Raises:
        ConfigError: Something that they name cannot be used.
    """
    _checked(settings, Options())
    _check_redaction(settings)


def _check_redaction(settings: Settings) -> None:
    redaction = started_redaction(settings.record)
    if redaction is not None:
        redaction.close()


@asynccontextmanager
async def relaying(settings: Settings, *, as_worker: bool = False) -> AsyncIterator[Served]:
    """Serves until the context ends. Running calls then have the grace period to finish.

    Args:
        settings: The settings.
        as_worker: Whether this process is one of several that share the port. Another process then
            serves the metrics of all.

    Raises:
        ConfigError: Something that the settings name cannot be used.
        AddressError: An address cannot be listened on.
    """
    parts = _build(settings, share_port=as_worker)
    asyncio.get_running_loop().set_exception_handler(log_loop_error)
    async with AsyncExitStack() as stack:
        stack.callback(asyncio.ensure_future(watch_descriptors()).cancel)
        stack.push_async_callback(asyncio.to_thread, parts.close)
        parts.name_servers(settings)
        metrics = None
        if parts.metrics is not None and settings.metrics.listen and not as_worker:
            address = Address.parse(settings.metrics.listen)
            server = serve_metrics(address, parts.metrics.registry)
            stack.push_async_callback(asyncio.to_thread, server.close)
            metrics = server.address
        options, recorder = parts.options, None
        loads: list[Read] = []
        if settings.record.directory is not None:
            counts: RecordCounts = None, None, None
            if parts.metrics is not None:
                counts = parts.metrics.count_records(OUTCOMES, KEPT, FAILURES)
            recorder = await asyncio.to_thread(open_recorder, settings.record, counts)
            stack.push_async_callback(asyncio.to_thread, recorder.close)
            options = replace(options, recorder=recorder)
            loads.append(recorder.load)
        if parts.spans is not None and parts.spans.contents is not None:
            recorders = [parts.spans.contents, options.recorder]
            options = replace(options, recorder=Recorders([one for one in recorders if one]))
        upstream = CurrentUpstream(parts.router)
        ports = await stack.enter_async_context(serving_all(upstream, settings.listen, options))
        vitals = None
        if parts.metrics is not None:
            vitals = Vitals(parts.metrics.registry)
            vitals.set_limits(_calls(settings) | _sizes(settings))
            watching = asyncio.ensure_future(vitals.watch(ports.load, *loads))
            stack.callback(watching.cancel)

        async def renew(new: Settings) -> None:
            router, changed = await in_daemon_thread(_checked, new, options)
            redaction = None
            if recorder is not None:
                redaction = await in_daemon_thread(started_redaction, new.record)
            upstream.replace(router)
            if recorder is not None:
                recorder.renew(new.record, redaction)
            parts.name_servers(new)
            ports.renew(changed)
            if vitals is not None:
                vitals.set_limits(_calls(new))
            await in_daemon_thread(read_all_again)

        http = None
        if settings.http.listen is not None and ports.http is not None:
            http = Address.parse(settings.http.listen)._replace(port=ports.http)
        address = Address.parse(settings.listen)._replace(port=ports.grpc)
        yield Served(address, metrics, http, renew)


def _calls(settings: Settings) -> dict[str, float]:
    """The limits of calls, which can change while a relay runs, by their keys."""
    limits = settings.limits
    return {"max_running": limits.max_running, "max_waiting": limits.max_waiting}


def _sizes(settings: Settings) -> dict[str, float]:
    """The other limits that metrics are compared with."""
    limits = settings.limits
    sizes: dict[str, float] = {
        "max_held_bytes": limits.held_bytes,
        "max_connections": limits.max_connections,
    }
    if settings.record.directory is not None:
        sizes["record_queue_bytes"] = settings.record.queue_bytes
    return sizes


def log_upstreams(settings: Settings) -> None:
    """Logs where calls go, and with whose key."""
    for name, table in settings.upstreams.items():
        _logger.info("upstream %s: %s", name, table)
    if (fallback := find_fallback(settings)) is not None:
        _logger.info("fallback %s: %s", fallback.name, fallback.table)


@dataclass(frozen=True, slots=True)
class _Parts:
    router: Router
    options: Options
    metrics: MetricsObserver | None
    spans: SpanObserver | None
    meters: MeterObserver | None

    def name_servers(self, settings: Settings) -> None:
        """Tells traces and metrics who the upstreams are."""
        for observer in (self.spans, self.meters):
            if observer is not None:
                observer.servers = _servers(settings)

    def close(self) -> None:
        """Sends what traces and metrics have left; blocks for some seconds at most."""
        for observer in (self.spans, self.meters):
            if observer is not None:
                observer.close()


def _build(settings: Settings, *, share_port: bool = False) -> _Parts:
    """Builds the parts of a relay. Files are read, but nothing listens or connects yet.

    Raises:
        ConfigError: Something that the settings name cannot be used.
    """
    mistakes: list[str] = []
    credentials = context = None
    try:
        credentials, context = _tls(settings)
    except TlsError as error:
        mistakes.append(str(error))
    if settings.record.directory is not None:
        mistakes += unrecordable(settings.record.directory, settings.record.keys)
    options = Options(
        credentials=credentials,
        share_port=share_port,
        channelz=settings.channelz,
        http=settings.http.listen,
        ssl_context=context,
    )
    try:
        router, options = _renewed(settings, options)
    except ConfigError as error:
        raise ConfigError(*error.mistakes, *mistakes) from None
    if mistakes:
        raise ConfigError(*mistakes)
    metrics = MetricsObserver() if settings.metrics.listen else None
    spans, meters = _spans(settings), _meters()
    watching: list[Observer | None] = [metrics, spans, meters, LogObserver()]
    observer = Observers([one for one in watching if one is not None])
    return _Parts(router, replace(options, observer=observer), metrics, spans, meters)


def _checked(settings: Settings, options: Options) -> tuple[Router, Options]:
    """What `_renewed` gives, if the files of TLS can be used too.

    Raises:
        ConfigError: Something that the settings name cannot be used.
    """
    tls = settings.tls
    try:
        if tls.cert is not None and tls.key is not None:
            check_files(tls.cert, tls.key, tls.client_ca)
    except TlsError as error:
        raise ConfigError(str(error)) from None
    return _renewed(settings, options)


def _renewed(settings: Settings, options: Options) -> tuple[Router, Options]:
    """What answers, and the options that can change while a relay runs. All files are read.

    Raises:
        ConfigError: Something that the settings name cannot be used.
    """
    mistakes: list[str] = []
    routes = []
    for name, table in settings.upstreams.items():
        try:
            upstream = table.build(settings.limits.max_message_bytes)
        except UpstreamSettingsError as error:
            mistakes.append(f"upstream {name}: {error}")
        else:
            routes.append(Route(name, upstream, table.models, table.weight))
    fallback, found = None, find_fallback(settings)
    if found is not None:
        try:
            fallback = found.build(settings.limits.max_message_bytes)
        except UpstreamSettingsError as error:
            mistakes.append(f"fallback: {error}")
    authenticate = None
    try:
        authenticate = _authenticate(settings)
    except TokensError as error:
        mistakes.append(str(error))
    if mistakes:
        raise ConfigError(*mistakes)
    passed_on = settings.passed_on
    if any(table.takes_authorization for table in settings.upstreams.values()):
        passed_on = (*ACCOUNT, *passed_on)
    options = replace(
        options,
        grace=settings.grace,
        limits=settings.limits,
        authenticate=authenticate,
        headers=(*PASSED_BACK, *settings.passed_back),
        cors_origins=settings.http.cors_origins,
        passed_on=passed_on,
        fallback=fallback,
        insecure=settings.insecure_listen,
        models=None,
    )
    return Router(routes, settings.retry, models=settings.models), options


def _tls(settings: Settings) -> tuple[grpc.ServerCredentials | None, ssl.SSLContext | None]:
    """The TLS of the service and, if it is served, of the HTTP API."""
    tls = settings.tls
    if tls.cert is None or tls.key is None:
        return None, None
    credentials = server_credentials(tls.cert, tls.key, tls.client_ca)
    if settings.http.listen is None:
        return credentials, None
    return credentials, server_context(tls.cert, tls.key, tls.client_ca)


def _authenticate(settings: Settings) -> Authenticate | None:
    """Identifies callers by their tokens, or by their certificates, or not at all."""
    if settings.tokens is None:
        if settings.tls.client_ca is None:
            return None
        return lambda _, peer: caller_of(peer)
    tokens = Tokens(settings.tokens)

    def by_token(call: Call, peer: Peer) -> str:
        token = token_in(peer.invocation_metadata())
        if token is None:
            raise AuthenticationError(
                "The relay requires the metadata authorization: Bearer TOKEN. Over HTTP it is a"
                " header; Azure's clients send api-key: TOKEN."
            )
        name = tokens.name_of(token)
        if name is None:
            raise AuthenticationError("The relay does not know this token.")
        if call.metadata.get(API_KEY) == token:  # it is not passed on
            call.metadata = {k: v for k, v in call.metadata.items() if k != API_KEY}
        return name

    return by_token


def _spans(settings: Settings) -> SpanObserver | None:
    if settings.tracing.enabled is False:
        return None
    if settings.tracing.enabled and not os.environ.get("OTEL_TRACES_EXPORTER"):
        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
    try:
        return tracer_observer(settings.tracing.content)
    except TracingError as error:
        raise ConfigError(f"tracing: {error}") from None


def _meters() -> MeterObserver | None:
    try:
        return meter_observer()
    except TracingError as error:
        raise ConfigError(f"tracing: {error}") from None


def _servers(settings: Settings) -> dict[str, Server | None]:
    """The upstreams by their names, as traces and metrics show them."""
    return {name: Server.of(table.url) for name, table in settings.upstreams.items()}
