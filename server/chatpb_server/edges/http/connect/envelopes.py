"""What the protocols of rpcs over HTTP have in common: how messages are framed and compressed."""

from __future__ import annotations

import gzip
import struct
from typing import Final

from chatpb_server.core.budget import Share
from chatpb_server.core.explain import RefusalError
from chatpb_server.core.offload import threaded
from chatpb_server.core.upstream import RequestError
from chatpb_server.edges.http.body import BodyReader

GZIP: Final = "gzip"
IDENTITY: Final = "identity"
#: The flag of a message that is compressed.
COMPRESSED: Final = 1
#: In front of each message: a byte of flags, and the length.
_PREFIX: Final = struct.Struct(">BI")
PREFIX_BYTES: Final = _PREFIX.size
#: Shorter messages are not compressed: it would save nothing worth the time.
_WORTH: Final = 1024
#: zlib's fastest level, which takes most of what there is to gain of JSON and texts.
_LEVEL: Final = 1


def framed(flags: int, data: bytes) -> bytes:
    """A message with its prefix."""
    return _PREFIX.pack(flags, len(data)) + data


async def only_message(body: bytes, encoding: str, bodies: BodyReader, share: Share) -> bytes:
    """The message of a body that is to have one.

    Args:
        body: The body.
        encoding: How its message is compressed if its flag says so; empty for not at all.
        bodies: Bounds it.
        share: Holds what it becomes when it is inflated.

    Raises:
        RequestError: The body is not one message.
        RefusalError: It has more than one, or a message that is too long or cannot be inflated.
        OverloadError: There is no room for it.
    """
    if not body:
        raise RequestError("The request has no message.")
    if len(body) < PREFIX_BYTES:
        raise RequestError("The request ends within the prefix of its message.")
    flags, length = _PREFIX.unpack_from(body)
    if flags & ~COMPRESSED:
        raise RequestError(f"The message of the request has unknown flags: {flags:#04x}.")
    bodies.check(length)
    end = PREFIX_BYTES + length
    if len(body) < end:
        raise RequestError("The request ends within its message.")
    if len(body) > end:
        raise RefusalError(501, "The request has more than one message; the rpc takes one.")
    message = body[PREFIX_BYTES:]
    if not flags:
        return message
    if encoding in ("", IDENTITY):
        raise RequestError("The message is compressed, and no header says how.")
    return await bodies.inflated(message, encoding, share)


def check_encoding(name: str) -> None:
    """Checks that messages with an encoding can be read.

    Raises:
        RefusalError: They cannot.
    """
    if name not in ("", IDENTITY, GZIP):
        raise RefusalError(501, "The encoding of the request is not supported: expected gzip.")


def takes_gzip(accepted: str) -> bool:
    """Whether a header with the encodings that a caller takes names gzip."""
    for item in accepted.lower().split(","):
        name, _, quality = item.partition(";")
        if name.strip() == GZIP and quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00"):
            return True
    return False


async def compressed(data: bytes) -> bytes | None:
    """A message compressed with gzip; None if that is not worth the time."""
    if len(data) < _WORTH:
        return None
    return await threaded(len(data), _gzip, data)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, _LEVEL, mtime=0)
