"""Metrics of calls for OpenTelemetry, by its conventions for GenAI clients.

Only `chatpb_server.watching.tracing` imports this: it needs OpenTelemetry.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from threading import Thread
from typing import Final

from grpc import StatusCode
from opentelemetry.sdk.metrics import MeterProvider

from chatpb_server.core.call import Call
from chatpb_server.watching.bounded import MOST_MODELS, MOST_TOKENS, Names
from chatpb_server.watching.genai import error_type
from chatpb_server.watching.observers import SilentObserver
from chatpb_server.watching.servers import DEFAULT_PROVIDER, Server

# The boundaries that the conventions recommend.
_TOKENS: Final = tuple(4**power for power in range(14))
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
_Attributes = dict[str, str | int]


class MeterObserver(SilentObserver):
    """Measures what upstreams do: a relay is a client of theirs.

    Models have the same bound as in `MetricsObserver`.

    Args:
        provider: Where the metrics go.

    Attributes:
        servers: The upstreams, by their names.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.servers: Mapping[str, Server | None] = {}
        self._provider = provider
        self._models = Names(None, MOST_MODELS)
        self._asked: dict[str, float] = {}
        meter = provider.get_meter("chatpb_server", version("chatpb"))
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._first = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._between = meter.create_histogram(
            "gen_ai.client.operation.time_per_output_chunk",
            "s",
            "Time per output chunk, after the first.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def upstream_headers(self, call: Call) -> Mapping[str, str]:
        """Notes when the upstream was asked. There are no headers."""
        if not call.passed:
            self._asked.setdefault(call.id, time.monotonic())
        return super().upstream_headers(call)

    def sent(self, call: Call, chunks: int, seconds: float) -> None:
        """Times the chunks of a stream."""
        if not call.is_stream:
            return
        if call.chunks <= chunks:
            self._models.admit(call.model)
            waited = time.monotonic() - self._asked.get(call.id, call.started)
            self._first.record(waited, self._attributes(call))
        else:
            self._between.record(seconds / chunks, self._attributes(call))

    def ended(self, call: Call, code: StatusCode, error: BaseException | None) -> None:
        """Measures what was asked of an upstream."""
        asked = self._asked.pop(call.id, None)
        if asked is None:
            return
        if code is StatusCode.OK:
            self._models.admit(call.model)
        attributes = self._attributes(call)
        for kind, tokens in (("input", call.tokens_in), ("output", call.tokens_out)):
            if tokens is not None and 0 <= tokens < MOST_TOKENS:
                self._tokens.record(tokens, attributes | {"gen_ai.token.type": kind})
        if code is not StatusCode.OK:
            attributes["error.type"] = error_type(code, error)
        self._duration.record(time.monotonic() - asked, attributes)

    def close(self, seconds: float = 5.0) -> None:
        """Sends what is left, and blocks until then or until the time is up."""
        thread = Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(seconds)

    def _attributes(self, call: Call) -> _Attributes:
        attributes: _Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": DEFAULT_PROVIDER,
        }
        if model := self._models.get(call.model):
            attributes["gen_ai.request.model"] = model
        if server := self.servers.get(call.upstream):
            attributes |= server.attributes
        return attributes
