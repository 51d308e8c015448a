"""Messages to JSON trees.

For each message type one writer is compiled from the descriptors: a function from a message to the
members of a JSON object, in the order in which api.openai.com sends them. docs/mapping.md has the
rules.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from chatpb._errors import ConversionError
from chatpb._json import kind_of, number_text
from chatpb._schema import ARRAY, BASE64, NOTHING, RAW, Compiled, Field, MessageType
from chatpb.v1.residue_pb2 import Residue

_IGNORE = "pass ignore_unknown_fields=True to leave it out"


@dataclass(slots=True)
class Context:
    """How messages are written.

    Attributes:
        parse: Reads the JSON text of free values.
        allow_nan: Whether numbers that are not finite are written.
        ignore_unknown: Whether what the schema does not know is left out, and not an error.
        free_brackets: How many brackets the free values that were read have: at most so deep the
            tree nests beyond what the schema says.
    """

    parse: Callable[[str], Any]
    allow_nan: bool = False
    ignore_unknown: bool = False
    free_brackets: int = 0

    def read(self, text: str) -> Any:
        """Reads the JSON text of a free value."""
        self.free_brackets += text.count("{") + text.count("[")
        return self.parse(text)


# From a message to a JSON value, or NOTHING.
_Write: TypeAlias = Callable[[Any, Context], Any]


def _compile(mapped: MessageType) -> tuple[_Write, Callable[[], None]]:
    return _compile_union(mapped) if mapped.is_union else _compile_object(mapped)


writer = Compiled(_compile)
"""The writer of a message type: from a message to a JSON object, or the value of a union."""


def _compile_object(mapped: MessageType) -> tuple[_Write, Callable[[], None]]:
    gets: list[tuple[str, int, _Write, _Write]] = []
    gets_or_defaults: list[tuple[str, _Write]] = []

    def write(message: Any, context: Context) -> dict[str, Any]:
        if message.HasField(residue_name):
            return write_all(message, context)
        members: dict[str, Any] = {}
        try:
            for name, get in gets_or_defaults:
                value = get(message, context)
                if value is not NOTHING:
                    members[name] = value
        except ConversionError as error:
            raise error.below(name) from None
        return members

    def write_all(message: Any, context: Context) -> dict[str, Any]:
        residue = getattr(message, residue_name)
        extra, said = _extra(residue, context), _said(mapped, residue, context)
        members: dict[str, Any] = {}
        for name, number, get, default in gets:
            if name in extra:
                continue
            try:
                value = get(message, context)
            except ConversionError as error:
                raise error.below(name) from None
            if value is NOTHING:
                value = said[number] if number in said else default(message, context)
                if value is NOTHING:
                    continue
            members[name] = value
        members.update(extra)
        return members

    def compile_fields() -> None:
        for field in mapped.fields.values():
            default = _get_default(field)
            gets.append((field.name, field.number, _get_field(field, _get_nothing), default))
            gets_or_defaults.append((field.name, _get_field(field, default)))

    assert mapped.residue is not None
    residue_name = mapped.residue.name
    return write, compile_fields


def _extra(residue: Residue, context: Context) -> dict[str, Any]:
    """The members that the typed fields cannot say."""
    if not residue.extra_json:
        return {}
    try:
        extra = context.read(residue.extra_json)
    except ConversionError as error:
        raise ConversionError(f"extra_json is not a JSON object: {error}") from None
    if type(extra) is not dict:
        raise ConversionError(f"extra_json is not a JSON object but {kind_of(extra)}")
    return extra


def _said(mapped: MessageType, residue: Residue, context: Context) -> dict[int, Any]:
    """What the JSON said of fields that are unset, by their numbers."""
    said: dict[int, Any] = dict.fromkeys(residue.absent_fields, NOTHING)
    said.update(dict.fromkeys(residue.null_fields))
    for number in residue.empty_fields:
        field = mapped.by_number.get(number)
        if field is not None and not field.is_list:
            raise ConversionError(f"empty_fields names {field.name}, which is no list or map")
        said[number] = {} if field is not None and field.map_value is not None else []
    if not context.ignore_unknown:
        for number in said:
            if number not in mapped.by_number:
                raise ConversionError(
                    f"the residue names field {number}, which the schema does not know; {_IGNORE}"
                )
    return said


def _get_nothing(_message: Any, _context: Context) -> Any:
    return NOTHING


def _get_default(field: Field) -> _Write:
    """From a message to what the unset field stands for."""
    unset = field.unset
    if field.unset_utf8:
        text = attrgetter(field.unset_utf8)
        return lambda message, _: list(text(message).encode())
    if type(unset) in (list, dict):
        return lambda *_: type(unset)(unset)
    return lambda *_: unset


def _get_field(field: Field, default: _Write) -> _Write:
    """From a message to the value of a field, or what `default` gives if it is unset."""
    name = field.name
    get = attrgetter(name)
    if field.map_value is not None:
        return _get_map(get, _put_value(field.map_value), default)
    put = _put_value(field)
    if field.repeated:
        return _get_list(get, put, default)
    if put is _put_as_is:
        if field.has_presence:
            return lambda message, context: (
                get(message) if message.HasField(name) else default(message, context)
            )
        return lambda message, context: get(message) or default(message, context)

    def get_present(message: Any, context: Context) -> Any:
        if message.HasField(name):
            value = put(get(message), context)
            if value is not NOTHING:
                return value
        return default(message, context)

    if field.has_presence:
        return get_present

    def get_field(message: Any, context: Context) -> Any:
        value = get(message)
        # Minus zero is a value of its own.
        if value or (is_double and math.copysign(1, value) < 0):
            value = put(value, context)
            if value is not NOTHING:
                return value
        return default(message, context)

    is_double = field.descriptor.type == FieldDescriptor.TYPE_DOUBLE
    return get_field


def _get_list(get: Callable[[Any], Any], put: _Write, default: _Write) -> _Write:
    def get_list(message: Any, context: Context) -> Any:
        values: list[Any] = []
        try:
            for item in get(message):
                value = put(item, context)
                if value is NOTHING:
                    raise ConversionError("expected a value, got an unset one")
                values.append(value)
        except ConversionError as error:
            raise error.below(len(values)) from None
        return values or default(message, context)

    return get_list


def _get_map(get: Callable[[Any], Any], put: _Write, default: _Write) -> _Write:
    def get_map(message: Any, context: Context) -> Any:
        entries = get(message)
        values: dict[str, Any] = {}
        for key in sorted(entries):
            try:
                value = put(entries[key], context)
                if value is NOTHING:
                    raise ConversionError("expected a value, got an unset one")
            except ConversionError as error:
                raise error.below(key) from None
            values[key] = value
        return values or default(message, context)

    return get_map


def _compile_union(mapped: MessageType) -> tuple[_Write, Callable[[], None]]:
    gets: list[tuple[str, _Write]] = []

    def write(message: Any, context: Context) -> Any:
        found: Any = NOTHING
        for name, get in gets:
            value = get(message, context)
            if value is not NOTHING:
                if found is not NOTHING:
                    raise ConversionError(f"expected one value, but {name} is set beside another")
                found = value
        return [] if found is NOTHING and has_list else found

    def compile_fields() -> None:
        gets.extend(
            (field.name, _get_field(field, _get_nothing)) for field in mapped.fields.values()
        )

    has_list = any(field.repeated for field in mapped.fields.values())
    return write, compile_fields


def _put_value(field: Field) -> _Write:
    """From a value of a field to its JSON value; NOTHING from an enum or a union that is unset."""
    if field.message is not None:
        return writer(field.message)
    if field.enum is not None:
        return _put_enum(field)
    if field.encoding == ARRAY:
        return lambda value, _: list(value)
    if field.encoding == BASE64:
        return lambda value, _: base64.b64encode(value).decode()
    if field.encoding == RAW:
        return _put_raw
    if field.descriptor.type == FieldDescriptor.TYPE_DOUBLE:
        return _put_double
    return _put_as_is


def _put_as_is(value: Any, _context: Context) -> Any:
    return value


def _put_enum(field: Field) -> _Write:
    assert field.enum is not None
    words = field.enum.words

    def put_enum(value: int, context: Context) -> Any:
        word = words.get(value, NOTHING)
        if word is NOTHING and value and not context.ignore_unknown:
            raise ConversionError(f"{value} is a value that the schema does not know; {_IGNORE}")
        return word

    return put_enum


def _put_raw(text: str, context: Context) -> Any:
    try:
        return context.read(text)
    except ConversionError as error:
        raise ConversionError(f"expected JSON text: {error}") from None


def _put_double(value: float, context: Context) -> float:
    if not context.allow_nan and not math.isfinite(value):
        raise ConversionError(f"{number_text(value)} is not JSON; pass allow_nan=True to keep it")
    return value
