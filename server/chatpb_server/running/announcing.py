"""What a relay reports when it is ready: to scripts, to people at a terminal, and to the log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import click

import chatpb
from chatpb_server.running.build import Served, log_upstreams
from chatpb_server.running.config import Loaded
from chatpb_server.running.settings import Settings
from chatpb_server.running.trying import commands, needs

_logger = logging.getLogger(__name__)


def announce(loaded: Loaded, served: Served, seconds: float) -> None:
    """Reports that a relay is ready.

    Scripts read the lines with the addresses; a terminal shows how to try it as well.

    Args:
        loaded: The settings, and where they come from.
        served: Where it serves.
        seconds: How long the start has taken.
    """
    settings = loaded.settings
    _say(f"listening on {served.address}")
    if served.http is not None:
        _say(f"http on {_scheme(settings)}://{served.http}/v1")
    if served.metrics is not None:
        _say(f"metrics on {served.metrics}")
    if _is_on_terminal():
        for line in _shown(settings, served):
            _say(line)
    log_upstreams(settings)
    fields = {**_configuration(loaded, served), "start_ms": round(seconds * 1000)}
    _logger.info("ready", extra={"fields": fields})


def announce_start(settings: Settings) -> None:
    """Reports on a terminal that several processes start, which takes some seconds."""
    if settings.workers > 1 and _is_on_terminal():
        _say(f"starting {settings.workers} workers ...")


def _is_on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _say(line: str) -> None:
    """Writes a line to standard output; a relay serves even if nobody reads it, or it is closed."""
    try:
        click.echo(line)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _scheme(settings: Settings) -> str:
    return "http" if settings.tls.cert is None else "https"


def _shown(settings: Settings, served: Served) -> Iterator[str]:
    """What is served, and how to try it, for people."""
    yield ""
    yield f"chatpb {version('chatpb')} serves {_access(settings)}."
    for name, table in settings.upstreams.items():
        yield f"  {name}: {table}; models {' '.join(table.models)}"
    if served.http is None:
        yield "OpenAI's HTTP API is off: pass --http 127.0.0.1:8080 for it."
    yield ""
    yield "Try it:"
    for command in commands(settings, served.address, served.http):
        yield f"  {command}"
    for need in needs(settings):
        yield f"  ({need})"
    yield "Ctrl-C stops it."


def _access(settings: Settings) -> str:
    tls = "without TLS" if settings.tls.cert is None else "with TLS"
    return f"{tls}, to {_callers(settings)}"


def _callers(settings: Settings) -> str:
    if settings.tokens is not None:
        return "callers with a token"
    if settings.tls.client_ca is not None:
        return "callers with a certificate"
    return "everybody"


def _configuration(loaded: Loaded, served: Served) -> dict[str, Any]:
    """The settings that matter most, without secrets: one line of the log."""
    settings = loaded.settings
    limits = settings.limits
    upstreams = (f"{name}={table}" for name, table in settings.upstreams.items())
    return {
        "version": version("chatpb"),
        "implementation": chatpb.implementation,
        "config": loaded.places.file,
        "listen": str(served.address),
        "http": None if served.http is None else str(served.http),
        "metrics": None if served.metrics is None else str(served.metrics),
        "tls": settings.tls.cert is not None,
        "callers": _callers(settings).removeprefix("callers with a "),
        "upstreams": "; ".join(upstreams),
        "workers": settings.workers,
        "max_running": limits.max_running,
        "max_waiting": limits.max_waiting,
        "timeout_s": limits.timeout or None,
        "grace_s": settings.grace,
        "record": None if settings.record.directory is None else str(settings.record.directory),
        "tracing": settings.tracing.enabled,
    }
