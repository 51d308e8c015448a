"""The conversions between JSON and messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from google.protobuf.message import DecodeError, Message

from chatpb._errors import ConversionError
from chatpb._mapping import native
from chatpb._mapping.arguments import as_bytes, check_class, check_message, utf8
from chatpb._mapping.native import dicts, native_type
from chatpb.v1.chat_completion_pb2 import ChatCompletion

if TYPE_CHECKING:
    from _chatpb import Refusal

MessageT = TypeVar("MessageT", bound=Message)
_Data = bytes | bytearray | memoryview | str
#: Not imported by name: then Python would make a method object for each call of a method.
transcoder: Final = native.transcoder
_Methods = tuple[int | None, Callable[[bytes], Any], Callable[[Message], bytes]]
#: What `_methods` returned: to find it again would take as long as a third of a short conversion.
_METHODS: Final[dict[type[Message], _Methods]] = {}


@overload
def from_json(data: _Data, *, allow_nan: bool = False) -> ChatCompletion: ...
@overload
def from_json(
    data: _Data, message_type: type[MessageT], *, allow_nan: bool = False
) -> MessageT: ...
def from_json(
    data: _Data, message_type: type[Any] = ChatCompletion, *, allow_nan: bool = False
) -> Any:
    """Reads a JSON text into a message.

    The law: ``to_json(from_json(x))`` is the same JSON value as ``x``, for every JSON object ``x``.

    Args:
        data: A JSON object, in UTF-8 if it is bytes; white space and a byte order mark may
            surround it. If a member is repeated, the last one wins.
        message_type: The class of the message, one of those of `chatpb.v1` that mirror an object.
        allow_nan: Whether NaN, Infinity and -Infinity, which are not JSON, are accepted.

    Returns:
        The message. What its typed fields cannot represent is in its residues.

    Raises:
        ConversionError: The text is not one JSON object, is not UTF-8, or nests deeper than 200
            levels.
        TypeError: The data is neither bytes nor str, or the message type is not such a class.
    """
    try:
        number, parse, _ = _METHODS[message_type]
    except (KeyError, TypeError):  # it is new, or not hashable
        number, parse, _ = _methods(message_type)
    raw = data if type(data) is bytes else utf8(data)
    if number is not None and transcoder is not None:
        binary = transcoder.json_to_binary(raw, number, allow_nan)
        if type(binary) is bytes:
            return parse(binary)
        _raise(binary)
    from chatpb._mapping import reference

    return reference.read(raw, message_type, allow_nan)


def to_json(
    message: Message, *, allow_nan: bool = False, ignore_unknown_fields: bool = False
) -> bytes:
    """Writes a message as JSON text.

    The law: ``from_json(to_json(m))`` is ``m`` in its normal form, which has the same JSON and the
    smallest residue.

    A field that was set after reading is written, whatever the JSON had there. `clear_residue` is
    for members that are to be left out.

    Args:
        message: A message of `chatpb.v1` that mirrors an object.
        allow_nan: Whether numbers that are not finite are written, as NaN, Infinity and -Infinity.
        ignore_unknown_fields: Whether fields and enum values that this version of the schema does
            not know are left out.

    Returns:
        Compact JSON in UTF-8, documented members in the order in which api.openai.com sends them,
        then the others.

    Raises:
        ConversionError: The message has unknown fields, numbers that are not finite, several values
            in a union, or text that is not JSON where JSON is expected.
        TypeError: The message does not mirror a JSON value.
    """
    try:
        number, _, serialize = _METHODS[type(message)]
    except KeyError:  # it is new
        check_message(message)
        number, _, serialize = _methods(type(message))
    if number is not None and transcoder is not None:
        binary = serialize(message)
        text = transcoder.binary_to_json(binary, number, allow_nan, ignore_unknown_fields)
        if type(text) is bytes:
            return text
        _raise(text)
    from chatpb._mapping import reference

    return reference.write(message, allow_nan, ignore_unknown_fields)


@overload
def from_dict(members: Mapping[str, Any], *, allow_nan: bool = False) -> ChatCompletion: ...
@overload
def from_dict(
    members: Mapping[str, Any], message_type: type[MessageT], *, allow_nan: bool = False
) -> MessageT: ...
def from_dict(
    members: Mapping[str, Any], message_type: type[Any] = ChatCompletion, *, allow_nan: bool = False
) -> Any:
    """Reads a JSON object that is already parsed into a message.

    The law: ``to_dict(from_dict(x)) == x``.

    Args:
        members: The object: mappings with string keys, lists, tuples, strings, numbers, booleans
            and None.
        message_type: The class of the message, as for `from_json`.
        allow_nan: Whether floats that are not finite are kept.

    Raises:
        ConversionError: A value is none of these, or nests deeper than 200 levels.
        TypeError: The message type is not such a class.
    """
    try:
        number, parse, _ = _METHODS[message_type]
    except (KeyError, TypeError):  # it is new, or not hashable
        number, parse, _ = _methods(message_type)
    if number is not None and dicts is not None:
        binary = dicts.to_binary(members, number, allow_nan)
        if binary is not None:
            return parse(binary)
    from chatpb._mapping import reference

    return reference.from_dict(members, message_type, allow_nan)


def to_dict(
    message: Message, *, allow_nan: bool = False, ignore_unknown_fields: bool = False
) -> dict[str, Any]:
    """Writes a message as a JSON object, as `json.loads` would return it.

    A number outside the schema that is beyond the range of doubles, such as 1e400, is infinite.

    Args:
        message: A message of `chatpb.v1` that mirrors an object.
        allow_nan: Whether numbers that are not finite are written, as floats.
        ignore_unknown_fields: As for `to_json`.

    Raises:
        ConversionError: As for `to_json`; also for an integer of more digits than Python reads.
        TypeError: As for `to_json`.
    """
    try:
        number, _, serialize = _METHODS[type(message)]
    except KeyError:  # it is new
        check_message(message)
        number, _, serialize = _methods(type(message))
    if number is not None and dicts is not None:
        binary = serialize(message)
        text = dicts.plain_json(binary, number, allow_nan, ignore_unknown_fields)
        if text is not None:
            import orjson  # costs more than protobuf's messages

            try:
                tree: dict[str, Any] = orjson.loads(text)
                return tree
            except orjson.JSONDecodeError:
                text = None  # it has NaN, a lone surrogate or a number beyond the range of doubles
    from chatpb._mapping import reference

    return reference.to_dict(message, allow_nan, ignore_unknown_fields)


def json_to_binary(
    data: _Data, message_type: type[Message] = ChatCompletion, *, allow_nan: bool = False
) -> bytes:
    """Reads a JSON text into the binary form of a message, as `from_json` does.

    Texts that differ only in white space and the order of documented members give equal bytes.

    Raises:
        ConversionError: As for `from_json`.
        TypeError: As for `from_json`.
    """
    try:
        number, _, _ = _METHODS[message_type]
    except (KeyError, TypeError):  # it is new, or not hashable
        number, _, _ = _methods(message_type)
    raw = data if type(data) is bytes else utf8(data)
    if number is not None and transcoder is not None:
        binary = transcoder.json_to_binary(raw, number, allow_nan)
        if type(binary) is bytes:
            return binary
        _raise(binary)
    from chatpb._mapping import reference

    return reference.read_binary(raw, message_type, allow_nan)


def binary_to_json(
    data: bytes,
    message_type: type[Message] = ChatCompletion,
    *,
    allow_nan: bool = False,
    ignore_unknown_fields: bool = False,
) -> bytes:
    """Writes the binary form of a message as JSON text, as `to_json` does.

    Raises:
        ConversionError: The bytes are not a message of the type; otherwise as for `to_json`.
        TypeError: The data is not bytes, or the message type is not such a class.
    """
    try:
        number, _, _ = _METHODS[message_type]
    except (KeyError, TypeError):  # it is new, or not hashable
        number, _, _ = _methods(message_type)
    if type(data) is not bytes:
        data = as_bytes(data)
    if number is not None and transcoder is not None:
        text = transcoder.binary_to_json(data, number, allow_nan, ignore_unknown_fields)
        if type(text) is bytes:
            return text
        _raise(text)
    try:
        message = message_type.FromString(data)
    except (DecodeError, UnicodeDecodeError):  # the latter from the runtime in pure Python
        name = message_type.DESCRIPTOR.full_name
        raise ConversionError(f"not the binary form of a {name}") from None
    from chatpb._mapping import reference

    return reference.write(message, allow_nan, ignore_unknown_fields)


def part_to_json(
    data: bytes,
    start: int,
    end: int,
    message_type: type[Message],
    *,
    allow_nan: bool = False,
    ignore_unknown_fields: bool = False,
) -> bytes:
    """Writes a message in larger bytes as JSON text, as `binary_to_json` does, without a copy.

    Args:
        data: The bytes.
        start: Where the message begins.
        end: Where it ends.
        message_type: As for `binary_to_json`.
        allow_nan: As for `binary_to_json`.
        ignore_unknown_fields: As for `binary_to_json`.

    Raises:
        ConversionError: As for `binary_to_json`.
    """
    number = _number(message_type)
    if number is not None and transcoder is not None:
        text = transcoder.binary_to_json(data, number, allow_nan, ignore_unknown_fields, start, end)
        if type(text) is bytes:
            return text
        _raise(text)
    return binary_to_json(
        data[start:end],
        message_type,
        allow_nan=allow_nan,
        ignore_unknown_fields=ignore_unknown_fields,
    )


def part_json_size(data: bytes, start: int, end: int, message_type: type[Message]) -> int:
    """How long the JSON is that `part_to_json` writes, with NaN allowed.

    Raises:
        ConversionError: As for `binary_to_json`.
    """
    number = _number(message_type)
    if number is not None and transcoder is not None:
        size = transcoder.json_size(data, number, True, start, end)
        if size is not None:
            return size
    return len(binary_to_json(data[start:end], message_type, allow_nan=True))


def _methods(message_type: type[Message]) -> _Methods:
    """What converts a message type: the transcoder's number, and how it is parsed and serialized.

    The number is None if the reference converts it.

    Raises:
        TypeError: It is not a class of messages.
    """
    check_class(message_type)
    number = None if transcoder is None else native_type(message_type)
    methods = (number, message_type.FromString, message_type.SerializeToString)
    if transcoder is not None:
        _METHODS[message_type] = methods
    return methods


def _number(message_type: type[Message]) -> int | None:
    """The transcoder's number for a message type; None if the reference converts it.

    Raises:
        TypeError: It is not a class of messages.
    """
    found = _METHODS.get(message_type) or _methods(message_type)
    return found[0]


def native_binary(data: bytes, message_type: type[Message], allow_nan: bool) -> bytes | None:
    """What the native implementation reads; None if it is not in use.

    Raises:
        ConversionError: The text is refused.
    """
    number = _number(message_type)
    if transcoder is None or number is None:
        return None
    return _bytes(transcoder.json_to_binary(data, number, allow_nan))


def native_json(
    data: bytes,
    message_type: type[Message],
    allow_nan: bool,
    ignore_unknown_fields: bool = False,
) -> bytes | None:
    """What the native implementation writes; None if it is not in use.

    Raises:
        ConversionError: The message is refused.
    """
    number = _number(message_type)
    if transcoder is None or number is None:
        return None
    return _bytes(transcoder.binary_to_json(data, number, allow_nan, ignore_unknown_fields))


def _bytes(given: bytes | Refusal | None) -> bytes | None:
    """What the native implementation gave; None if a bug of it panicked.

    Raises:
        ConversionError: It gave an error.
    """
    if type(given) is bytes:
        return given
    _raise(given)
    return None


def _raise(given: object) -> None:
    """Raises the error that the native implementation gave, if it did."""
    if type(given) is tuple:
        raise ConversionError(*given)
