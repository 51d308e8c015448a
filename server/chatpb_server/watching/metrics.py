"""Metrics of calls, for Prometheus.

No label holds what a caller can invent without bound: see `MetricsObserver`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)

from chatpb.v1 import (
    chat_completion_service_pb2,
    model_service_pb2,
    stored_chat_completion_service_pb2,
)
from chatpb_server.core.call import Call
from chatpb_server.core.gate import MemoryLimitError, OverloadError
from chatpb_server.core.passing import PATH_CLASSES
from chatpb_server.watching.bounded import MOST_MODELS, MOST_TOKENS, Names
from chatpb_server.watching.observers import SilentObserver

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
_METHODS: Final = frozenset(
    method.name
    for file in (
        chat_completion_service_pb2,
        model_service_pb2,
        stored_chat_completion_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
#: What calls of the HTTP API are named.
_HTTP_METHODS: Final = ("chat.completions", "chat.completions.stored", "models", *PATH_CLASSES)

# From a cached answer of a small model to long reasoning.
_ANSWER_SECONDS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    *(5, 10, 20, 30, 60, 120, 300, 600),
)
# From a burst that the network has split to a model that stalls; 20 to 100 a second are usual.
_CHUNK_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


@dataclass(slots=True, eq=False)
class _Running:
    """A call that runs.

    Attributes:
        in_flight: The gauge that counts it.
        attempts: How many attempts are over.
        observe_gap: Takes the seconds between two messages, once there was a first.
    """

    in_flight: Gauge
    attempts: int = 0
    observe_gap: Callable[[float], None] | None = None


class MetricsObserver(SilentObserver):
    """Counts and times calls.

    A model has a label of its own if it is one of `models`. If that is None, it gets one once an
    upstream has answered with it, up to `most_models`. A caller gets one once it is admitted, up to
    `most_callers`. All others share the label ``other``; a call without a name has an empty one.

    Args:
        models: The models that have a label.
        most_models: How many get one if `models` is None, in each process.
        most_callers: How many callers get one, in each process.

    Attributes:
        registry: The metrics, for `serve_metrics`, unless this process shares them with others
            (see `shared_metrics`).
    """

    def __init__(
        self,
        models: Iterable[str] | None = None,
        *,
        most_models: int = MOST_MODELS,
        most_callers: int = 1000,
    ) -> None:
        self.registry = CollectorRegistry()
        self._models = Names(models, most_models)
        self._callers = Names(None, most_callers)
        self._methods = Names({*_METHODS, *_HTTP_METHODS}, 0)
        self._running: dict[str, _Running] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"chatpb_relay_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            name = f"chatpb_relay_{name}"
            # Of the processes that live: what a dead one left is not going on any more.
            mode: Final = "livesum"
            return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            name = f"chatpb_relay_{name}_seconds"
            return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

        self._calls = counter(
            "calls_total", "Calls that are over, by gRPC status code.", "method", "code", "caller"
        )
        self._in_flight = gauge(
            "calls_in_flight", "Calls that run or wait for their turn.", "method"
        )
        self._queued = gauge("calls_queued", "Calls that wait for their turn.")
        self._duration = histogram(
            "call_duration",
            "From a call's coming to its end.",
            _ANSWER_SECONDS,
            *("method", "model"),
        )
        self._first = histogram(
            "time_to_first_chunk",
            "From a call's coming to its first chunk, or its whole completion.",
            _ANSWER_SECONDS,
            *("method", "model"),
        )
        self._between = histogram(
            "time_between_chunks",
            "From a message of chunks to the next; chunks that came together are one message.",
            _CHUNK_SECONDS,
            "model",
        )
        self._refused = counter(
            "refused_total",
            "Calls that were refused for lack of room, in the queue or the memory.",
            "lacks",
        )
        for lacks in (OverloadError.lacks, MemoryLimitError.lacks):
            self._refused.labels(lacks)
        self._chunks = counter("chunks_total", "Chunks that were sent to callers.", "model")
        self._tokens = counter(
            "tokens_total",
            "Tokens, as the upstreams counted them; type is input or output.",
            *("model", "caller", "type"),
        )
        self._attempts = counter(
            "upstream_attempts_total",
            "Requests to upstreams, by HTTP status, or connect, data, or timeout.",
            *("upstream", "outcome"),
        )
        self._retries = counter(
            "upstream_retries_total",
            "Requests to upstreams after the first for the same call.",
            "upstream",
        )
        self._first_byte = histogram(
            "upstream_first_byte",
            "From a request to the first byte of the upstream's answer.",
            _ANSWER_SECONDS,
            "upstream",
        )
        for method in _METHODS:  # a series from the start, for `rate` and alerts
            self._in_flight.labels(method)
        self._queued.set(0)
        if DIRECTORY not in os.environ:
            ProcessCollector(registry=self.registry)

    def count_records(
        self, outcomes: Iterable[str], kept: Iterable[str], failures: Iterable[str]
    ) -> tuple[Callable[[str], None], Callable[[str], None], Callable[[str], None]]:
        """What counts the records of calls, where calls are recorded. Any thread may call it.

        Args:
            outcomes: All that may become of a record.
            kept: All that may be kept of an exchange.
            failures: All reasons why a record could not be redacted.

        Returns:
            Functions that count a record by its outcome, an exchange by what was kept, and a
            record that could not be redacted by the reason.
        """
        counting = self._counting
        return (
            counting(
                "records_total",
                "Records of calls: written, also those that are truncated; dropped; or failed.",
                "outcome",
                outcomes,
            ),
            counting(
                "records_kept_total",
                "Exchanges by what was kept of them: all, redacted, metadata, or none.",
                "kept",
                kept,
            ),
            counting(
                "record_redaction_failures_total",
                "Records that could not be redacted, so that only metadata was kept.",
                "reason",
                failures,
            ),
        )

    def count_stored(self, outcomes: Iterable[str]) -> Callable[[str], None]:
        """What counts the completions that were to be stored, by what happened to them.

        Args:
            outcomes: All that may happen.
        """
        text = "Completions that were to be stored: stored, or why not."
        return self._counting("stored_total", text, "outcome", outcomes)

    def _counting(
        self, name: str, text: str, label: str, values: Iterable[str]
    ) -> Callable[[str], None]:
        counter = Counter(f"chatpb_relay_{name}", text, (label,), registry=self.registry)
        series = {value: counter.labels(value) for value in values}
        return lambda value: series[value].inc()

    def began(self, call: Call) -> None:
        """Counts the call as in flight."""
        in_flight = self._in_flight.labels(self._method(call))
        in_flight.inc()
        self._running[call.id] = _Running(in_flight)

    def queued(self, call: Call, waiting: int) -> None:  # noqa: ARG002 (the protocol gives it)
        """Sets the length of the queue."""
        self._queued.set(waiting)

    def attempted(self, call: Call, outcome: str, seconds: float) -> None:
        """Counts an attempt, and a retry if it is not the first."""
        self._attempts.labels(call.upstream, outcome).inc()
        if outcome.isdigit():
            self._first_byte.labels(call.upstream).observe(seconds)
        running = self._running.get(call.id)
        if running is not None:
            running.attempts += 1
            if running.attempts > 1:
                self._retries.labels(call.upstream).inc()

    def sent(self, call: Call, chunks: int, seconds: float) -> None:  # noqa: ARG002
        """Times a message. Labels are looked up only for the first one of a call."""
        running = self._running.get(call.id)
        if running is None:
            return
        if running.observe_gap is not None:
            running.observe_gap(seconds)
            return
        model = self._models.admit(call.model)
        running.observe_gap = self._between.labels(model).observe
        self._first.labels(self._method(call), model).observe(seconds)

    def ended(self, call: Call, code: StatusCode, error: BaseException | None) -> None:
        """Counts the call, its chunks and its tokens, and times it."""
        running = self._running.pop(call.id, None)
        if running is not None:
            running.in_flight.dec()
            caller = self._callers.admit(call.caller)
        else:
            caller = self._callers.get(call.caller)
        if isinstance(error, OverloadError):
            self._refused.labels(error.lacks).inc()
        method = self._method(call)
        model = self._models.get(call.model)
        self._calls.labels(method, code.name, caller).inc()
        self._duration.labels(method, model).observe(time.monotonic() - call.started)
        if call.chunks:
            self._chunks.labels(model).inc(call.chunks)
        for kind, tokens in (("input", call.tokens_in), ("output", call.tokens_out)):
            if tokens and 0 < tokens < MOST_TOKENS:
                self._tokens.labels(model, caller, kind).inc(tokens)

    def _method(self, call: Call) -> str:
        return self._methods.get(call.method.rpartition("/")[2])
