"""Runs a relay, as its settings say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from chatpb_server.access.address import Address
from chatpb_server.access.reload import read_all_again
from chatpb_server.core.store_rules import OUTCOMES as STORE_OUTCOMES
from chatpb_server.running.fallback import find_fallback
from chatpb_server.running.parts import build_parts, checked
from chatpb_server.running.records import RecordCounts, open_recorder, started_redaction
from chatpb_server.running.retention import Retention
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.running.settings import Settings
from chatpb_server.running.stores import opened_store
from chatpb_server.running.threads import in_daemon_thread
from chatpb_server.upstreams.current import CurrentUpstream
from chatpb_server.watching.descriptors import watch_descriptors
from chatpb_server.watching.logs import log_loop_error
from chatpb_server.watching.metrics_server import serve_metrics
from chatpb_server.watching.observers import Recorders
from chatpb_server.watching.record_limits import OUTCOMES
from chatpb_server.watching.record_policy import KEPT
from chatpb_server.watching.redacting import FAILURES
from chatpb_server.watching.vitals import Read, Vitals

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
    parts = build_parts(settings)
    parts.close()
    _check_redaction(settings)


def check_renewal(settings: Settings) -> None:
    """Checks that a running relay can change to some settings.

    Raises:
        ConfigError: Something that they name cannot be used.
    """
    checked(settings, Options())
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
    parts = build_parts(settings, share_port=as_worker)
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
        retention = None
        if settings.store.url is not None:
            store = await stack.enter_async_context(opened_store(settings.store))
            retention = Retention(store, settings.store.kept_for)
            stack.callback(asyncio.ensure_future(retention.run()).cancel)
            options = replace(options, store=store)
            if parts.metrics is not None:
                options = replace(options, count_stored=parts.metrics.count_stored(STORE_OUTCOMES))
        upstream = CurrentUpstream(parts.router)
        ports = await stack.enter_async_context(serving_all(upstream, settings.listen, options))
        vitals = None
        if parts.metrics is not None:
            vitals = Vitals(parts.metrics.registry)
            vitals.set_limits(_calls(settings) | _sizes(settings))
            watching = asyncio.ensure_future(vitals.watch(ports.load, *loads))
            stack.callback(watching.cancel)

        async def renew(new: Settings) -> None:
            router, changed = await in_daemon_thread(checked, new, options)
            redaction = None
            if recorder is not None:
                redaction = await in_daemon_thread(started_redaction, new.record)
            upstream.replace(router)
            if recorder is not None:
                recorder.renew(new.record, redaction)
            if retention is not None:
                retention.renew(new.store.kept_for)
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
