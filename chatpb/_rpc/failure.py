"""What the status and the metadata of a failed call contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import grpc_status.rpc_status
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RequestInfo, RetryInfo

from chatpb._rpc.metadata import mapping
from chatpb._rpc.status import upstream_http_status
from chatpb.v1.error_pb2 import ErrorResponse


@dataclass(frozen=True, slots=True)
class FailedCall:
    """What the status and the metadata of a failed call contain.

    Attributes:
        code: The status code.
        text: The status message.
        response: OpenAI's error, or None if the server sent none.
        retry_after: The number of seconds to wait before the next try, if the server sent it.
        request_id: The server's name for the call, if it sent one.
        metadata: The trailing metadata. If a key is repeated, the last one wins.
    """

    code: grpc.StatusCode
    text: str
    response: ErrorResponse | None
    retry_after: float | None
    request_id: str | None
    metadata: Mapping[str, str | bytes]

    @property
    def upstream_http_status(self) -> int | None:
        """The HTTP status of the upstream's answer, if the server sent it."""
        return upstream_http_status(self.metadata)

    @property
    def is_of_unknown_method(self) -> bool:
        """Whether the server does not know the rpc."""
        is_unimplemented = self.code is grpc.StatusCode.UNIMPLEMENTED
        return is_unimplemented and self.response is None and self.upstream_http_status is None

    @classmethod
    def of(cls, error: grpc.RpcError) -> FailedCall:
        """Reads gRPC's error. Details that cannot be read or contradict the status are ignored."""
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
