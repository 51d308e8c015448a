"""What OpenTelemetry knows about the process that traces, metrics and events come from.

Only modules that need OpenTelemetry import this.
"""

from __future__ import annotations

import os
import uuid
from functools import lru_cache
from importlib.metadata import version

from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AttributeValue


def resource() -> Resource:
    """The resource, which the environment variables can name otherwise."""
    attributes: dict[str, AttributeValue] = {"service.version": version("chatpb")}
    named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
        attributes["service.name"] = "chatpb-server"
    if "service.instance.id=" not in named:  # otherwise the metrics of workers would be mixed up
        attributes["service.instance.id"] = _instance(os.getpid())
    return Resource.create(attributes)


@lru_cache(1)
def _instance(_: int) -> str:
    """What names this process, given its number: one that is forked has a name of its own."""
    return str(uuid.uuid4())
