"""Builds a relay from its settings."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from chatpb._errors import os_error_text
from chatpb._extras import install_command, package_of
from chatpb_server.access.address import Address
from chatpb_server.access.tls import TlsError, caller_of, server_context, server_credentials
from chatpb_server.access.tokens import Tokens, TokensError, bearer
from chatpb_server.core.call import Call, Observer
from chatpb_server.core.explain import AuthenticationError
from chatpb_server.core.guard import Authenticate, Peer
from chatpb_server.running.config import ConfigError
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.running.settings import Settings
from chatpb_server.upstreams.registry import UpstreamSettingsError
from chatpb_server.upstreams.router import Route, Router
from chatpb_server.watching.descriptors import watch_descriptors
from chatpb_server.watching.logs import LogObserver, log_loop_error
from chatpb_server.watching.metrics import MetricsObserver
from chatpb_server.watching.metrics_server import serve_metrics
from chatpb_server.watching.observers import Observers
from chatpb_server.watching.record_limits import OUTCOMES, Outcome, RecordTable
from chatpb_server.watching.tracing import TracingError, tracer_observer

if TYPE_CHECKING:
    from chatpb_server.watching.recording import LogRecorder
    from chatpb_server.watching.spans import SpanObserver

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """The addresses of a running relay, with the real ports.

    Attributes:
        address: The address of the service.
        metrics: The address of the metrics. None: this process does not serve them.
        http: The address of the HTTP API. None: it is not served.
    """

    address: Address
    metrics: Address | None
    http: Address | None


def check(settings: Settings) -> None:
    """Checks that everything that the settings name can be read.

    Raises:
        ConfigError: Something cannot be read.
    """
    parts = _build(settings)
    if parts.spans is not None:
        parts.spans.close()


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
        if parts.spans is not None:
            stack.push_async_callback(asyncio.to_thread, parts.spans.close)
        metrics = None
        if parts.metrics is not None and settings.metrics.listen and not as_worker:
            address = Address.parse(settings.metrics.listen)
            server = serve_metrics(address, parts.metrics.registry)
            stack.push_async_callback(asyncio.to_thread, server.close)
            metrics = server.address
        options = parts.options
        if settings.record.directory is not None:
            count = None if parts.metrics is None else parts.metrics.count_records(OUTCOMES)
            recorder = await asyncio.to_thread(_recorder, settings.record, count)
            stack.push_async_callback(asyncio.to_thread, recorder.close)
            options = replace(options, recorder=recorder)
        ports = await stack.enter_async_context(serving_all(parts.router, settings.listen, options))
        http = None
        if settings.http.listen is not None and ports.http is not None:
            http = Address.parse(settings.http.listen)._replace(port=ports.http)
        yield Served(Address.parse(settings.listen)._replace(port=ports.grpc), metrics, http)


def log_upstreams(settings: Settings) -> None:
    """Logs where calls go, and with whose key."""
    for name, table in settings.upstreams.items():
        _logger.info("upstream %s: %s", name, table)


@dataclass(frozen=True, slots=True)
class _Parts:
    router: Router
    options: Options
    metrics: MetricsObserver | None
    spans: SpanObserver | None


def _build(settings: Settings, *, share_port: bool = False) -> _Parts:
    """Builds the parts of a relay. Files are read, but nothing listens or connects yet.

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
    credentials = context = authenticate = None
    try:
        credentials, context = _tls(settings)
        authenticate = _authenticate(settings)
    except (TlsError, TokensError) as error:
        mistakes.append(str(error))
    if settings.record.directory is not None:
        mistakes += _unrecordable(settings.record.directory)
    if mistakes:
        raise ConfigError(*mistakes)
    metrics = MetricsObserver() if settings.metrics.listen else None
    spans = _spans(settings)
    watching: list[Observer | None] = [metrics, spans, LogObserver()]
    observer = Observers([one for one in watching if one is not None])
    passed_on = settings.passed_on
    if any(table.takes_authorization for table in settings.upstreams.values()):
        passed_on = (*passed_on, "authorization")
    options = Options(
        grace=settings.grace,
        limits=settings.limits,
        observer=observer,
        credentials=credentials,
        authenticate=authenticate,
        headers=settings.passed_back,
        passed_on=passed_on,
        share_port=share_port,
        insecure=settings.insecure_listen,
        channelz=settings.channelz,
        http=settings.http.listen,
        ssl_context=context,
        models={
            model: name
            for name, table in settings.upstreams.items()
            for model in table.models
            if not set(model) & set("*?[")
        },
    )
    return _Parts(Router(routes, settings.retry), options, metrics, spans)


def _unrecordable(directory: Path) -> Iterator[str]:
    """Yields why records cannot be written to a directory, which may not exist yet."""
    try:
        import chatpb.log  # noqa: F401 (it has its own extra)
    except ModuleNotFoundError as error:
        yield f"record: needs {package_of(error)}: {install_command('log')}"
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield f"record: {place} is not a directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"record: cannot write to the directory {place}"


def _recorder(table: RecordTable, count: Callable[[Outcome], None] | None) -> LogRecorder:
    """Opens the log of records.

    Raises:
        ConfigError: It cannot be opened.
    """
    from chatpb.log import LogError, LogWriter, Sync
    from chatpb_server.watching.recording import LogRecorder

    directory = table.directory
    assert directory is not None

    def open_writer() -> LogWriter:
        # Only the owner of the process can read what callers asked.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LogWriter(
            directory,
            sync=Sync(table.sync),
            max_bytes=table.file_bytes or None,
            max_seconds=table.file_seconds or None,
            max_pending_bytes=table.queue_bytes,
        )

    try:
        return LogRecorder(open_writer, table, labels=table.labels, count=count)
    except OSError as error:
        reason = os_error_text(error)
        raise ConfigError(f"record: cannot write to the directory {directory}: {reason}") from None
    except LogError as error:
        raise ConfigError(f"record: {error}") from None


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

    def by_token(_: Call, peer: Peer) -> str:
        token = bearer(peer.invocation_metadata())
        if token is None:
            raise AuthenticationError(
                "The relay requires the metadata authorization: Bearer TOKEN."
            )
        name = tokens.name_of(token)
        if name is None:
            raise AuthenticationError("The relay does not know this token.")
        return name

    return by_token


def _spans(settings: Settings) -> SpanObserver | None:
    if settings.tracing.enabled is False:
        return None
    if settings.tracing.enabled and not os.environ.get("OTEL_TRACES_EXPORTER"):
        os.environ["OTEL_TRACES_EXPORTER"] = "otlp"
    try:
        return tracer_observer()
    except TracingError as error:
        raise ConfigError(f"tracing: {error}") from None
