"""What is in a request of the HTTP API: its caller, and what its body asks for."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from chatpb._rpc.offload import convert
from chatpb_server.core.call import Call
from chatpb_server.core.explain import RefusalError

_TIMEOUT_HEADER: Final = "x-request-timeout-ms"
#: The members that the relay decides by. If one is repeated, an upstream may take another one.
_DECISIVE: Final = ("model", "stream")
#: An escape of a lower-case letter in JSON, which no encoder writes.
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[67]")
_KINDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
}


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


async def asked_in(body: bytes) -> tuple[str, bool]:
    """The model that a request names, and whether it asks for a stream.

    Raises:
        RefusalError: The body is not a JSON object, or can be understood in two ways.
    """
    members = await convert(len(body), _members, body)
    model, stream = members.get("model"), members.get("stream")
    if stream is not None and not isinstance(stream, bool):
        text = f"Invalid type for 'stream': expected a boolean, but got {_kind(stream)} instead."
        raise RefusalError(400, text, "invalid_type", "stream")
    return model if isinstance(model, str) else "", stream is True


def _members(body: bytes) -> dict[str, Any]:
    try:
        try:
            members = orjson.loads(body)
        except orjson.JSONDecodeError:
            # Lone surrogates, and numbers as large as they like; as integers, those with more
            # digits than Python converts would be refused. Only UTF-8 is read, as by an upstream.
            members = json.loads(body.decode("utf-8-sig"), parse_int=float)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise RefusalError(
            400, "We could not parse the JSON body of your request. Expected a JSON object."
        )
    for name in _DECISIVE:
        if _may_repeat(body, name) and _count(body, name) > 1:
            text = f"The request has the member '{name}' more than once."
            raise RefusalError(400, text, param=name)
    return members


def _may_repeat(body: bytes, name: str) -> bool:
    """Whether a JSON text can have a member twice: for nearly all texts, False at little cost."""
    return body.count(b'"%s"' % name.encode()) > 1 or _ESCAPED_LETTER.search(body) is not None


def _count(body: bytes, name: str) -> int:
    """How often the object of a JSON text has a member."""
    pairs = json.loads(body.decode("utf-8-sig"), parse_int=float, object_pairs_hook=tuple)
    return sum(1 for key, _ in pairs if key == name)


def _kind(value: object) -> str:
    """The JSON type of a value, as OpenAI's errors name it."""
    return _KINDS[type(value)]
