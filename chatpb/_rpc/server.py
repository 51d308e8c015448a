"""How a server is reached, what is sent with each call, and what a call that failed says.

What the client, the transport and the relay share.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar

import grpc
import grpc_status.rpc_status
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo
from grpc import StatusCode

from chatpb.v1.error_pb2 import ErrorResponse

Metadata = Iterable[tuple[str, str | bytes]]
NO_METADATA: Final[Mapping[str, str | bytes]] = MappingProxyType({})

#: The key of trailing metadata that says the HTTP status of an upstream's own answer.
HTTP_STATUS_KEY: Final = "chatpb-http-status"
#: The HTTP status for each gRPC status, where no upstream said one. See
#: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto. That counts UNKNOWN
#: and DATA_LOSS as 500; here the fault is behind the relay.
HTTP_STATUSES: Final = MappingProxyType(
    {
        StatusCode.CANCELLED: 499,
        StatusCode.UNKNOWN: 502,
        StatusCode.INVALID_ARGUMENT: 400,
        StatusCode.DEADLINE_EXCEEDED: 504,
        StatusCode.NOT_FOUND: 404,
        StatusCode.ALREADY_EXISTS: 409,
        StatusCode.PERMISSION_DENIED: 403,
        StatusCode.RESOURCE_EXHAUSTED: 429,
        StatusCode.FAILED_PRECONDITION: 400,
        StatusCode.ABORTED: 409,
        StatusCode.OUT_OF_RANGE: 400,
        StatusCode.UNIMPLEMENTED: 501,
        StatusCode.INTERNAL: 500,
        StatusCode.UNAVAILABLE: 503,
        StatusCode.DATA_LOSS: 502,
        StatusCode.UNAUTHENTICATED: 401,
    }
)

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
_KEY: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
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


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call that failed says.

    Attributes:
        code: The status.
        text: The status's message.
        response: OpenAI's error, or None if the server sent none.
        retry_after: In how many seconds to try again, if the server said so.
        request_id: The server's name for the call, if it said so.
        metadata: The trailing metadata; of equal keys the last.
    """

    code: grpc.StatusCode
    text: str
    response: ErrorResponse | None
    retry_after: float | None
    request_id: str | None
    metadata: Mapping[str, str | bytes]

    @classmethod
    def of(cls, error: grpc.RpcError) -> Failure:
        """What gRPC's error says. Details that cannot be read, or contradict it, say nothing."""
        metadata = mapping(error.trailing_metadata())  # type: ignore[arg-type]  # pairs
        response, retry, info = ErrorResponse(), RetryInfo(), RequestInfo()
        found = set()
        try:
            status = grpc_status.rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what is needed
            for detail in status.details if status is not None else ():
                for message in (response, retry, info):
                    if detail.Is(message.DESCRIPTOR):
                        detail.Unpack(message)
                        found.add(message.DESCRIPTOR.full_name)
        except (ValueError, DecodeError):
            pass
        delay = retry.retry_delay if retry.HasField("retry_delay") else None
        named = info.request_id or metadata.get("x-request-id")
        return cls(
            error.code(),
            error.details() or "",
            response if response.DESCRIPTOR.full_name in found else None,
            delay.seconds + delay.nanos / 1e9 if delay is not None else None,
            named if isinstance(named, str) else None,
            metadata,
        )


def timeout_of(seconds: float | None) -> float | None:
    """A timeout as gRPC takes it. None: no limit."""
    return seconds if seconds is not None and seconds < _FOREVER else None


def checked(metadata: Metadata) -> list[tuple[str, str | bytes]]:
    """The metadata with keys in lower case. gRPC's own errors name neither key nor value.

    Raises:
        ValueError: It cannot be sent. The error names the key, but not the value.
    """
    pairs = [(key.lower(), value) for key, value in metadata]
    for key, value in pairs:
        if not _KEY.fullmatch(key):
            raise ValueError(f"expected letters, digits, '_', '.' or '-' in a key, got {key!r}")
        if key.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ValueError(f"expected bytes as the value of {key!r}")
        elif not _VALUE.fullmatch(value if isinstance(value, str) else value.decode("latin-1")):
            raise ValueError(f"expected printable ASCII as the value of {key!r}")
    return pairs


def mapping(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str | bytes]:
    """The metadata by its keys; of equal ones the last counts."""
    return {key: value for key, value in metadata or ()}  # noqa: C416 (dict() takes the first)


def _is_local(target: str) -> bool:
    """Whether a target is certain to be on this machine."""
    scheme, _, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme in ("ipv4", "ipv6"):
        return all(map(_is_loopback, rest.split(",")))
    if scheme == "dns":
        return _is_loopback(rest.removeprefix("///"))
    return _is_loopback(target)


def _is_loopback(address: str) -> bool:
    match = _HOST_PORT.fullmatch(address)
    host = match[1] or match[2] if match else address  # an IPv6 address needs no brackets
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
