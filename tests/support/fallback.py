"""Relays that pass other paths to a fallback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp

from chatpb_server.core.call import Call, Observer
from chatpb_server.running.serving import Options, serving_all
from chatpb_server.upstreams.builtin.upstream import BuiltinUpstream
from chatpb_server.upstreams.passing import HttpFallback
from chatpb_server.upstreams.remote import RemoteSettings
from chatpb_server.watching.observers import SilentObserver
from support.limits import TIMEOUT


class Watching(SilentObserver):
    """Notes what became of calls."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, str]] = []
        self.ends: list[tuple[str, str]] = []

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:  # noqa: ARG002
        """Notes it."""
        self.attempts.append((call.upstream, outcome))

    def ended(self, call: Call, code: Any, error: Any) -> None:  # noqa: ARG002
        """Notes it."""
        self.ends.append((call.method.rpartition("/")[2], code.name))


@asynccontextmanager
async def falling_back(
    url: str, watching: Observer | None = None, options: Options | None = None, **how: Any
) -> AsyncIterator[tuple[str, int]]:
    """A relay whose fallback is at a URL.

    Args:
        url: The base URL.
        watching: Watches the calls.
        options: More options.
        how: The fallback's settings.

    Yields:
        The relay's own URL, without ``/v1``, and its port.
    """
    fallback = HttpFallback("fallback", url, RemoteSettings(**how))
    options = replace(options or Options(), http="127.0.0.1:0", fallback=fallback)
    if watching is not None:
        options = replace(options, observer=watching)
    async with serving_all(BuiltinUpstream(), options=options) as ports:
        assert ports.http is not None
        yield f"http://127.0.0.1:{ports.http}", ports.http


@asynccontextmanager
async def session(**how: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that adds nothing, and inflates nothing."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(TIMEOUT),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        auto_decompress=False,
        **how,
    ) as made:
        yield made
