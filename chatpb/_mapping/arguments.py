"""The arguments of conversions, checked before any of the two implementations has them."""

from __future__ import annotations

from google.protobuf.message import Message

from chatpb._errors import wrong_type


def check_message(message: object, kind: type[Message] | None = None) -> None:
    """Refuses what is not a message.

    Args:
        message: The message.
        kind: Its type; None for any.

    Raises:
        ArgumentTypeError: It is not a message, but a class of messages, for example; or it is a
            message of another type.
    """
    if not isinstance(message, Message):
        raise wrong_type("a message of chatpb.v1", message)
    if kind is not None and message.DESCRIPTOR.full_name != kind.DESCRIPTOR.full_name:
        raise wrong_type(f"a {kind.DESCRIPTOR.name}", message)


def check_class(message_type: object) -> None:
    """Refuses what is not a class of messages.

    Raises:
        ArgumentTypeError: It is not such a class, but a message or a name, for example.
    """
    if not isinstance(message_type, type) or not issubclass(message_type, Message):
        raise wrong_type("a message class of chatpb.v1", message_type)


def utf8(data: bytes | bytearray | memoryview | str) -> bytes:
    """The bytes of a JSON text, with the lone surrogates of a str as escapes.

    Raises:
        ArgumentTypeError: It is neither bytes nor str.
    """
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace")
    return as_bytes(data, "JSON text as bytes or str")


def as_bytes(data: bytes | bytearray | memoryview, expected: str = "bytes") -> bytes:
    """The bytes of an argument, which `bytes()` would make of integers and lists too.

    Args:
        data: The argument: bytes, or what has the buffer protocol.
        expected: What the function takes, for the error.

    Raises:
        ArgumentTypeError: It is something else.
    """
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise wrong_type(expected, data) from None
