"""A collector of OpenTelemetry's traces, metrics and logs, on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_SERVICES = {
    "trace.v1.TraceService": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "metrics.v1.MetricsService": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "logs.v1.LogsService": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


class Collector:
    """What was sent.

    Attributes:
        url: Where it listens.
        received: The bytes of all requests.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.received = b""
        self._requests: list[Any] = []

    def take(self, data: bytes, kind: Any) -> None:
        """Takes a request."""
        self.received += data
        self._requests.append(kind.FromString(data))

    def spans(self) -> list[Any]:
        """All spans."""
        return list(self._all("resource_spans", "scope_spans", "spans"))

    def metrics(self) -> dict[str, Any]:
        """The last state of all metrics, by their names."""
        metrics = self._all("resource_metrics", "scope_metrics", "metrics")
        return {metric.name: metric for metric in metrics}

    def events(self) -> list[Any]:
        """All records of logs."""
        return list(self._all("resource_logs", "scope_logs", "log_records"))

    def _all(self, *names: str) -> Iterator[Any]:
        for request in self._requests:
            for resource in getattr(request, names[0], ()):
                for scope in getattr(resource, names[1]):
                    yield from getattr(scope, names[2])


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    collector = Collector(f"http://127.0.0.1:{port}")

    def handler(request: Any, response: Any) -> Any:
        def export(data: bytes, _: grpc.ServicerContext) -> Any:
            collector.take(data, request)
            return response()

        return grpc.unary_unary_rpc_method_handler(
            export, response_serializer=response.SerializeToString
        )

    for name, kinds in _SERVICES.items():
        service = f"opentelemetry.proto.collector.{name}"
        handlers = {"Export": handler(*kinds)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.start()
    yield collector
    server.stop(None).wait()


def attributes(found: Any) -> dict[str, Any]:
    """The attributes of a span, an event or a data point."""
    return {item.key: _value(item.value) for item in found.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found: Any = getattr(value, kind) if kind else None
    if kind == "array_value":
        return [_value(item) for item in found.values]
    if kind == "kvlist_value":
        return {item.key: _value(item.value) for item in found.values}
    return found


def environ(collector: Collector, **more: str) -> Mapping[str, str]:
    """The variables that send all to a collector."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **more}
