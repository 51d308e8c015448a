"""The parts of a relay, built from its settings before anything listens."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import grpc

from chatpb_server.access.tls import TlsError, check_files, server_context, server_credentials
from chatpb_server.access.tokens import TokensError
from chatpb_server.core.call import Observer
from chatpb_server.core.headers import ACCOUNT, PASSED_BACK
from chatpb_server.running.callers import authentication
from chatpb_server.running.config import ConfigError
from chatpb_server.running.fallback import find_fallback
from chatpb_server.running.records import unrecordable
from chatpb_server.running.serving import Options
from chatpb_server.running.settings import Settings
from chatpb_server.running.stores import unstorable
from chatpb_server.upstreams.registry import UpstreamSettingsError
from chatpb_server.upstreams.router import Route, Router
from chatpb_server.watching.logs import LogObserver
from chatpb_server.watching.metrics import MetricsObserver
from chatpb_server.watching.observers import Observers
from chatpb_server.watching.servers import Server
from chatpb_server.watching.tracing import TracingError, meter_observer, tracer_observer

if TYPE_CHECKING:
    from chatpb_server.watching.meters import MeterObserver
    from chatpb_server.watching.spans import SpanObserver


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a relay, before anything listens.

    Attributes:
        router: What answers.
        options: How it is served.
        metrics: Counts calls for Prometheus. None: nobody does.
        spans: Makes traces. None: nobody does.
        meters: Sends metrics by OpenTelemetry. None: nobody does.
    """

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


def build_parts(settings: Settings, *, share_port: bool = False) -> Parts:
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
    mistakes += unstorable(settings.store)
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
    return Parts(router, replace(options, observer=observer), metrics, spans, meters)


def checked(settings: Settings, options: Options) -> tuple[Router, Options]:
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
        authenticate = authentication(settings)
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
        store_rules=settings.store,
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
