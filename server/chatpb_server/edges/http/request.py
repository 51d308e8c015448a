"""What is in a request of the HTTP API: its caller, and what its body asks for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from aiohttp import web

from chatpb._rpc.offload import LARGE
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.offload import apart, threaded
from chatpb_server.edges.asked import Asked, Misasked, asked_plainly, read_asked

_TIMEOUT_HEADER: Final = "x-request-timeout-ms"


class HttpPeer:
    """Who is at the other end of a request, for the guard.

    Args:
        request: The request.
        call: The call.
    """

    def __init__(self, request: web.BaseRequest, call: Call) -> None:
        self._request = request
        self._call = call

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """The headers."""
        return [(name.lower(), value) for name, value in self._request.headers.items()]

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """The names in the certificate that the peer has shown."""
        connection = self._request.get_extra_info("ssl_object")
        shown = connection.getpeercert() if connection is not None else None
        if not shown:
            return {}
        named = [value for _, value in shown.get("subjectAltName", ())]
        common = [
            value
            for part in shown.get("subject", ())
            for name, value in part
            if name == "commonName"
        ]
        return {
            "x509_subject_alternative_name": [name.encode() for name in named],
            "x509_common_name": [name.encode() for name in common],
        }

    def time_remaining(self) -> float | None:
        """What is left of the time in a header of the request.

        Raises:
            RefusalError: The header does not hold milliseconds.
        """
        text = self._call.metadata.get(_TIMEOUT_HEADER)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise RefusalError(400, "expected milliseconds in the header X-Request-Timeout-Ms")
        return int(text) / 1000 - (time.monotonic() - self._call.started)


async def asked_in(body: bytes) -> Asked:
    """What a request asks for.

    Raises:
        RefusalError: The body is not a JSON object, or can be understood in two ways.
    """
    if len(body) > LARGE and (found := await threaded(len(body), asked_plainly, body)):
        return found
    asked = await apart(len(body), read_asked, body)
    if isinstance(asked, Misasked):
        raise RefusalError(400, asked.message, asked.code, asked.param)
    return asked
