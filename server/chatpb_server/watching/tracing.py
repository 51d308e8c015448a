"""Traces of calls, with OpenTelemetry, if it is installed and configured."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from chatpb._extras import install_command

if TYPE_CHECKING:
    from chatpb_server.watching.spans import SpanObserver

_EXPORTERS: Final = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}
_HTTP_HINT: Final = "pip install opentelemetry-exporter-otlp-proto-http"


class TracingError(Exception):
    """Traces are asked for and cannot be made, with a text for the user."""


def tracer_observer() -> SpanObserver | None:
    """An observer that makes spans, as OpenTelemetry's environment variables say.

    Traces are asked for by ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``
    or ``OTEL_TRACES_EXPORTER`` (``otlp``, ``console`` or ``none``), and turned off by
    ``OTEL_SDK_DISABLED=true``. ``OTEL_EXPORTER_OTLP_*``, ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*``,
    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` mean what OpenTelemetry defines.

    To be called in the process that serves: spans are sent by a thread.

    Returns:
        The observer, which is to be closed at the end; None if no traces are asked for.

    Raises:
        TracingError: A package is missing, or the value of a variable is not supported.
    """
    kind = _exporter_kind()
    if kind == "none":
        return None
    if kind not in ("otlp", "console"):
        raise TracingError(f"expected OTEL_TRACES_EXPORTER to be otlp, console or none, got {kind}")
    try:
        from chatpb_server.watching.spans import SpanObserver, console_exporter, provider

        exporter: Any = console_exporter() if kind == "console" else _otlp_exporter()
        return SpanObserver(provider(exporter))
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] != "opentelemetry":
            raise
        hint = _HTTP_HINT if ".proto.http" in missing else install_command("otel")
        raise TracingError(f"traces need {missing}: {hint}") from None
    except ValueError as error:  # its text may show a header with a key
        raise TracingError(
            f"cannot read OpenTelemetry's environment variables: {type(error).__name__}"
        ) from None


def _exporter_kind() -> str:
    if _variable("OTEL_SDK_DISABLED") == "true":
        return "none"
    if kind := _variable("OTEL_TRACES_EXPORTER"):
        return kind
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return "otlp" if any(_variable(name) for name in endpoints) else "none"


def _otlp_exporter() -> Any:
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next(filter(None, map(_variable, variables)), "grpc")
    if protocol not in _EXPORTERS:
        expected = " or ".join(_EXPORTERS)
        raise TracingError(f"expected {variables[1]} to be {expected}, got {protocol}")
    return import_module(_EXPORTERS[protocol]).OTLPSpanExporter()


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip().lower()
