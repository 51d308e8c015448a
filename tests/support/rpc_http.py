"""Calls of rpcs over HTTP, in the protocols Connect and gRPC-Web, byte by byte."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, Final, NamedTuple

import aiohttp
from google.protobuf import json_format
from google.protobuf.message import Message

from chatpb.v1.chat_completion_service_pb2 import (
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
)
from support.limits import TIMEOUT

SERVICE: Final = "chatpb.v1.ChatCompletionService"
CREATE: Final = f"/{SERVICE}/CreateChatCompletion"
STREAM: Final = f"/{SERVICE}/StreamChatCompletion"
CONNECT: Final = "application/connect+proto"
GRPC_WEB: Final = "application/grpc-web+proto"
TEXT: Final = "application/grpc-web-text"
#: The flags of the last message.
END: Final = 2
TRAILERS: Final = 0x80
_PREFIX: Final = struct.Struct(">BI")


def framed(data: bytes, flags: int = 0, length: int | None = None) -> bytes:
    """A message with its prefix."""
    return _PREFIX.pack(flags, len(data) if length is None else length) + data


def messages(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The flags and the data of the messages of a body."""
    while body:
        flags, length = _PREFIX.unpack_from(body)
        end = _PREFIX.size + length
        assert end <= len(body)
        yield flags, body[_PREFIX.size : end]
        body = body[end:]


class Answer(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def messages(self) -> list[tuple[int, bytes]]:
        """Its messages, decoded if it is in base64."""
        body = self.body
        if self.headers["content-type"].startswith(TEXT):
            body = b"".join(map(base64.b64decode, split_base64(body)))
        return list(messages(body))

    @property
    def end(self) -> Any:
        """The JSON that ends a stream of Connect."""
        flags, data = self.messages[-1]
        assert END == flags
        return json.loads(data)

    @property
    def trailers(self) -> dict[str, str]:
        """The trailers of gRPC-Web."""
        flags, data = self.messages[-1]
        assert TRAILERS == flags
        assert data.endswith(b"\r\n")
        return dict(line.split(": ", 1) for line in data.decode().split("\r\n")[:-1])

    @property
    def error(self) -> Any:
        """The error of Connect: that of a unary rpc, or of a stream."""
        kind = self.headers["content-type"]
        return json.loads(self.body) if kind == "application/json" else self.end["error"]


def split_base64(text: bytes) -> list[bytes]:
    """The parts of a text, each with its padding."""
    parts: list[bytes] = []
    start = 0
    while start < len(text):
        end = text.find(b"=", start)
        end = len(text) if end < 0 else start + (end - start) // 4 * 4 + 4
        parts.append(text[start:end])
        start = end
    return parts


@asynccontextmanager
async def posting(
    url: str, path: str, body: bytes, kind: str, **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a POST; underscores in the names of headers are hyphens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    async with (
        aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
        session.post(
            url.removesuffix("/v1") + path,
            data=BytesIO(body),
            headers={"content-type": kind, "accept-encoding": "identity", **sent},
        ) as response,
    ):
        yield response


async def post(url: str, path: str, body: bytes, kind: str, **headers: str) -> Answer:
    """The whole answer to a POST."""
    async with posting(url, path, body, kind, **headers) as response:
        return Answer(response.status, response.headers, await response.read())


def body_of(message: Message, kind: str) -> bytes:
    """The body of a request, by its content type."""
    data = message.SerializeToString()
    if kind.endswith("json"):
        data = json_format.MessageToJson(message).encode()
    if kind in ("application/proto", "application/json"):
        return data
    return base64.b64encode(framed(data)) if kind.startswith(TEXT) else framed(data)


def parsed(data: bytes, kind: str, path: str) -> Any:
    """A message of an answer."""
    message: Any = CreateChatCompletionResponse if path == CREATE else StreamChatCompletionResponse
    if kind.endswith("json"):
        return json_format.Parse(data, message())
    return message.FromString(data)


async def call(url: str, message: Message, kind: str, **headers: str) -> tuple[Answer, list[Any]]:
    """The answer to a call, by its content type, and its messages."""
    path = STREAM if "Stream" in type(message).__name__ else CREATE
    answer = await post(url, path, body_of(message, kind), kind, **headers)
    if kind in ("application/proto", "application/json"):
        return answer, [parsed(answer.body, kind, path)] if answer.status == 200 else []
    data = [data for flags, data in answer.messages if not flags]
    return answer, [parsed(piece, kind, path) for piece in data]
