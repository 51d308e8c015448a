"""Calls over gRPC, through `chatpb.client`."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from chatpb._cli.calling.report import Report
from chatpb._cli.calling.target import Target
from chatpb._errors import ArgumentValueError, os_error_text
from chatpb._rpc.credentials import channel_credentials
from chatpb.client import ChatCompletionError, Client
from chatpb.v1 import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, ModelList

_ARGUMENTS: Final = "pass credentials, or allow_insecure_token=True"
_OPTIONS: Final = "pass --tls, or --allow-insecure-token"
#: A server that starts is found within a second; gRPC's pauses grow to two minutes.
_CHANNEL: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

Emit = Callable[[ChatCompletion | ChatCompletionChunk], None]


def call(
    target: Target, request: ChatCompletionRequest, stream: bool, emit: Emit, report: Report
) -> None:
    """Sends a request, and gives each message of the answer to a function.

    Raises:
        ChatCompletionError: The call failed.
        click.UsageError: The options cannot be used.
    """
    with _client(target, report) as client:
        left = _left(target, report)
        if not stream:
            completion, report.metadata = client.create_with_metadata(request, timeout=left)
            report.arrived(completion)
            emit(completion)
            return
        with client.stream(request, timeout=left) as chunks:
            for chunk in chunks:
                report.arrived(chunk)
                emit(chunk)
            report.metadata = chunks.metadata


def models(target: Target, report: Report) -> ModelList:
    """The models that the server lists.

    Raises:
        ChatCompletionError: The call failed.
        click.UsageError: The options cannot be used.
    """
    with _client(target, report) as client:
        return client.list_models(timeout=_left(target, report))


def _left(target: Target, report: Report) -> float | None:
    """How many seconds the call may still take; None: any number."""
    return None if target.timeout is None else max(0.0, target.timeout - report.elapsed)


@contextmanager
def _client(target: Target, report: Report) -> Iterator[Client]:
    """A client with a connection, if there is one already, and a report that has begun."""
    try:
        client = Client(
            target.address,
            credentials=channel_credentials(target.ca, target.cert, target.key)
            if target.tls
            else None,
            token=target.token,
            allow_insecure_token=target.allow_insecure_token,
            timeout=target.timeout or math.inf,
            metadata=[(name, _value(name, value)) for name, value in target.headers],
            options=_options(target),
        )
    except ArgumentValueError as error:
        raise click.UsageError(str(error).replace(_ARGUMENTS, _OPTIONS)) from None
    except OSError as error:
        names = ", ".join(str(path) for path in (target.ca, target.cert, target.key) if path)
        raise click.UsageError(f"{names}: {os_error_text(error)}") from None
    with client:
        if target.wait_ready is not None:
            client.wait_until_ready(target.wait_ready)
        report.begin()
        if report.is_wanted and client._connect(target.timeout):
            report.connected()
        try:
            yield client
        except ChatCompletionError as error:
            report.metadata = error.metadata
            report.retry_after = error.retry_after
            report.request_id = error.request_id
            raise
        finally:
            report.end()
            found = report.metadata.get("x-request-id")
            if report.request_id is None and isinstance(found, str):
                report.request_id = found


def _options(target: Target) -> list[tuple[str, Any]]:
    """The options of the channel."""
    if target.server_name is None:
        return list(_CHANNEL)
    return [
        *_CHANNEL,
        ("grpc.ssl_target_name_override", target.server_name),
        ("grpc.default_authority", target.server_name),
    ]


def _value(name: str, value: str) -> str | bytes:
    if not name.endswith("-bin"):
        return value
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise click.UsageError(f"-H {name}: expected base64 as the value") from None
