"""How a server is reached, and what is sent with each call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import grpc

from chatpb._rpc.loopback import is_loopback
from chatpb._rpc.metadata import Metadata, checked

_ChannelT = TypeVar("_ChannelT")

_BALANCING: Final[Mapping[str, Any]] = {"loadBalancingConfig": [{"round_robin": {}}]}
_RETRYING: Final[Mapping[str, Any]] = {
    **_BALANCING,
    "methodConfig": [
        {
            "name": [{"service": "chatpb.v1.ChatCompletionService"}],
            # gRPC varies the pauses at random, and never tries a call again that was answered.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A server that stops ends what just arrives with CANCELLED, unseen. A call that the
                # caller cancels ends here, and is not tried again.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # Where most calls fail, trying them again only adds to the load.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024  # as the relay's
_OPTIONS: Final = {
    "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.ping_timeout_ms": 10_000,  # by default a minute, whatever the line above says
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,  # by default, probing a silent call soon ends
}
_FOREVER: Final = 1e9  # seconds; gRPC takes much longer timeouts for ones that have passed
_HOST_PORT: Final = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d+)?")


class Server:
    """Where a server is, and how it is called.

    Args:
        target: The name of the server, for gRPC.
        credentials: How the connection is encrypted. None: it is not.
        token: Sent with each call, as ``authorization: Bearer TOKEN``.
        allow_insecure_token: Whether secrets may leave this machine unencrypted.
        metadata: Sent with each call.
        options: Channel options, instead of or beside those that are set here.
        retries: Whether gRPC tries calls again that are UNAVAILABLE before their first answer.

    Attributes:
        metadata: All that is sent with each call.
        may_send_secrets: Whether the connection is fit for secrets.

    Raises:
        ValueError: The token would leave this machine unencrypted, or metadata cannot be sent.
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
        local = _is_local(target)
        self._target = target
        self._credentials = credentials
        self.may_send_secrets = credentials is not None or local or allow_insecure_token
        if token is not None and not self.may_send_secrets:
            raise self.refusal("token")
        authorization = [] if token is None else [("authorization", f"Bearer {token}")]
        self.metadata = checked([*authorization, *metadata])
        config = {"grpc.service_config": json.dumps(_RETRYING if retries else _BALANCING)}
        no_proxy = {"grpc.enable_http_proxy": 0} if local else {}
        self._options = list({**_OPTIONS, **config, **no_proxy, **dict(options)}.items())

    def refusal(self, secret: str) -> ValueError:
        """The error for a secret that the connection is not fit for."""
        return ValueError(
            f"will not send the {secret} to {self._target} in the clear: pass credentials, or"
            " allow_insecure_token=True"
        )

    def open(
        self, insecure: Callable[..., _ChannelT], secure: Callable[..., _ChannelT]
    ) -> _ChannelT:
        """A channel, made by one of gRPC's functions."""
        if self._credentials is None:
            return insecure(self._target, options=self._options)
        return secure(self._target, self._credentials, options=self._options)


def timeout_of(seconds: float | None) -> float | None:
    """A timeout as gRPC takes it. None: no limit."""
    return seconds if seconds is not None and seconds < _FOREVER else None


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
