"""Metrics of the process rather than of calls: what it holds, its limits, and its event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

import chatpb

#: How often, in seconds, they are read.
_EVERY: Final = 0.5
# No input may hold the event loop for longer than 20 ms; more means that the machine is too busy.
_LAG_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

Read = Callable[[], Mapping[str, float]]
"""Gives current values, by the names in `GAUGES`."""

#: The gauges that are read, and their texts.
GAUGES: Final[Mapping[str, str]] = {
    "held_bytes": "Bytes of requests, and of answers being sent, that are held in memory.",
    "http_connections": "Open connections to the HTTP API.",
    "record_running_bytes": "Bytes kept of running calls for their records.",
    "store_running_bytes": "Bytes kept of running calls for the store of completions.",
    "record_queue_bytes": "Bytes of records that wait to be written.",
}


class Vitals:
    """Gauges that are read again and again, and the lag of the event loop.

    Args:
        registry: Where the metrics are.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._gauges: dict[str, Gauge] = {}
        self._limits = self._gauge("limit", "What a limit is set to, by its key.", "limit")
        self._lag = Histogram(
            "chatpb_relay_event_loop_lag_seconds",
            "How much too late a timer of the event loop fires, which is set every half second.",
            registry=registry,
            buckets=_LAG_SECONDS,
        )
        info = self._gauge("info", "1 for each process.", "version", "implementation")
        info.labels(version("chatpb"), chatpb.implementation).set(1)

    def set_limits(self, limits: Mapping[str, float]) -> None:
        """Shows limits by their keys in the settings."""
        for name, value in limits.items():
            self._limits.labels(name).set(value)

    async def watch(self, *reads: Read) -> None:
        """Reads values and measures the lag, for as long as it runs."""
        while True:
            for read in reads:
                for name, value in read().items():
                    if name not in self._gauges:
                        self._gauges[name] = self._gauge(name, GAUGES[name])
                    self._gauges[name].set(value)
            due = time.monotonic() + _EVERY
            await asyncio.sleep(_EVERY)
            self._lag.observe(max(0.0, time.monotonic() - due))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        # The sum of the processes that live.
        mode: Final = "livesum"
        name = f"chatpb_relay_{name}"
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)
