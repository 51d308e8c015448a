"""Traces, metrics and events for OpenTelemetry, if it is installed and configured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from chatpb._extras import install_command

if TYPE_CHECKING:
    from chatpb_server.watching.meters import MeterObserver
    from chatpb_server.watching.spans import SpanObserver

_PROTOCOLS: Final = {"grpc": "grpc", "http/protobuf": "http"}
_HTTP_HINT: Final = "pip install opentelemetry-exporter-otlp-proto-http"
#: Asks for the messages of calls, in the words of OpenTelemetry's own instrumentations.
CAPTURE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class TracingError(Exception):
    """Traces or metrics are asked for and cannot be made, with a text for the user."""


class _Signal(NamedTuple):
    """One of the things that are sent, by its name in variables, in packages and in errors."""

    variable: str
    module: str
    exporter: str
    text: str


_TRACES: Final = _Signal("TRACES", "trace_exporter", "OTLPSpanExporter", "traces")
_METRICS: Final = _Signal("METRICS", "metric_exporter", "OTLPMetricExporter", "metrics")
_EVENTS: Final = _Signal("LOGS", "_log_exporter", "OTLPLogExporter", "events")


class Capture(NamedTuple):
    """Where the messages of calls go.

    Attributes:
        on_spans: Whether spans have them.
        in_events: Whether there are events that have them.
    """

    on_spans: bool
    in_events: bool


_CAPTURES: Final[Mapping[str, Capture]] = {
    "": Capture(False, False),
    "false": Capture(False, False),
    "no_content": Capture(False, False),
    "true": Capture(True, False),
    "span_only": Capture(True, False),
    "event_only": Capture(False, True),
    "span_and_event": Capture(True, True),
}


def tracer_observer(content: bool | None = None) -> SpanObserver | None:
    """An observer that makes spans, as OpenTelemetry's environment variables say.

    Traces are asked for by ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``
    or ``OTEL_TRACES_EXPORTER`` (``otlp``, ``console`` or ``none``), and turned off by
    ``OTEL_SDK_DISABLED=true``. ``OTEL_EXPORTER_OTLP_*``, ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*``,
    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` mean what OpenTelemetry defines.

    To be called in the process that serves: spans are sent by a thread.

    Args:
        content: Whether the messages of calls are sent too. True: on spans, unless the variable
            `CAPTURE` says where. None: as that variable says.

    Returns:
        The observer, which is to be closed at the end; None if no traces are asked for.

    Raises:
        TracingError: A package is missing, or the value of a variable is not supported.
    """
    kind = _exporter_kind(_TRACES)
    if kind == "none":
        return None
    capture = captured(content)
    with _Explaining(_TRACES):
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        from chatpb_server.watching.contents import ContentRecorder
        from chatpb_server.watching.details import Details
        from chatpb_server.watching.spans import SpanObserver, provider

        exporter: Any = ConsoleSpanExporter() if kind == "console" else _otlp_exporter(_TRACES)
        details = Details(
            ContentRecorder() if any(capture) else None,
            on_spans=capture.on_spans,
            events=_event_provider() if capture.in_events else None,
        )
        return SpanObserver(provider(exporter), details)


def meter_observer() -> MeterObserver | None:
    """An observer that measures calls for OpenTelemetry, as its environment variables say.

    They are those of `tracer_observer`, with METRICS instead of TRACES.

    Raises:
        TracingError: As in `tracer_observer`.
    """
    kind = _exporter_kind(_METRICS)
    if kind == "none":
        return None
    with _Explaining(_METRICS):
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import (
            ConsoleMetricExporter,
            PeriodicExportingMetricReader,
        )

        from chatpb_server.watching.meters import MeterObserver
        from chatpb_server.watching.resource import resource

        exporter: Any = ConsoleMetricExporter() if kind == "console" else _otlp_exporter(_METRICS)
        reader = PeriodicExportingMetricReader(exporter)
        meters = MeterProvider([reader], resource=resource(), shutdown_on_exit=False)
        return MeterObserver(meters)


def captured(content: bool | None) -> Capture:
    """Where the messages of calls go. See `tracer_observer`."""
    named = _variable(CAPTURE)
    if named not in _CAPTURES:
        expected = ", ".join(name.upper() for name in _CAPTURES if "_" in name)
        raise TracingError(f"expected {CAPTURE} to be one of {expected}, got {named}")
    if content is False:
        return _CAPTURES["false"]
    found = _CAPTURES[named]
    return _CAPTURES["true"] if content and not any(found) else found


class _Explaining:
    """Turns what is missing or wrong into a text for the user."""

    def __init__(self, signal: _Signal) -> None:
        self._signal = signal

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> Literal[False]:
        if isinstance(error, ModuleNotFoundError):
            missing = error.name or ""
            if missing.partition(".")[0] == "opentelemetry":
                hint = _HTTP_HINT if ".proto.http" in missing else install_command("otel")
                text = f"{self._signal.text} need {missing}: {hint}"
                raise TracingError(text) from None
        elif isinstance(error, ValueError):  # its text may show a header with a key
            raise TracingError(
                f"cannot read OpenTelemetry's environment variables: {type(error).__name__}"
            ) from None
        return False


def _event_provider() -> Any:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from chatpb_server.watching.resource import resource

    events = LoggerProvider(resource=resource(), shutdown_on_exit=False)
    events.add_log_record_processor(BatchLogRecordProcessor(_otlp_exporter(_EVENTS)))
    return events


def _exporter_kind(signal: _Signal) -> str:
    if _variable("OTEL_SDK_DISABLED") == "true":
        return "none"
    name = f"OTEL_{signal.variable}_EXPORTER"
    kind = _variable(name)
    if not kind:
        endpoints = (
            f"OTEL_EXPORTER_OTLP_{signal.variable}_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        )
        return "otlp" if any(_variable(name) for name in endpoints) else "none"
    if kind not in ("otlp", "console", "none"):
        raise TracingError(f"expected {name} to be otlp, console or none, got {kind}")
    return kind


def _otlp_exporter(signal: _Signal) -> Any:
    variables = (f"OTEL_EXPORTER_OTLP_{signal.variable}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next(filter(None, map(_variable, variables)), "grpc")
    if protocol not in _PROTOCOLS:
        expected = " or ".join(_PROTOCOLS)
        raise TracingError(f"expected {variables[1]} to be {expected}, got {protocol}")
    package = f"opentelemetry.exporter.otlp.proto.{_PROTOCOLS[protocol]}"
    return getattr(import_module(f"{package}.{signal.module}"), signal.exporter)()


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()
