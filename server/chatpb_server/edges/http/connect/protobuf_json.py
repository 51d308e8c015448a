"""Protobuf's own JSON form of messages, which Connect and gRPC-Web allow. It is not OpenAI's.

The library that reads and writes it is slow and holds Python's lock, so long texts go elsewhere.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from chatpb import ConversionError
from chatpb._rpc.offload import LARGE
from chatpb_server.core.offload import apart
from chatpb_server.core.upstream import RequestError

#: A text is up to that many times longer than the binary form: numbers of tokens and logprobs.
_LONGER: Final = 4
#: The most commas of a text that is read in this process: a message takes 6 microseconds.
_MOST_COMMAS: Final = 300
_MAX_REASON: Final = 300


async def read_json(data: bytes, message_type: str) -> bytes:
    """The binary form of a message.

    Args:
        data: The JSON text.
        message_type: The full name of its type.

    Raises:
        RequestError: It is not the JSON form of such a message.
    """
    size = len(data)
    if size <= LARGE and data.count(b",") > _MOST_COMMAS:
        size = LARGE + 1
    try:
        return await apart(size, _binary, data, message_type)
    except ConversionError as error:
        text = f"The request is not the JSON form of its message: {error.reason}"
        raise RequestError(text) from error


async def write_json(data: bytes, message_type: str) -> bytes:
    """The JSON text of a message in binary form.

    Raises:
        ConversionError: It is not such a message.
    """
    return await apart(_LONGER * len(data), _text, data, message_type)


def _class(name: str) -> Any:
    import chatpb.v1.chat_completion_service_pb2
    import chatpb.v1.model_service_pb2
    import chatpb.v1.stored_chat_completion_service_pb2  # noqa: F401 (they register what is asked for)

    pool = descriptor_pool.Default()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _binary(data: bytes, message_type: str) -> bytes:
    if not data.lstrip(b" \t\r\n").startswith(b"{"):  # the library takes [] for a message
        raise ConversionError("expected an object")
    try:
        message = json_format.Parse(data, _class(message_type)())
        return bytes(message.SerializeToString())
    except (ValueError, TypeError, RecursionError, json_format.Error) as error:
        reason = str(error) if isinstance(error, json_format.Error) else "it cannot be read"
        raise ConversionError(reason.partition("\n")[0][:_MAX_REASON]) from None


def _text(data: bytes, message_type: str) -> bytes:
    try:
        message = _class(message_type).FromString(data)
        return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()
    except (DecodeError, json_format.Error, ValueError, RecursionError) as error:
        raise ConversionError(type(error).__name__) from None
