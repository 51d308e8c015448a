"""How a server is reached, and what is sent with each call."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, SupportsFloat, TypeVar

import grpc

from chatpb._errors import ArgumentValueError, wrong_type
from chatpb._rpc.loopback import is_loopback
from chatpb._rpc.metadata import Metadata, checked

_ChannelT = TypeVar("_ChannelT")

_BALANCING: Final[Mapping[str, Any]] = {"loadBalancingConfig": [{"round_robin": {}}]}
_RETRYING: Final[Mapping[str, Any]] = {
    **_BALANCING,
    "methodConfig": [
        {
            "name": [
                {"service": "chatpb.v1.ChatCompletionService"},
                {"service": "chatpb.v1.ModelService"},
                {"service": "chatpb.v1.StoredChatCompletionService"},
            ],
            # gRPC adds jitter to the pauses, and never retries a call that has an answer. A relay
            # forbids it (grpc-retry-pushback-ms) if an upstream was asked, so that retries do not
            # multiply. What remains is a server that cannot be reached, or is stopping.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A server that is shutting down ends a call that has just arrived with CANCELLED,
                # before its handler runs. A call that the caller cancels is not retried.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # If most calls fail, retries only add load.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024  # the same as the relay's limit
#: Of the metadata of an answer. Between two limits gRPC would refuse at random.
_MAX_METADATA_BYTES: Final = 64 * 1024
_OPTIONS: Final = {
    "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
    "grpc.max_metadata_size": _MAX_METADATA_BYTES,
    "grpc.absolute_max_metadata_size": _MAX_METADATA_BYTES,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.ping_timeout_ms": 10_000,  # else a minute, despite the line above
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,  # else a silent call is soon no longer pinged
}
_FOREVER: Final = 1e9  # seconds; gRPC treats much longer timeouts as already expired
_HOST_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d+)?")


class Server:
    """A server: its address, and how it is called.

    Args:
        target: The address of the server, as gRPC takes it.
        credentials: How the connection is encrypted. None: no encryption.
        token: Sent with each call, as ``authorization: Bearer TOKEN``.
        allow_insecure_token: Whether secrets may leave this machine unencrypted.
        metadata: Sent with each call.
        options: Channel options; they override the ones that are set here.
        retries: Whether gRPC retries calls that fail with UNAVAILABLE before their first answer,
            unless the server forbids it.

    Attributes:
        metadata: All metadata that is sent with each call.
        may_send_secrets: Whether secrets may be sent over the connection.

    Raises:
        ArgumentValueError: The token would leave this machine unencrypted, or metadata cannot be
            sent.
        ArgumentTypeError: An argument has another type.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None,
        token: str | None,
        allow_insecure_token: bool,
        metadata: Metadata,
        options: Sequence[tuple[str, Any]],
        retries: bool,
    ) -> None:
        for name, value in (("target", target), ("token", token)):
            if not isinstance(value, str) and (value is not None or name == "target"):
                raise wrong_type(f"a str as the {name}", value)
        if not isinstance(credentials, grpc.ChannelCredentials | None):
            raise wrong_type("grpc.ChannelCredentials as the credentials", credentials)
        local = _is_local(target)
        self._target = target
        self._credentials = credentials
        self.may_send_secrets = credentials is not None or local or allow_insecure_token
        if token is not None and not self.may_send_secrets:
            raise self.refusal("token")
        authorization = [] if token is None else [("authorization", f"Bearer {token}")]
        self.metadata = [*checked(authorization), *checked(metadata)]
        config = {"grpc.service_config": json.dumps(_RETRYING if retries else _BALANCING)}
        # The environment's proxy could read what is sent without encryption.
        no_proxy = {"grpc.enable_http_proxy": 0} if local or credentials is None else {}
        try:
            given = dict(options)
        except (TypeError, ValueError):
            raise wrong_type("options as pairs of a name and a value", options) from None
        self._options = list({**_OPTIONS, **config, **no_proxy, **given}.items())

    def refusal(self, secret: str) -> ArgumentValueError:
        """The error for a secret that may not be sent over the connection."""
        return ArgumentValueError(
            f"will not send the {secret} to {self._target} in the clear: pass credentials, or"
            " allow_insecure_token=True"
        )

    def open(
        self, insecure: Callable[..., _ChannelT], secure: Callable[..., _ChannelT]
    ) -> _ChannelT:
        """Opens a channel with one of two functions of gRPC, depending on the credentials."""
        if self._credentials is None:
            return insecure(self._target, options=self._options)
        return secure(self._target, self._credentials, options=self._options)


def timeout_of(seconds: float | None) -> float | None:
    """A timeout in the form that gRPC takes. None: no limit.

    Raises:
        ArgumentTypeError: It is not a number.
        ArgumentValueError: It is NaN, or too large for a float.
    """
    if seconds is None:
        return None
    if not isinstance(seconds, SupportsFloat):
        raise wrong_type("a timeout in seconds", seconds)
    try:
        number = float(seconds)
    except OverflowError:
        raise ArgumentValueError("expected a timeout in seconds, got too large a number") from None
    if math.isnan(number):
        raise ArgumentValueError("expected a timeout in seconds, got NaN")
    return number if number < _FOREVER else None


def _is_local(target: str) -> bool:
    """Whether a target is certain to be on this machine."""
    scheme, _, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme in ("ipv4", "ipv6"):
        return all(map(_is_local_address, rest.split(",")))
    if scheme == "dns":
        return _is_local_address(rest.removeprefix("///"))
    return _is_local_address(target)


def _is_local_address(address: str) -> bool:
    """The same for ``HOST`` or ``HOST:PORT``; an IPv6 address without a port needs no brackets."""
    match = _HOST_PORT.fullmatch(address)
    return is_loopback(match[1] or match[2] if match else address)
