"""Which of the two implementations of the mapping is in use.

The reference is in pure Python and always there. The native one, a Rust extension, gives the same
results; what it declines, such as input that is an error, the reference decides.
"""

from __future__ import annotations

import functools
import os
from importlib import resources
from typing import TYPE_CHECKING, Final

from google.protobuf.message import Message

if TYPE_CHECKING:
    from _chatpb import ChunkStream, Transcoder

_VARIABLE: Final = "CHATPB_IMPLEMENTATION"


def _load() -> Transcoder | None:
    wanted = os.environ.get(_VARIABLE, "")
    if wanted not in ("", "python", "native"):
        raise ImportError(f"{_VARIABLE} is {wanted!r}; expected python or native")
    if wanted == "python":
        return None
    try:
        from _chatpb import Transcoder
    except ImportError as error:
        if wanted == "native":
            raise ImportError(
                f"{_VARIABLE} asks for the native implementation, which was not built: install"
                " chatpb where cargo is on the PATH"
            ) from error
        return None
    descriptor_set = resources.files("chatpb.v1") / "descriptor_set.binpb"
    return Transcoder(descriptor_set.read_bytes())


transcoder: Final = _load()
implementation: Final = "python" if transcoder is None else "native"


def native_type(message_type: type[Message]) -> int | None:
    """The transcoder's number for a message type; None if it mirrors no JSON object."""
    return _number(message_type.DESCRIPTOR.full_name)


@functools.cache
def _number(name: str) -> int | None:
    assert transcoder is not None
    return transcoder.message_type(name)


def native_chunk_stream(
    message_type: type[Message], suspects: list[bytes], max_event_bytes: int
) -> ChunkStream | None:
    """The native decoder of event streams; None if it is not there."""
    if transcoder is None:
        return None
    from _chatpb import ChunkStream

    number = native_type(message_type)
    assert number is not None
    return ChunkStream(transcoder, number, suspects, max_event_bytes)
