"""What ``--check-config`` prints: the most important settings, and where each one is set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatpb_server.core.setting import Declaration, Table
from chatpb_server.core.store_rules import StoreTable
from chatpb_server.running.config import Loaded
from chatpb_server.running.fallback import find_fallback
from chatpb_server.running.settings import Settings, TracingTable, all_settings
from chatpb_server.watching.record_limits import RecordTable


def summary(loaded: Loaded) -> str:
    """The most important settings, then all that are set, without secrets."""
    lines = [*_overview(loaded.settings)]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{name:{width}}  {value}" for name, value in lines)
    origins = "".join(f"\n  {line}" for line in _origins(loaded))
    return f"{text}\n\nset:{origins}" if origins else text


def _overview(settings: Settings) -> Iterator[tuple[str, str]]:
    tls = "without TLS"
    if settings.tls.cert is not None:
        tls = "with TLS" if settings.tls.client_ca is None else "with mutual TLS"
    callers = f"tokens from {settings.tokens}" if settings.tokens else "no tokens"
    yield "listen", f"{settings.listen}, {tls}, {callers}, workers: {settings.workers}"
    yield "http", settings.http.listen or "off"
    if (fallback := find_fallback(settings)) is not None:
        yield "fallback", f"{fallback.name}, {fallback.table}"
    for name, table in settings.upstreams.items():
        models = " ".join(table.models)
        yield f"upstream {name}", f"{table}; models {models}; weight {table.weight:g}"
    limits = settings.limits
    timeout = f"at most {limits.timeout:g} s" if limits.timeout else "any length"
    yield (
        "limits",
        f"per process: up to {limits.max_running} running calls of {timeout},"
        f" {limits.max_waiting} waiting, {limits.max_connections} connections,"
        f" {limits.held_bytes // 2**20} MiB of requests; grace {settings.grace:g} s",
    )
    yield "metrics", settings.metrics.listen or "off"
    yield "record", _recording(settings.record)
    yield "store", _storing(settings.store)
    yield "tracing", _tracing(settings.tracing)
    yield "log", f"{settings.log.format}, {settings.log.level}"


def _tracing(table: TracingTable) -> str:
    how = {True: "on", False: "off", None: "as OpenTelemetry's variables say"}[table.enabled]
    messages = {True: "; with the messages of calls", False: "; without messages", None: ""}
    return how if how == "off" else how + messages[table.content]


def _recording(table: RecordTable) -> str:
    if table.directory is None:
        return "off"
    full = "records are dropped" if table.overload == "drop" else "calls wait"
    labels = "".join(f"; {key}={value}" for key, value in table.labels.items())
    encrypted = "" if table.keys is None else f", encrypted with the last key of {table.keys}"
    return (
        f"{table.directory}{encrypted}, sync: {table.sync};"
        f" when {table.queue_bytes} bytes are queued, {full}{labels}"
    )


def _storing(table: StoreTable) -> str:
    if table.url is None:
        return "off"
    which = "all completions" if table.all else "completions whose request has store: true"
    place = table.url.partition("://")[0]
    return (
        f"{place}, {which}, of at most {table.max_bytes} bytes, kept: {table.keep};"
        f" answers wait at most {table.timeout:g} s"
    )


def _origins(loaded: Loaded) -> Iterator[str]:
    """Each setting that is set: its value, and the flag, the variable or the file that sets it."""
    for declaration in all_settings():
        for key, value in _values(declaration, loaded.settings):
            source = loaded.places.source(key)
            if source is None:
                continue
            setting = declaration.setting
            shown = "..." if setting.secret and value != setting.default else _toml(value)
            yield f"{'.'.join(key)} = {shown}  ({source})"


def _values(
    declaration: Declaration, settings: Settings
) -> Iterator[tuple[tuple[str, ...], object]]:
    """The places and values of a setting that is set; of an upstream's, for each upstream."""
    *tables, name = declaration.key
    places = [("upstreams", each) for each in settings.upstreams]
    for place in places if tables[:1] == ["upstreams"] else [tuple(tables)]:
        table: Any = settings
        for part in place:
            table = table[part] if isinstance(table, dict) else getattr(table, part)
        if name in table.model_fields_set and isinstance(table, declaration.table):
            yield (*place, name), getattr(table, name)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, Table):
        return _toml(value.model_dump())
    if isinstance(value, tuple | frozenset):
        values = sorted(value) if isinstance(value, frozenset) else value
        return "[" + ", ".join(map(_toml, values)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)
